// What both clients of the AWS IoT device SDK v2 do alike in the play: shadows,
// through the SDK's own shadow client.
import { iotshadow } from 'aws-iot-device-sdk-v2';
import { heard, shadowTopic } from './line.mjs';

export const rooms = { maxRequestResponseSubscriptions: 6, maxStreamingSubscriptions: 4, operationTimeoutInSeconds: 10 };

// shadowCommands are served over the client that shadow() gives once connected.
export function shadowCommands(shadow) {
  const named = (name) => (name ? { shadowName: name } : {});
  const pick = (verb, name) => shadow()[`${verb}${name ? 'Named' : ''}Shadow`].bind(shadow());
  const stream = (thing, name, event, end) => new Promise((resolve, reject) => {
    const open = shadow()[`create${name ? 'Named' : ''}${event}Stream`]({ thingName: thing, ...named(name) });
    open.on('incomingPublish', ({ message }) => heard(`${shadowTopic(thing, name)}/update/${end}`, JSON.stringify(message)));
    open.on('incomingPublishError', ({ error }) => reject(error));
    open.on('subscriptionStatus', ({ type, error }) => (type === 0 ? resolve() : reject(error)));
    open.open();
  });
  return {
    watch: ({ thing, shadow: name }) => Promise.all(
      [['ShadowDeltaUpdated', 'delta'], ['ShadowUpdated', 'documents']].map(([event, end]) => stream(thing, name, event, end))),
    get: ({ thing, shadow: name }) => pick('get', name)({ thingName: thing, ...named(name) }),
    update: ({ thing, shadow: name, body }) => pick('update', name)({ thingName: thing, ...named(name), ...body }),
    delete: ({ thing, shadow: name }) => pick('delete', name)({ thingName: thing, ...named(name) }),
  };
}

export { iotshadow };
