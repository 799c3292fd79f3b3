// A lamp that follows its device shadow, with the AWS IoT device SDK v2 over MQTT 5.
//
//   node lamp-v2-mqtt5.mjs lamp-1 ./lamp-1 gateway.local
//
// ./lamp-1 is the folder that `tidehold thing create lamp-1 --out lamp-1` wrote.
import { iot, iotshadow, mqtt5 } from 'aws-iot-device-sdk-v2';

const [thing, folder, host = 'gateway.local', port = 8883] = process.argv.slice(2);

const builder = iot.AwsIotMqtt5ClientConfigBuilder.newDirectMqttBuilderWithMtlsFromPath(
  host, `${folder}/cert.pem`, `${folder}/private.key`);
builder.withCertificateAuthorityFromPath(undefined, `${folder}/ca.pem`);
builder.withPort(Number(port));
builder.withConnectProperties({ clientId: thing, keepAliveIntervalSeconds: 60 });

const client = new mqtt5.Mqtt5Client(builder.build());
const shadow = iotshadow.IotShadowClientv2.newFromMqtt5(client, {
  maxRequestResponseSubscriptions: 4, maxStreamingSubscriptions: 1, operationTimeoutInSeconds: 10,
});

const complain = (err) => console.error(String(err));

async function follow(on) {
  await shadow.updateShadow({ thingName: thing, state: { reported: { on } } });
  console.log(`the lamp is ${on ? 'on' : 'off'}`);
}

// What was wished while the lamp was away.
async function catchUp() {
  try {
    const { state } = await shadow.getShadow({ thingName: thing });
    await follow(state.desired?.on ?? state.reported?.on ?? false);
  } catch (err) {
    if (err.modeledError?.code !== 404) throw err;
    await follow(false); // no shadow yet: the first report makes it
  }
}

const wishes = shadow.createShadowDeltaUpdatedStream({ thingName: thing });
wishes.on('incomingPublish', ({ message }) => follow(message.state.on).catch(complain));
wishes.open();
client.on('error', complain);
client.on('connectionFailure', ({ error }) => complain(error));
client.on('connectionSuccess', () => catchUp().catch(complain));
client.start();
