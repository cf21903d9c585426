/**
 * A request and its response: reads the body within bounds of size and time, and answers once, if the client is still there.
 *
 * Owns the traps of the library (uWebSockets.js 20.49, measured): it cuts a body that does not come after 8 to 12 s without an
 * answer; and an answer that ends the connection before the client has sent everything is lost with the connection. It knows
 * the library only by gateway/http/response.ts.
 */
import type { HandshakeRequest } from './handshake.ts';
import { Problem } from './problem.ts';
import { type Answer, answer, type LibraryResponse, withGuards } from './response.ts';

/** For a whole body, from the head of its request on. */
const bodyMs = 10_000;
/** Of all bodies of a port that are being read or worked on. */
const maxBytesUnderWay = 33_554_432;
/** Of a body that is not wanted: a client may write all of it before it reads. */
const discardMs = 2_000;

/** The bodies that are read. */
export const jsonType = /^application\/json[\t ]*(;[\t ]*charset="?utf-8"?[\t ]*)?$/i;
/** Fails on invalid UTF-8. Keeps a byte order mark, which makes the text invalid JSON. */
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The client went away before it had sent the whole body: there is nobody to answer. */
export class Aborted extends Problem {
  constructor() {
    super('bad_request', 'the client went away');
  }
}

export class Exchange {
  readonly #res: LibraryResponse;
  readonly #request: HandshakeRequest;
  #state: 'open' | 'answered' | 'gone' = 'open';
  /** A part of the body has not come. */
  #isUnread: boolean;
  #taken: (chunk: ArrayBuffer, isLast: boolean) => void = () => undefined;
  #aborted: () => void = () => undefined;

