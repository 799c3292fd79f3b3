// The AWS IoT device SDK v1 in the play. Its class knows classic shadows only;
// named ones are played with messages.
import { readFileSync } from 'node:fs';
import awsIot from 'aws-iot-device-sdk';
import { TopicShadow, heard, serve, shadowTopic } from './line.mjs';

let shadow, pending;
const named = new TopicShadow((topic, payload) => shadow.publish(topic, payload, { qos: 1 }));

// operate runs one operation of the class and waits for its status.
function operate(verb, thing, body) {
  return new Promise((resolve, reject) => {
    pending = { resolve, reject };
    if (!shadow[verb](thing, body)) reject(new Error(`${verb}: another operation is under way`));
  });
}

const subscribed = (topics) => new Promise((resolve, reject) =>
  shadow.subscribe(topics, { qos: 1 }, (err, granted) => (err ? reject(err) : resolve(granted))));

const register = (thing, stale) => new Promise((resolve, reject) =>
  shadow.register(thing, { persistentSubscribe: !stale, ignoreDeltas: Boolean(stale), qos: 1 }, (err) => (err ? reject(err) : resolve())));

serve({
  // stale leaves the class blind for what others do, so that its version gets old.
  async connect({ host, port, id, folder, ca, clean, will, keys, alpn, thing, stale }) {
    shadow = awsIot.thingShadow({
      host, port, clientId: id, clean, will: will && { ...will, qos: 1 }, caPath: ca,
      ...(keys ? { protocol: 'wss', accessKeyId: keys.id, secretKey: keys.secret, region: keys.region, websocketOptions: { ca: readFileSync(ca) } }
        : { certPath: `${folder}/cert.pem`, keyPath: `${folder}/private.key` }),
      ...(alpn && { ALPNProtocols: [alpn] }),
    });
    shadow.on('message', (topic, payload) => {
      named.hear(topic, payload);
      heard(topic, payload);
    });
    shadow.on('delta', (name, document) => heard(`${shadowTopic(name)}/update/delta`, JSON.stringify(document)));
    shadow.on('status', (_, outcome, token, document) => {
      if (outcome === 'accepted') pending.resolve(document);
      else pending.reject(document);
    });
    const present = new Promise((resolve, reject) => {
      shadow.on('packetreceive', ({ cmd, sessionPresent, returnCode }) => {
        if (cmd === 'connack') returnCode ? reject(new Error(`refused: ${returnCode}`)) : resolve(sessionPresent);
      });
      shadow.on('error', reject);
    });
    const registered = thing && register(thing, stale);
    const answer = { present: await present };
    await registered;
    return answer;
  },
  forget({ thing }) {
    shadow.unregister(thing);
    return register(thing);
  },
  subscribe: ({ topics }) => subscribed(topics),
  async watch({ thing, shadow: name }) {
    if (name) await subscribed(['get/accepted', 'get/rejected', 'update/accepted', 'update/rejected', 'update/delta', 'delete/accepted', 'delete/rejected']
      .map((end) => `${shadowTopic(thing, name)}/${end}`));
  },
  publish: ({ topic, payload, retain }) => new Promise((resolve, reject) =>
    shadow.publish(topic, payload, { qos: 1, retain }, (err) => (err ? reject(err) : resolve()))),
  get: ({ thing, shadow: name }) => (name ? named.ask(thing, name, 'get') : operate('get', thing)),
  update: ({ thing, shadow: name, body }) => (name ? named.ask(thing, name, 'update', body) : operate('update', thing, body)),
  delete: ({ thing, shadow: name }) => (name ? named.ask(thing, name, 'delete') : operate('delete', thing)),
  end: () => new Promise((resolve) => shadow.end(false, resolve)),
});
