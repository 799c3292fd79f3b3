// Whatever comes from the gateway is shown as text, never as markup.
const byId = (id) => document.getElementById(id);

// element makes an element of texts and other elements.
function element(tag, name, ...content) {
  const e = document.createElement(tag);
  if (name) e.className = name;
  e.append(...content);
  return e;
}
const cell = (text, name) => element('td', name, text);
const badge = (state) => element('span', `state ${state}`, state);
const row = (...cells) => element('tr', '', ...cells);
const time = (at) => new Date(at).toLocaleString();

function drawStatus(status) {
  byId('gateway').textContent = status.gateway;
  byId('state').textContent = status.state;
  byId('state').className = `state ${status.state}`;
  byId('components').replaceChildren(...Object.entries(status.components).sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, c]) => row(cell(name), element('td', '', badge(c.state)), cell(time(c.since), 'since'), cell(c.error || '', 'why'))));
  byId('listeners').replaceChildren(...status.listeners.map((l) => row(cell(l.name), cell(l.address))));
}

// The key that signs; nowhere but in this variable. It is good once it was served.
let key, good = false;

const bytes = (text) => new TextEncoder().encode(text);
const hex = (buffer) => Array.from(new Uint8Array(buffer), (b) => b.toString(16).padStart(2, '0')).join('');
const digest = async (text) => hex(await crypto.subtle.digest('SHA-256', bytes(text)));
const mac = async (secret, text) => crypto.subtle.sign('HMAC',
  await crypto.subtle.importKey('raw', secret, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']), bytes(text));
const escape = (text) => encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

// signature is that of Signature Version 4 over a request to this origin.
async function signature(method, path, query, body, at) {
  const day = at.slice(0, 8), scope = [day, 'local', 'iot', 'aws4_request'];
  const canonical = [method, path.split('/').map(escape).join('/'), query, `host:${location.host}`, `x-amz-date:${at}`, '', 'host;x-amz-date', await digest(body)].join('\n');
  let secret = bytes(`AWS4${key.secret}`);
  for (const part of scope) secret = await mac(secret, part);
  const signed = hex(await mac(secret, ['AWS4-HMAC-SHA256', at, scope.join('/'), await digest(canonical)].join('\n')));
  return `AWS4-HMAC-SHA256 Credential=${key.id}/${scope.join('/')}, SignedHeaders=host;x-amz-date, Signature=${signed}`;
}

// ask sends a signed request; a refusal is an error with the gateway's words.
async function ask(method, path, parameters = {}, body = '') {
  const at = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  const query = Object.keys(parameters).sort().map((name) => `${name}=${escape(parameters[name])}`).join('&');
  const headers = { 'x-amz-date': at, authorization: await signature(method, path, query, body, at) };
  const answer = await fetch(query ? `${path}?${query}` : path, { method, headers, body: body || undefined, cache: 'no-store' });
  const document = await answer.json();
  if (!answer.ok) throw new Error(document.message);
  return document;
}

// The lists are those of an overview: what is beyond them the command line has.
const thingsShown = 50, shadowsShown = 25, changesShown = 5;

// who names the author of a change as `tidehold shadow history` does.
const who = ({ uplink, source, clientId, principal }) => uplink || source || clientId || principal || '-';
const what = (change) => (change.deleted ? 'deleted' : change.state ? JSON.stringify(change.state) : '(too long to keep)');

async function shadowOf(thing, name) {
  const past = await ask('GET', `/tidehold/v1/shadows/${escape(thing)}/history`, { name });
  if (!past.length) return [];
  const changes = past.slice(0, changesShown).map((c) => row(cell(c.version), cell(time(c.timestamp), 'when'), cell(who(c.changedBy)), cell(what(c), 'what')));
  return [element('h3', '', name || 'classic shadow'), element('table', '',
    element('thead', '', row(...['Version', 'When', 'Who', 'What'].map((text) => element('th', '', text)))), element('tbody', '', ...changes))];
}

async function drawShadows(thing, into) {
  const { results } = await ask('GET', `/api/things/shadow/ListNamedShadowsForThing/${escape(thing)}`, { pageSize: String(shadowsShown) });
  const all = [];
  for (const name of ['', ...results]) all.push(...await shadowOf(thing, name));
  into.replaceChildren(...(all.length ? all : ['No changes of shadows are remembered.']));
}

// lines has a line by thing, which opens to its shadows.
const lines = new Map();

function lineOf(thing) {
  if (lines.has(thing)) return lines.get(thing);
  const line = element('details', '', element('summary'), element('div'));
  line.addEventListener('toggle', () => line.open && drawShadows(thing, line.lastChild).catch(tell));
  lines.set(thing, line);
  return line;
}

function drawThing({ thingName, connectivity }) {
  const state = !connectivity ? 'never' : connectivity.connected ? 'online' : 'offline';
  const seen = !connectivity ? 'connected' : `${connectivity.connected ? 'since' : 'last seen'} ${time(connectivity.timestamp)}`;
  const line = lineOf(thingName);
  line.firstChild.replaceChildren(element('strong', '', thingName), badge(state), element('span', 'since', seen));
  return line;
}

// tell shows a sentence above the things; none hides it.
function tell(said) {
  byId('said').textContent = said?.message ?? said ?? '';
  byId('said').hidden = !said;
}

async function drawThings() {
  const { things, nextToken } = await ask('POST', '/indices/search', {}, JSON.stringify({ queryString: '*', maxResults: thingsShown }));
  const wanted = things.map(drawThing), shown = byId('things').children;
  if (wanted.length !== shown.length || wanted.some((line, i) => line !== shown[i])) byId('things').replaceChildren(...wanted);
  for (const { thingName } of things) if (lineOf(thingName).open) await drawShadows(thingName, lineOf(thingName).lastChild);
  tell(nextToken ? `The first ${thingsShown} things.` : '');
}

async function refresh() {
  try {
    drawStatus(await (await fetch('/healthz', { cache: 'no-store' })).json());
    if (good) await drawThings().catch(tell);
  } catch {
    byId('state').textContent = 'no answer';
    byId('state').className = 'state away';
  }
  setTimeout(refresh, 2000);
}

byId('login').addEventListener('submit', (event) => {
  event.preventDefault();
  key = { id: byId('key').value.trim(), secret: byId('secret').value.trim() };
  byId('secret').value = '';
  drawThings().then(() => { good = byId('login').hidden = true; }, tell);
});
if (!crypto.subtle) {
  byId('login').hidden = true;
  tell('A browser signs only at 127.0.0.1 or localhost: open the page there, for example through ssh -L 8444:127.0.0.1:8444.');
}
refresh();
