// A lamp that follows its device shadow, with the AWS IoT device SDK v2 over MQTT 3.1.1.
//
//   node lamp-v2-mqtt311.mjs lamp-1 ./lamp-1 gateway.local
//
// ./lamp-1 is the folder that `tidehold thing create lamp-1 --out lamp-1` wrote.
import { iot, iotshadow, mqtt } from 'aws-iot-device-sdk-v2';

const [thing, folder, host = 'gateway.local', port = 8883] = process.argv.slice(2);

const config = iot.AwsIotMqttConnectionConfigBuilder
  .new_mtls_builder_from_path(`${folder}/cert.pem`, `${folder}/private.key`)
  .with_certificate_authority_from_path(undefined, `${folder}/ca.pem`)
  .with_endpoint(host).with_port(Number(port))
  .with_client_id(thing).with_clean_session(false).with_keep_alive_seconds(60)
  .build();

const connection = new mqtt.MqttClient().new_connection(config);
const shadow = iotshadow.IotShadowClientv2.newFromMqtt311(connection, {
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
connection.on('error', complain);
connection.on('resume', () => catchUp().catch(complain));
await connection.connect();
await catchUp().catch(complain);
setInterval(() => {}, 60_000); // this SDK's connection alone keeps no program alive
