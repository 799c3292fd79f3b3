// Runs the console's own script against a gateway with the least of a browser,
// signs in, opens every thing, and writes what the page shows.
// node console.mjs SCRIPT http://HOST:PORT KEY SECRET
const [, , script, base, id, secret] = process.argv;

class Element {
  children = [];
  listeners = {};
  append(...content) { this.children.push(...content); }
  replaceChildren(...content) { this.children = content; }
  addEventListener(name, f) { this.listeners[name] = f; }
  set textContent(text) { this.children = [text]; }
  get textContent() { return this.children.map((c) => c.textContent ?? c).join(' '); }
  get firstChild() { return this.children[0]; }
  get lastChild() { return this.children.at(-1); }
}
const elements = {};
const byId = (name) => (elements[name] ??= new Element());
globalThis.document = { getElementById: byId, createElement: () => new Element() };
globalThis.location = new URL(base);
const { fetch } = globalThis;
globalThis.fetch = (path, options) => fetch(base + path, options);

await import(script);
byId('key').value = id;
byId('secret').value = secret;
byId('login').listeners.submit({ preventDefault() {} });
const until = async (done) => { while (!done()) await new Promise((resolve) => setTimeout(resolve, 20)); };
await until(() => byId('login').hidden || byId('said').hidden === false);
for (const thing of byId('things').children) {
  thing.open = true;
  thing.listeners.toggle();
  await until(() => thing.lastChild.children.length);
}
console.log(byId('said').textContent, byId('things').textContent);
process.exit(0);
