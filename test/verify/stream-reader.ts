/** A reader by event stream. Asked to move, it opens the next stream before it leaves; else it comes back after `retry`. */
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import type { GapFrame } from '../../shared/protocol.ts';
import { type Beginning, type Chapter, type Messages, type Place, Reader } from './reader.ts';

const firstRetryMs = 1_000;

export class StreamReader {
  readonly reader: Reader;
  readonly #place: Place;
  readonly #token: string;
  readonly #messages: Messages;
  readonly #requests = new Set<ClientRequest>();
  #current: ClientRequest | undefined;
  #retryMs = firstRetryMs;
  #stopped = false;

  constructor(name: string, room: string, token: string, place: Place, messages: Messages) {
    this.reader = new Reader(name, room);
    this.#place = place;
    this.#token = token;
    this.#messages = messages;
  }

  get listens(): boolean {
    return this.#current !== undefined;
  }

  connect(): void {
    if (this.#stopped || this.#requests.size > 1) return;
    const port = this.#place();
    if (port === undefined) {
      this.#again();
      return;
    }
    const { position, since, room } = this.reader;
    const request = httpRequest({
      ...{ host: '127.0.0.1', port, path: `/rooms/${room}/events`, agent: false },
      headers: {
        authorization: `Bearer ${this.#token}`,
        ...(since === undefined ? {} : { 'last-event-id': since }),
      },
    });
    this.#requests.add(request);
    let chapter: Chapter | undefined;
    request.on('response', (response: IncomingMessage) => {
      if (response.statusCode !== 200) {
        request.destroy();
        return;
      }
      let rest = '';
      response.setEncoding('utf8');
      response.on('data', (text: string) => {
        const events = (rest + text).split('\n\n');
        rest = events.pop() ?? '';
        for (const event of events) {
          const [, name = ''] = /^event: (\w+)$/m.exec(event) ?? [];
          const data = event.slice(event.indexOf('\ndata: ') + 7);
          if (name === 'message' && chapter !== undefined) this.reader.hear(chapter, this.#messages.read(data));
          else if (name === 'ok') {
            this.#retryMs = Number(/^retry: (\d+)$/m.exec(event)?.[1] ?? firstRetryMs);
            chapter = this.reader.begin(position, JSON.parse(data) as Beginning);
            const old = this.#current;
            this.#current = request;
            old?.destroy();
          } else if (name === 'gap' && chapter !== undefined) this.reader.gap(chapter, JSON.parse(data) as GapFrame);
          else if (name === 'reconnect') this.connect();
        }
      });
      // `close` of the request follows every error.
      response.on('error', () => undefined);
    });
    request.on('error', () => undefined);
    request.on('close', () => {
      this.#requests.delete(request);
      if (chapter !== undefined) this.reader.end(chapter);
      if (request === this.#current) this.#current = undefined;
      if (this.#current === undefined && this.#requests.size === 0) this.#again();
    });
    request.end();
  }

  stop(): void {
    this.#stopped = true;
    for (const request of this.#requests) request.destroy();
  }

  #again(): void {
    if (!this.#stopped) setTimeout(() => this.connect(), this.#retryMs);
  }
}
