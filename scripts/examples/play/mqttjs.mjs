// mqtt.js in the play: shadows are plain messages.
import { readFileSync } from 'node:fs';
import mqtt from 'mqtt';
import { TopicShadow, heard, serve, shadowTopic } from './line.mjs';

let client;
const shadows = new TopicShadow((topic, payload) => client.publish(topic, payload, { qos: 1 }));

serve({
  async connect({ host, port, id, folder, ca, clean, will, alpn, version = 4 }) {
    client = mqtt.connect(`mqtts://${host}:${port}`, {
      clientId: id, clean, will: will && { ...will, payload: Buffer.from(will.payload), qos: 1 }, protocolVersion: version,
      properties: version === 5 ? { sessionExpiryInterval: clean ? 0 : 3600 } : undefined,
      ca: readFileSync(ca), cert: readFileSync(`${folder}/cert.pem`), key: readFileSync(`${folder}/private.key`),
      ...(alpn && { ALPNProtocols: [alpn] }),
    });
    client.on('message', (topic, payload, packet) => {
      shadows.hear(topic, payload);
      heard(topic, payload, packet.retain);
    });
    return new Promise((resolve, reject) => {
      client.on('connect', ({ sessionPresent }) => resolve({ present: sessionPresent }));
      client.on('error', reject);
    });
  },
  subscribe: ({ topics }) => client.subscribeAsync(topics, { qos: 1 }),
  watch: ({ thing, shadow }) => client.subscribeAsync(
    ['get/+', 'update/accepted', 'update/rejected', 'update/delta', 'update/documents', 'delete/+'].map((end) => `${shadowTopic(thing, shadow)}/${end}`), { qos: 1 }),
  async publish({ topic, payload, retain }) { await client.publishAsync(topic, payload, { qos: 1, retain }); },
  get: ({ thing, shadow }) => shadows.ask(thing, shadow, 'get'),
  update: ({ thing, shadow, body }) => shadows.ask(thing, shadow, 'update', body),
  delete: ({ thing, shadow }) => shadows.ask(thing, shadow, 'delete'),
  end: () => client.endAsync(),
});
