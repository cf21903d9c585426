/**
 * A WebSocket client over bare TCP: it sends any bytes and reports exactly what comes back.
 *
 * Owns one TCP connection to the loopback address and the bytes not yet read. It checks nothing: no masking rule, no Accept
 * value, no close handshake. raw-frame.ts builds and parses frames.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { onCleanup } from './cleanup.ts';
import { buildFrame, type FrameParts, parseFrame, type ReceivedFrame } from './raw-frame.ts';
import { within } from './until.ts';

/** Null leaves a header out, a list sends it once per entry. */
export type Headers = Record<string, string | string[] | null>;

export interface Request {
  method?: string;
  path?: string;
  /** `HTTP/1.1` */
  version?: string;
  headers?: Headers;
  body?: string;
}

export interface Response {
  status: number;
  /** As received, in order; names in lower case. */
  headers: [name: string, value: string][];
  /** Status line and headers, as received. */
  head: string;
}

/** The key of the example in RFC 6455 section 1.3. */
export const sampleKey = 'dGhlIHNhbXBsZSBub25jZQ==';

const defaultDeadlineMs = 5_000;

/** A WebSocket handshake as a browser sends it, with the headers of `request` over it. */
export function handshake(request: Request = {}): Buffer {
  const headers: Headers = {
    Host: 'localhost',
    Upgrade: 'websocket',
    Connection: 'Upgrade',
    'Sec-WebSocket-Key': sampleKey,
    'Sec-WebSocket-Version': '13',
    ...request.headers,
  };
  return httpRequest({ path: '/ws', ...request, headers });
}

export function httpRequest({ method = 'GET', path = '/', version = 'HTTP/1.1', headers = {}, body = '' }: Request) {
  const lines = Object.entries(headers).flatMap(([name, value]) =>
    value === null ? [] : [value].flat().map((each) => `${name}: ${each}`),
  );
  return Buffer.from([`${method} ${path} ${version}`, ...lines, '', body].join('\r\n'), 'latin1');
}

/** The values of a header, in order. */
export function valuesOf(response: Response, name: string): string[] {
  return response.headers.filter(([each]) => each === name).map(([, value]) => value);
}

export class RawSocket {
  #socket: Socket;
  #unread = Buffer.alloc(0);
  #ended: 'end' | 'reset' | undefined;
  #changed: () => void = () => undefined;

  static async connect(port: number): Promise<RawSocket> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    await within(once(socket, 'connect'), defaultDeadlineMs, `a connection to port ${port}`);
    return new RawSocket(socket);
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk) => {
      this.#unread = Buffer.concat([this.#unread, chunk]);
      this.#changed();
    });
    const ended = (how: 'end' | 'reset') => {
      this.#ended ??= how;
      this.#changed();
    };
    socket.on('end', () => ended('end'));
    socket.on('error', () => ended('reset'));
    socket.on('close', () => ended('reset'));
    onCleanup(() => socket.destroy());
  }

  /** Resolves when the kernel has the bytes; each call is a separate TCP segment, if the kernel allows it. */
  async write(bytes: Buffer): Promise<void> {
    await new Promise<void>((resolve) => this.#socket.write(bytes, () => resolve()));
  }

  /** One frame, or several in one write. */
  async send(...frames: (FrameParts | Buffer)[]): Promise<void> {
    await this.write(Buffer.concat(frames.map((frame) => (Buffer.isBuffer(frame) ? frame : buildFrame(frame)))));
  }

  /** The next HTTP answer's head; a body, if there is one, stays unread. */
  response(deadlineMs = defaultDeadlineMs): Promise<Response> {
    return this.#read(parseResponse, deadlineMs, 'an HTTP answer');
  }

  /** Drops so many bytes, the body of an answer. */
  async skip(bytes: number, deadlineMs = defaultDeadlineMs): Promise<void> {
    const all = (unread: Buffer) => (unread.length < bytes ? undefined : { value: undefined, size: bytes });
    await this.#read(all, deadlineMs, `${bytes} bytes`);
  }

  frame(deadlineMs = defaultDeadlineMs): Promise<ReceivedFrame> {
    return this.#read(parseFrame, deadlineMs, 'a frame');
  }

  /** All frames from here to the end of the connection, which must come before the deadline. */
  async framesToEnd(deadlineMs = defaultDeadlineMs): Promise<ReceivedFrame[]> {
    const frames: ReceivedFrame[] = [];
    await this.ended(deadlineMs);
    for (let next = parseFrame(this.#unread); next; next = parseFrame(this.#unread)) {
      this.#unread = this.#unread.subarray(next.size);
      frames.push(next.value);
    }
    return frames;
  }

  /** How the other side ended the connection. */
  async ended(deadlineMs = defaultDeadlineMs): Promise<'end' | 'reset'> {
    return this.#read(() => (this.#ended ? { value: this.#ended, size: 0 } : undefined), deadlineMs, 'the end');
  }

  /** Ends the connection from our side, without a close frame. */
  destroy(): void {
    this.#socket.destroy();
  }

  async #read<T>(
    parse: (bytes: Buffer) => { value: T; size: number } | undefined,
    deadlineMs: number,
    what: string,
  ): Promise<T> {
    const deadline = Date.now() + deadlineMs;
    for (;;) {
      const parsed = parse(this.#unread);
      if (parsed) {
        this.#unread = this.#unread.subarray(parsed.size);
        return parsed.value;
      }
      if (this.#ended) throw new Error(`the connection ended (${this.#ended}) before ${what} came`);
      const changed = new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
      await within(changed, deadline - Date.now(), what);
    }
  }
}

function parseResponse(bytes: Buffer): { value: Response; size: number } | undefined {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const head = bytes.subarray(0, end).toString('latin1');
  const [statusLine = '', ...lines] = head.split('\r\n');
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  return { value: { status: Number(statusLine.split(' ')[1]), headers, head }, size: end + 4 };
}
