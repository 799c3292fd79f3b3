#!/usr/bin/env node
// The life of a device, told with @aws-sdk/client-iot and MQTT.js: made,
// connected, kept to its own topics, and put out at once.
//
//   export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=...  # tidehold access-key create
//   tidehold ca get --out ca.pem && (cd scripts/examples && npm ci)
//   scripts/examples/identity.mjs http://127.0.0.1:8444 gateway.local 8883 ca.pem
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import * as aws from "@aws-sdk/client-iot";
import mqtt from "mqtt";

const [endpoint, host, port, ca] = process.argv.slice(2);
const thingName = "lamp-js", policyName = thingName;
const iot = new aws.IoTClient({ endpoint, region: process.env.AWS_DEFAULT_REGION ?? "us-east-1" });

await iot.send(new aws.CreateThingCommand({ thingName, attributePayload: { attributes: { room: "hall" } } }));
const made = await iot.send(new aws.CreateKeysAndCertificateCommand({ setAsActive: true }));
const { certificateId, certificateArn: target } = made;
const own = "${iot:Connection.Thing.ThingName}";
await iot.send(new aws.CreatePolicyCommand({ policyName, policyDocument: JSON.stringify({
  Version: "2012-10-17",
  Statement: [
    { Effect: "Allow", Action: "iot:Connect", Resource: `arn:aws:iot:*:*:client/${own}` },
    { Effect: "Allow", Action: ["iot:Publish", "iot:Receive"], Resource: `arn:aws:iot:*:*:topic/dt/${own}/*` },
    { Effect: "Allow", Action: "iot:Subscribe", Resource: `arn:aws:iot:*:*:topicfilter/dt/${own}/*` },
  ],
}) }));
await iot.send(new aws.AttachPolicyCommand({ policyName, target }));
await iot.send(new aws.AttachThingPrincipalCommand({ thingName, principal: target }));

const connect = () => mqtt.connectAsync({
  protocol: "mqtts", host, port: Number(port), protocolVersion: 5, clientId: thingName, reconnectPeriod: 0,
  ca: readFileSync(ca), cert: made.certificatePem, key: made.keyPair.PrivateKey,
}, false);

let device = await connect();
await device.subscribeAsync(`dt/${thingName}/#`, { qos: 1 });
const heard = once(device, "message");
await device.publishAsync(`dt/${thingName}/light`, "on", { qos: 1 });
assert.equal((await heard)[1].toString(), "on");
console.log(`may publish to dt/${thingName}/light`);

const closed = once(device, "close");
await assert.rejects(device.publishAsync("dt/other/light", "on", { qos: 1 }), /Not authorized/);
await closed;
console.log("may not publish to dt/other/light");

device = await connect();
const ended = once(device, "disconnect");
await iot.send(new aws.UpdateCertificateCommand({ certificateId, newStatus: "INACTIVE" }));
const answered = performance.now();
assert.equal((await ended)[0].reasonCode, 0x98);
console.log(`is out ${Math.round(performance.now() - answered)} ms after the answer to UpdateCertificate`);
await assert.rejects(connect());
console.log("stays out");

await iot.send(new aws.DetachThingPrincipalCommand({ thingName, principal: target }));
await iot.send(new aws.DetachPolicyCommand({ policyName, target }));
await iot.send(new aws.DeleteCertificateCommand({ certificateId }));
await iot.send(new aws.DeletePolicyCommand({ policyName }));
await iot.send(new aws.DeleteThingCommand({ thingName }));
