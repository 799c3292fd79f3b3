// What both clients of the AWS IoT device SDK v2 do alike in the play: shadows,
// through the SDK's own shadow client.
import { iotshadow } from 'aws-iot-device-sdk-v2';
import { heard, shadowTopic } from './line.mjs';

export const rooms = { maxRequestResponseSubscriptions: 6, maxStreamingSubscriptions: 2, operationTimeoutInSeconds: 10 };

// shadowCommands are served over the client that shadow() gives once connected.
export function shadowCommands(shadow) {
  const named = (name) => (name ? { shadowName: name } : {});
  const pick = (verb, name) => shadow()[`${verb}${name ? 'Named' : ''}Shadow`].bind(shadow());
  return {
    watch: ({ thing, shadow: name }) => new Promise((resolve, reject) => {
      const stream = shadow()[`create${name ? 'Named' : ''}ShadowDeltaUpdatedStream`]({ thingName: thing, ...named(name) });
      stream.on('incomingPublish', ({ message }) => heard(`${shadowTopic(thing, name)}/update/delta`, JSON.stringify(message)));
      stream.on('incomingPublishError', ({ error }) => reject(error));
      stream.on('subscriptionStatus', ({ type, error }) => (type === 0 ? resolve() : reject(error)));
      stream.open();
    }),
    get: ({ thing, shadow: name }) => pick('get', name)({ thingName: thing, ...named(name) }),
    update: ({ thing, shadow: name, body }) => pick('update', name)({ thingName: thing, ...named(name), ...body }),
    delete: ({ thing, shadow: name }) => pick('delete', name)({ thingName: thing, ...named(name) }),
  };
}

export { iotshadow };
