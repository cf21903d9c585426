/**
 * The messages of a client without WebSockets: what it is told comes as one response that does not end, and each message of its own
 * is a request, which goes to any node.
 *
 * The requests go one after the other: their order is that of the client. One that is not taken ends the connection.
 */
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import type { EmulatedSpeech, Session } from './speech.ts';
import type { Wire, WireListener } from './wire.ts';

const answerTimeoutMs = 4_000;
const lost = 1006;

export class HttpStream implements Wire {
  readonly #base: string;
  readonly #speech: EmulatedSpeech;
  readonly #listener: WireListener;
  readonly #stream: ClientRequest;
  readonly #waiting: (string | Uint8Array)[] = [];
  #response: IncomingMessage | undefined;
  #rest = Buffer.alloc(0);
  #session: Session | undefined;
  #posting: ClientRequest | undefined;
  #code = lost;

  /** `url`: as for a WebSocket, without a path. */
  constructor(url: string, token: string, speech: EmulatedSpeech, listener: WireListener) {
    this.#base = url.replace(/^ws/, 'http');
    this.#speech = speech;
    this.#listener = listener;
    this.#stream = this.#post(speech.path, speech.opening(token), (response) => {
      this.#response = response;
      if (response.statusCode !== 200) this.drop();
      response.on('data', (bytes: Buffer) => this.#take(bytes));
      // `close` of the request follows.
      response.on('error', () => undefined);
    });
    this.#stream.on('close', () => {
      this.#posting?.destroy();
      listener.closed(this.#code);
    });
  }

  send(message: string | Uint8Array): void {
    this.#waiting.push(message);
    this.#sendNext();
  }

  close(): void {
    this.drop();
  }

  drop(): void {
    this.#stream.destroy();
  }

  vanish(): void {
    this.#response?.socket.pause();
    this.#posting?.destroy();
  }

  #take(bytes: Buffer): void {
    const all = Buffer.concat([this.#rest, bytes]);
    const length = this.#speech.wholeLength(all);
    this.#rest = all.subarray(length);
    if (length === 0) return;
    for (const said of this.#speech.hear(all.subarray(0, length))) {
      if (said.type === 'session') this.#session = said.session;
      else if (said.type === 'closing') this.#code = said.code;
      else this.#listener.said(said);
    }
  }

  #sendNext(): void {
    if (this.#posting !== undefined || this.#session === undefined) return;
    const message = this.#waiting.shift();
    if (message === undefined) return;
    let taken = false;
    const posting = this.#post('/emulation', this.#speech.envelope(this.#session, message), (response) => {
      taken = response.statusCode === 204;
      response.resume();
      response.on('error', () => undefined);
    });
    this.#posting = posting;
    posting.setTimeout(answerTimeoutMs, () => posting.destroy());
    posting.on('close', () => {
      this.#posting = undefined;
      if (taken) this.#sendNext();
      else this.drop();
    });
  }

  #post(path: string, body: string | Uint8Array, onResponse: (response: IncomingMessage) => void): ClientRequest {
    const headers = { 'content-type': this.#speech.contentType };
    const request = httpRequest(`${this.#base}${path}`, { method: 'POST', agent: false, headers });
    request.on('response', onResponse);
    // `close` follows every error.
    request.on('error', () => undefined);
    request.end(body);
    return request;
  }
}
