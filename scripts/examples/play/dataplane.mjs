// The AWS SDK for JavaScript v3 in the play.
import * as iot from '@aws-sdk/client-iot-data-plane';
import { serve } from './line.mjs';

const client = new iot.IoTDataPlaneClient({ endpoint: process.argv[2] });
const ask = async (command, input) => {
  const { payload, ...output } = await client.send(new iot[`${command}Command`](input));
  return payload ? JSON.parse(new TextDecoder().decode(payload)) : output;
};
const key = ({ thing, shadow }) => ({ thingName: thing, shadowName: shadow || undefined });

serve({
  get: (args) => ask('GetThingShadow', key(args)),
  update: (args) => ask('UpdateThingShadow', { ...key(args), payload: JSON.stringify(args.body) }),
  delete: (args) => ask('DeleteThingShadow', key(args)),
  // Pages of one, as a long list has them.
  async list({ thing }) {
    const all = [];
    for (let nextToken, more = true; more; more = Boolean(nextToken)) {
      const page = await ask('ListNamedShadowsForThing', { thingName: thing, pageSize: 1, nextToken });
      all.push(...page.results);
      nextToken = page.nextToken;
    }
    return { results: all };
  },
  async topics() {
    const all = [];
    for await (const page of iot.paginateListRetainedMessages({ client, pageSize: 1 }, {})) all.push(...page.retainedTopics);
    return { results: all.map(({ topic }) => topic) };
  },
  publish: ({ topic, payload, retain, user }) => ask('Publish', { topic, payload, retain, qos: 1, userProperties: user && JSON.stringify(user) }),
  async retained({ topic }) {
    const { payload } = await client.send(new iot.GetRetainedMessageCommand({ topic }));
    return { results: [new TextDecoder().decode(payload)] };
  },
  async disconnect({ id }) { await client.send(new iot.DeleteConnectionCommand({ clientId: id })); },
});