  /** To be made in the handler of the request. */
  constructor(res: LibraryResponse, request: HandshakeRequest) {
    this.#res = res;
    this.#request = request;
    this.#isUnread = this.hasBody;
    res.onAborted(() => {
      this.#state = 'gone';
      this.#aborted();
    });
    if (!this.#isUnread) return;
    res.onData((chunk, isLast) => {
      this.#isUnread = !isLast;
      this.#taken(chunk, isLast);
    });
  }

  /** RFC 9112 section 6.3. */
  get hasBody(): boolean {
    const { headers } = this.#request;
    return headers.has('transfer-encoding') || Number(headers.get('content-length')?.[0] ?? 0) > 0;
  }

  get headers(): HandshakeRequest['headers'] {
    return this.#request.headers;
  }

  /** For who answers otherwise, once the body is read. Undefined if the client has gone, or is answered. */
  takeResponse(): LibraryResponse | undefined {
    if (this.#state !== 'open') return undefined;
    this.#state = 'answered';
    return this.#res;
  }

  /**
   * The body. To be called in the handler of the request. `hold` is told of the bytes of each chunk, and throws when they are too
   * many. Rejects with what it throws, with a Problem if the body is late, or with Aborted.
   */
  bytes(hold: (bytes: number) => void): Promise<Buffer> {
    if (!this.#isUnread) return Promise.resolve(Buffer.alloc(0));
    const chunks: Buffer[] = [];
    return new Promise((resolve, reject) => {
      const settle = (end: () => void) => {
        clearTimeout(timer);
        this.#taken = () => undefined;
        this.#aborted = () => undefined;
        end();
      };
      const fail = (error: unknown) => settle(() => reject(error));
      let timer = setTimeout(() => {
        // Otherwise the library cuts the connection before the time is over.
        this.#res.pause();
        this.#res.resume();
        timer = setTimeout(() => fail(tooLate()), bodyMs / 2);
      }, bodyMs / 2);
      this.#aborted = () => fail(new Aborted());
      this.#taken = (chunk, isLast) => {
        try {
          hold(chunk.byteLength);
          if (isLast) {
            const body = Buffer.concat([...chunks, Buffer.from(chunk)]);
            settle(() => resolve(body));
          }
          // The library takes the bytes back when this handler returns.
          else chunks.push(Buffer.from(new Uint8Array(chunk)));
        } catch (error) {
          fail(error);
        }
      };
    });
  }

  /** Only the first answer is sent. */
  answer(made: Answer): void {
    if (this.#state !== 'open') return;
    this.#state = 'answered';
    // What has come together with the head is read before this runs.
    if (this.#isUnread && !made.close) setImmediate(() => this.#state === 'gone' || this.#send(made));
    else this.#send(made);
  }

  #send(made: Answer): void {
    const { headers, body = '' } = made;
    if (this.#request.method === 'HEAD') {
      const length = { 'content-length': String(Buffer.byteLength(body)) };
      answer(this.#res, { ...made, headers: { ...headers, ...length }, body: undefined });
    } else if (this.#isUnread && !made.close) this.#sendEarly(made);
    else answer(this.#res, made);
  }

  /**
   * Sends an answer at once, drops what still comes of the body, then ends the connection. The library has no call for that, but
   * writes the text of a status as it is: so that is the whole answer, of which the library does not know that it has ended.
   */
  #sendEarly({ status, headers, body = '' }: Answer): void {
    const res = this.#res;
    const timer = setTimeout(() => res.close(), discardMs);
    this.#aborted = () => clearTimeout(timer);
    this.#taken = (_, isLast) => {
      if (isLast) res.close();
    };
    const text = `${body}\r\n`;
    const all = { ...withGuards(headers), connection: 'close', 'content-length': String(Buffer.byteLength(text)) };
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}`);
    res.cork(() => res.writeStatus([status, ...lines, '', body].join('\r\n')));
  }
}

/** The bodies of one port. */
export class Bodies {
  #bytesUnderWay = 0;

  /**
   * Reads a body of JSON, and passes its text to `use`. To be called in the handler of the request. Rejects with a Problem, also
   * if it is not UTF-8, or with Aborted, or as `use` does.
   */
  read<Result>(exchange: Exchange, maxBytes: number, use: (text: string) => Result | Promise<Result>): Promise<Result> {
    return this.readBytes(exchange, maxBytes, (body) => use(textOf(body)));
  }

  /** Of JSON, or of another type that a page cannot send without asking first. */
  async readBytes<Result>(
    exchange: Exchange,
    maxBytes: number,
    use: (body: Buffer) => Result | Promise<Result>,
    type = jsonType,
  ): Promise<Result> {
    checkHead(exchange, maxBytes, type);
    let held = 0;
    const hold = (bytes: number) => {
      held += bytes;
      this.#bytesUnderWay += bytes;
      if (held > maxBytes) throw tooLarge(maxBytes);
      if (this.#bytesUnderWay > maxBytesUnderWay) {
        throw new Problem('unavailable', 'Too many bodies are under way on this node; send it again in a moment.');
      }
    };
    try {
      return await use(await exchange.bytes(hold));
    } finally {
      this.#bytesUnderWay -= held;
    }
  }
}

function checkHead({ headers }: Exchange, maxBytes: number, type: RegExp): void {
  // A page of any origin can send a form or text, but no JSON without asking first (CORS): this stops forged requests.
  if (!type.test(headers.get('content-type')?.[0] ?? '')) {
    throw new Problem(
      'unsupported',
      'Send the body as JSON in UTF-8, with the header "content-type: application/json".',
    );
  }
  const encoding = headers.get('content-encoding')?.[0] ?? 'identity';
  if (encoding.toLowerCase() !== 'identity') {
    throw new Problem('unsupported', 'Send the body without a content-encoding.', {
      headers: { 'accept-encoding': 'identity' },
    });
  }
  if (Number(headers.get('content-length')?.[0] ?? 0) > maxBytes) throw tooLarge(maxBytes);
}

function tooLarge(maxBytes: number): Problem {
  return new Problem('too_large', `The body may have at most ${maxBytes} bytes; send less.`);
}

function tooLate(): Problem {
  return new Problem('bad_request', `The body did not come within ${bodyMs / 1_000} s; send it faster.`, {
    status: 408,
  });
}

function textOf(bytes: Buffer): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new Problem('bad_request', 'The body is not valid UTF-8; encode it in UTF-8, without a byte order mark.');
  }
}
