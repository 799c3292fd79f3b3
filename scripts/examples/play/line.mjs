// The play of two clients is written once, in cmd/tidehold/play_test.go. Each
// client of it serves one command a line on its standard input, and tells
// answers and what it hears on its standard output.
import { createInterface } from 'node:readline';

export const tell = (event) => console.log(JSON.stringify(event));

// serve answers with what the command gives, or with the code or name of its error.
export async function serve(commands) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { op, ...args } = JSON.parse(line);
    try {
      tell({ answer: op, value: (await commands[op](args)) ?? null });
    } catch (err) {
      tell({ answer: op, error: String(err.modeledError?.code ?? err.code ?? err.name), why: String(err.message ?? err) });
    }
  }
  process.exit(0);
}

export function heard(topic, payload, retain, user) {
  tell({ topic, payload: Buffer.from(payload).toString(), retain: Boolean(retain), user: user && JSON.stringify(user) });
}

export const shadowTopic = (thing, shadow) => `$aws/things/${thing}/shadow${shadow ? `/name/${shadow}` : ''}`;

// TopicShadow makes requests of the shadow service with plain messages.
export class TopicShadow {
  #waiting = new Map();
  #publish;
  #tokens = 0;

  constructor(publish) {
    this.#publish = publish;
  }

  // ask publishes a request and waits for the answer with its token.
  ask(thing, shadow, verb, body = {}) {
    const clientToken = `t${this.#tokens++}`;
    const answer = new Promise((resolve, reject) => this.#waiting.set(clientToken, { resolve, reject }));
    this.#publish(`${shadowTopic(thing, shadow)}/${verb}`, JSON.stringify({ ...body, clientToken }));
    return answer;
  }

  // hear takes the messages that answer a request.
  hear(topic, payload) {
    const accepted = topic.endsWith('/accepted');
    if (!topic.startsWith('$aws/') || !(accepted || topic.endsWith('/rejected'))) return;
    const document = JSON.parse(payload);
    const waiting = this.#waiting.get(document.clientToken);
    if (!waiting) return;
    this.#waiting.delete(document.clientToken);
    if (accepted) waiting.resolve(document);
    else waiting.reject({ code: document.code, message: document.message });
  }
}
