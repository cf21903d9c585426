/**
 * A client of `roomcast.v1.json` for tests. It uses `ws` from npm, so that another implementation judges the gateway's
 * WebSocket.
 *
 * Owns the socket and the queue of unread frames. It never reconnects, never answers by itself, and never sleeps: `next`
 * resolves when the frame comes, and rejects at its deadline or when the connection ends.
 */
import type { IncomingMessage } from 'node:http';
import { WebSocket } from 'ws';
import type { ErrorFrame, FrameId, GatewayFrame, OkFrame } from '../../shared/protocol.ts';
import { subprotocol } from '../../shared/protocol.ts';
import { onCleanup } from './cleanup.ts';

type FrameOf<Type extends GatewayFrame['type']> = Extract<GatewayFrame, { type: Type }>;

export interface ConnectOptions {
  /** Sent as `Authorization: Bearer`. */
  token?: string;
  headers?: Record<string, string>;
  protocols?: string[];
  /** Certificate authority, PEM, for wss:// */
  ca?: string;
  /** Offers permessage-deflate, as browsers do. */
  compression?: true;
}

export interface Closed {
  code: number;
  reason: string;
}

interface Waiter {
  matches(frame: GatewayFrame): boolean;
  resolve(frame: GatewayFrame): void;
  reject(error: Error): void;
}

/** The handshake got an answer other than 101. */
export class HandshakeRefusedError extends Error {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];

  constructor(response: IncomingMessage) {
    super(`the handshake was answered by HTTP ${response.statusCode}`);
    this.status = response.statusCode ?? 0;
    this.headers = response.headers;
  }
}

const defaultDeadlineMs = 5_000;

/** Resolves when the connection is open; it misses no frame from then on. */
export async function connect(url: string, options: ConnectOptions = {}): Promise<Client> {
  const { token, ca } = options;
  const socket = new WebSocket(url, options.protocols ?? [subprotocol], {
    headers: { ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), ...options.headers },
    handshakeTimeout: defaultDeadlineMs,
    perMessageDeflate: options.compression ?? false,
    ...(ca === undefined ? {} : { ca }),
  });
  onCleanup(() => socket.terminate());
  const client = new Client(socket);
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
    socket.once('unexpected-response', (request, response) => {
      reject(new HandshakeRefusedError(response));
      request.destroy();
    });
  });
  return client;
}

/** Connects with a token and waits for `welcome`. */
export async function connectWelcomed(url: string, token: string, options: ConnectOptions = {}): Promise<Client> {
  const client = await connect(url, { ...options, token });
  await client.next('welcome');
  return client;
}

export class Client {
  readonly socket: WebSocket;
  /** All frames so far, in order, read or not. */
  readonly frames: GatewayFrame[] = [];
  readonly closed: Promise<Closed>;
  #unread: GatewayFrame[] = [];
  #waiters = new Set<Waiter>();
  #ended: Closed | undefined;
  #lastId = 0;

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (data) => this.#take(JSON.parse(String(data)) as GatewayFrame));
    // `close` follows every error, and carries what tests look at.
    socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => {
      socket.on('close', (code, reason) => {
        this.#ended = { code, reason: String(reason) };
        for (const waiter of this.#waiters) waiter.reject(this.#endedError());
        resolve(this.#ended);
      });
    });
  }

  /** An object is sent as JSON, a string or bytes as they are. */
  send(frame: object | string | Buffer): void {
    this.socket.send(typeof frame === 'string' || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame));
  }

  /** The first unread frame that matches, or the next one that comes; all others stay unread. */
  next<Type extends GatewayFrame['type']>(type: Type, deadlineMs?: number): Promise<FrameOf<Type>>;
  next(matches: (frame: GatewayFrame) => boolean, deadlineMs?: number): Promise<GatewayFrame>;
  next(wanted: string | ((frame: GatewayFrame) => boolean), deadlineMs = defaultDeadlineMs): Promise<GatewayFrame> {
    const matches = typeof wanted === 'string' ? (frame: GatewayFrame) => frame.type === wanted : wanted;
    const found = this.#unread.findIndex(matches);
    const [frame] = found < 0 ? [] : this.#unread.splice(found, 1);
    if (frame) return Promise.resolve(frame);
    if (this.#ended) return Promise.reject(this.#endedError());
    return new Promise((resolve, reject) => {
      const late = () => settle(() => reject(new Error(`no frame ${wanted} within ${deadlineMs} ms`)));
      const timer = setTimeout(late, deadlineMs);
      const settle = (outcome: () => void) => {
        clearTimeout(timer);
        this.#waiters.delete(waiter);
        outcome();
      };
      const waiter: Waiter = {
        matches,
        resolve: (answer) => settle(() => resolve(answer)),
        reject: (error) => settle(() => reject(error)),
      };
      this.#waiters.add(waiter);
    });
  }

  /** Sends the frame with a new id and resolves with its answer, `ok` or not. */
  request(frame: { type: string; id?: FrameId; [field: string]: unknown }, deadlineMs?: number): Promise<GatewayFrame> {
    const id = frame.id ?? ++this.#lastId;
    this.send({ ...frame, id });
    return this.next((answer) => 'id' in answer && answer.id === id && answer.type !== 'message', deadlineMs);
  }

  /** Rejects when the answer is not `ok`. */
  async subscribe(room: string): Promise<OkFrame> {
    return okOf(await this.request({ type: 'subscribe', room }));
  }

  /** Rejects when the answer is not `ok`. */
  async publish(room: string, data: unknown, extra: { key?: string } = {}): Promise<OkFrame> {
    return okOf(await this.request({ type: 'publish', room, data, ...extra }));
  }

  /** Closes with 1000 and waits for the end. */
  close(): Promise<Closed> {
    this.socket.close(1000);
    return this.closed;
  }

  #take(frame: GatewayFrame): void {
    this.frames.push(frame);
    for (const waiter of this.#waiters) {
      if (!waiter.matches(frame)) continue;
      waiter.resolve(frame);
      return;
    }
    this.#unread.push(frame);
  }

  #endedError(): Error {
    return new Error(`the connection ended with ${this.#ended?.code} ${this.#ended?.reason}`);
  }
}

/** The frame, if it is an `error`; a failed assertion otherwise. */
export function errorOf(frame: GatewayFrame): ErrorFrame {
  if (frame.type !== 'error') throw new Error(`expected an error, got ${JSON.stringify(frame)}`);
  return frame;
}

/** The frame, if it is an `ok`; a failed assertion otherwise. */
export function okOf(frame: GatewayFrame): OkFrame {
  if (frame.type !== 'ok') throw new Error(`expected ok, got ${JSON.stringify(frame)}`);
  return frame;
}
