/** Unmodified clients of Centrifugo (`centrifuge` from npm) without WebSockets, in each form that their protocol has over HTTP. */
import { Centrifuge, type Options } from 'centrifuge';
import { Centrifuge as BinaryCentrifuge } from 'centrifuge/build/protobuf';
import { onCleanup } from '../support/cleanup.ts';
import { tokenOf } from './people.ts';

export const forms = ['http_stream', 'sse', 'http_stream protobuf'] as const;
export type Form = (typeof forms)[number];

type Place = { url: string };

export function httpOf({ url }: Place): string {
  return url.replace('ws', 'http').replace('/ws', '');
}

/** Not connected yet. Its stream is at one place, and its commands go to another. */
export function clientOf(form: Form, at: Place, commandsTo: Place, options: Partial<Options>) {
  const [transport = 'sse'] = form.split(' ') as ['http_stream' | 'sse'];
  const Client = form.endsWith('protobuf') ? BinaryCentrifuge : Centrifuge;
  const client = new Client([{ transport, endpoint: `${httpOf(at)}/connection/${transport}` }], {
    emulationEndpoint: `${httpOf(commandsTo)}/emulation`,
    eventsource: FetchedEvents,
    fetch: globalThis.fetch,
    readableStream: globalThis.ReadableStream,
    minReconnectDelay: 20,
    maxReconnectDelay: 100,
    ...options,
  });
  onCleanup(() => client.disconnect());
  return client;
}

/** Connected, as this user. */
export async function connectBy(form: Form, user: string, at: Place, commandsTo: Place = at) {
  const client = clientOf(form, at, commandsTo, { token: await tokenOf(user) });
  client.connect();
  await client.ready(5_000);
  return client;
}

/** Data in the form of such a client. */
export function encode(form: Form, value: unknown): unknown {
  return form.endsWith('protobuf') ? Buffer.from(JSON.stringify(value)) : value;
}

export function decode(form: Form, data: unknown): unknown {
  return form.endsWith('protobuf') ? JSON.parse(Buffer.from(data as Uint8Array).toString()) : data;
}

/** An EventSource over fetch, as far as the client needs one: Node 20 has none. It never reconnects. */
export class FetchedEvents {
  onopen: () => void = () => undefined;
  onerror: (error: unknown) => void = () => undefined;
  onmessage: (event: { data: string }) => void = () => undefined;
  readonly #aborting = new AbortController();

  constructor(url: string) {
    this.#read(url).catch((error: unknown) => this.#aborting.signal.aborted || this.onerror(error));
  }

  close(): void {
    this.#aborting.abort();
  }

  async #read(url: string): Promise<void> {
    const { ok, status, body } = await fetch(url, { signal: this.#aborting.signal });
    if (!ok || body === null) throw new Error(`answered with ${status}`);
    this.onopen();
    let text = '';
    for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
      const events = (text + chunk).split('\n\n');
      text = events.pop() ?? '';
      for (const event of events) {
        const data = event.split('\n').filter((line) => line.startsWith('data: '));
        if (data.length > 0) this.onmessage({ data: data.map((line) => line.slice(6)).join('\n') });
      }
    }
    throw new Error('the stream has ended');
  }
}
