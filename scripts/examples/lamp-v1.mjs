// A lamp that follows its device shadow, with the AWS IoT device SDK v1.
//
//   node lamp-v1.mjs lamp-1 ./lamp-1 gateway.local
//
// ./lamp-1 is the folder that `tidehold thing create lamp-1 --out lamp-1` wrote.
import awsIot from 'aws-iot-device-sdk';

const [thing, folder, host = 'gateway.local', port = 8883] = process.argv.slice(2);
let on = false, told;

const shadow = awsIot.thingShadow({
  host, port: Number(port), clientId: thing,
  certPath: `${folder}/cert.pem`, keyPath: `${folder}/private.key`, caPath: `${folder}/ca.pem`,
});

function follow(wish) {
  on = wish;
  report();
}

// The class has one request at a time under way; a refused one is repeated by
// the next status.
function report() {
  if (on === told || shadow.update(thing, { state: { reported: { on } } }) === null) return;
  told = on;
  console.log(`the lamp is ${on ? 'on' : 'off'}`);
}

shadow.on('delta', (_, { state }) => follow(state.on));
shadow.on('status', (_, outcome, token, { state, code }) => {
  if (code === 404) return follow(false); // no shadow yet: report makes it
  if (outcome === 'rejected') {           // 409: another one was faster
    told = undefined;
    return shadow.get(thing);
  }
  if (state?.desired) return follow(state.desired.on);
  report();
});
shadow.on('error', (err) => console.error(String(err)));
shadow.once('connect', () => shadow.register(thing, {}, () => {
  shadow.get(thing);
  shadow.on('connect', () => shadow.get(thing)); // it was away: what was wished since?
}));
