// The AWS IoT device SDK v2 over MQTT 3.1.1 in the play.
import { iot, mqtt } from 'aws-iot-device-sdk-v2';
import { heard, serve } from './line.mjs';
import { iotshadow, rooms, shadowCommands } from './v2.mjs';

const { AwsIotMqttConnectionConfigBuilder: Builder } = iot;
let connection, shadow;

function builder({ folder, keys }) {
  if (!keys) return Builder.new_mtls_builder_from_path(`${folder}/cert.pem`, `${folder}/private.key`);
  return Builder.new_with_websockets().with_credentials(keys.region, keys.id, keys.secret);
}

serve({
  async connect(args) {
    const { host, port, id, ca, clean, will } = args;
    const config = builder(args).with_certificate_authority_from_path(undefined, ca)
      .with_endpoint(host).with_port(port).with_client_id(id).with_clean_session(clean).with_keep_alive_seconds(60);
    if (will) config.with_will(new mqtt.MqttWill(will.topic, mqtt.QoS.AtLeastOnce, will.payload));
    connection = new mqtt.MqttClient().new_connection(config.build());
    connection.on('message', (topic, payload, dup, qos, retain) => heard(topic, payload, retain));
    shadow = iotshadow.IotShadowClientv2.newFromMqtt311(connection, rooms);
    return { present: await connection.connect() };
  },
  async subscribe({ topics }) {
    for (const topic of topics) await connection.subscribe(topic, mqtt.QoS.AtLeastOnce);
  },
  async publish({ topic, payload, retain }) { await connection.publish(topic, payload, mqtt.QoS.AtLeastOnce, retain); },
  ...shadowCommands(() => shadow),
  end: () => connection.disconnect(),
});
