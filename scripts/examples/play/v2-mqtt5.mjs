// The AWS IoT device SDK v2 over MQTT 5 in the play.
import { auth, iot, mqtt5 } from 'aws-iot-device-sdk-v2';
import { heard, serve } from './line.mjs';
import { iotshadow, rooms, shadowCommands } from './v2.mjs';

const { AwsIotMqtt5ClientConfigBuilder: Builder } = iot;
let client, shadow;

function builder({ host, folder, keys }) {
  if (!keys) return Builder.newDirectMqttBuilderWithMtlsFromPath(host, `${folder}/cert.pem`, `${folder}/private.key`);
  const credentialsProvider = auth.AwsCredentialsProvider.newStatic(keys.id, keys.secret);
  return Builder.newWebsocketMqttBuilderWithSigv4Auth(host, { region: keys.region, credentialsProvider });
}

serve({
  async connect(args) {
    const { port, id, ca, clean, will } = args;
    const config = builder(args).withCertificateAuthorityFromPath(undefined, ca).withPort(port)
      .withSessionBehavior(clean ? mqtt5.ClientSessionBehavior.Clean : mqtt5.ClientSessionBehavior.RejoinAlways)
      .withConnectProperties({
        clientId: id, keepAliveIntervalSeconds: 60, sessionExpiryIntervalSeconds: clean ? 0 : 3600,
        will: will && { topicName: will.topic, payload: will.payload, qos: mqtt5.QoS.AtLeastOnce },
      }).build();
    client = new mqtt5.Mqtt5Client(config);
    client.on('messageReceived', ({ message }) => heard(
      message.topicName, message.payload ?? '', message.retain, message.userProperties?.map(({ name, value }) => ({ [name]: value }))));
    const connected = new Promise((resolve, reject) => {
      client.on('connectionSuccess', ({ connack }) => resolve({ present: connack.sessionPresent }));
      client.on('connectionFailure', ({ error }) => reject(error));
    });
    shadow = iotshadow.IotShadowClientv2.newFromMqtt5(client, rooms);
    client.start();
    return connected;
  },
  subscribe: async ({ topics }) => (await client.subscribe({
    subscriptions: topics.map((topicFilter) => ({ topicFilter, qos: mqtt5.QoS.AtLeastOnce })),
  })).reasonCodes,
  publish: async ({ topic, payload, retain }) => (await client.publish({ topicName: topic, payload, retain: Boolean(retain), qos: mqtt5.QoS.AtLeastOnce })).reasonCode,
  ...shadowCommands(() => shadow),
  end: () => new Promise((resolve) => {
    client.on('stopped', resolve);
    client.stop({ reasonCode: mqtt5.DisconnectReasonCode.NormalDisconnection });
  }),
});
