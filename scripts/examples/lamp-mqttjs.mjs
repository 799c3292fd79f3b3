// A lamp that follows its device shadow, with mqtt.js and no SDK.
//
//   node lamp-mqttjs.mjs lamp-1 ./lamp-1 gateway.local
//
// ./lamp-1 is the folder that `tidehold thing create lamp-1 --out lamp-1` wrote.
import { readFileSync } from 'node:fs';
import mqtt from 'mqtt';

const [thing, folder, host = 'gateway.local', port = 8883] = process.argv.slice(2);
const shadow = `$aws/things/${thing}/shadow`;

const client = mqtt.connect(`mqtts://${host}:${port}`, {
  clientId: thing,
  cert: readFileSync(`${folder}/cert.pem`), key: readFileSync(`${folder}/private.key`), ca: readFileSync(`${folder}/ca.pem`),
});

function follow(on) {
  console.log(`the lamp is ${on ? 'on' : 'off'}`);
  client.publish(`${shadow}/update`, JSON.stringify({ state: { reported: { on } } }), { qos: 1 });
}

client.on('connect', async () => {
  await client.subscribeAsync([`${shadow}/update/delta`, `${shadow}/get/+`], { qos: 1 });
  client.publish(`${shadow}/get`, '', { qos: 1 }); // what was wished while it was away
});
client.on('message', (topic, payload) => {
  const { state, code } = JSON.parse(payload);
  if (topic.endsWith('/update/delta')) follow(state.on);
  else if (topic.endsWith('/get/accepted')) follow(state.desired?.on ?? state.reported?.on ?? false);
  else if (code === 404) follow(false); // no shadow yet: the first report makes it
});
client.on('error', (err) => console.error(String(err)));
