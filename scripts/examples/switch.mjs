// Switches a lamp through its device shadow, with the AWS SDK for JavaScript v3.
//
//   node switch.mjs lamp-1 on http://127.0.0.1:8444
//
// Keys come from the environment, as always: `tidehold access-key create`.
import { setTimeout as sleep } from 'node:timers/promises';
import { IoTDataPlaneClient, GetThingShadowCommand, UpdateThingShadowCommand } from '@aws-sdk/client-iot-data-plane';

const [thingName, word, endpoint = 'http://127.0.0.1:8444'] = process.argv.slice(2);
const client = new IoTDataPlaneClient({ endpoint });

async function document(command) {
  const { payload } = await client.send(command);
  return JSON.parse(new TextDecoder().decode(payload));
}

const payload = JSON.stringify({ state: { desired: { on: word === 'on' } } });
let shadow = await document(new UpdateThingShadowCommand({ thingName, payload }));
console.log(`wished in version ${shadow.version}`);
for (;;) {
  shadow = await document(new GetThingShadowCommand({ thingName }));
  if (!shadow.state.delta) break; // the lamp has not followed while there is one
  await sleep(500);
}
console.log(`${thingName} is ${shadow.state.reported.on ? 'on' : 'off'}`);
