/**
 * One WebSocket to a gateway, from the handshake to its one end.
 *
 * Owns the socket, the answers that are awaited on it, and the watch over a line that has gone silent. It never reconnects
 * and knows no rooms; the session does.
 */
import { type GatewayFrame, subprotocol, tokenSubprotocolPrefix, type WelcomeFrame } from '../../protocol.ts';
import type { Answer, Connection, ConnectionListener, End } from './connection.ts';

/** What the library uses of a WebSocket: that of browsers, Deno, Bun and Node 22, or of `ws`. */
export interface WebSocketLike {
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  /** Of no concern to text. */
  binaryType?: string;
  send(message: string | ArrayBuffer): void;
  close(code?: number): void;
}

export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

const probeMs = 5_000;
const closingMs = 1_000;
const nothing = () => undefined;

export class WebSocketConnection implements Connection {
  readonly transport = 'websocket';
  welcome: WelcomeFrame | undefined;
  welcomedAt = 0;
  isLeaving = false;
  readonly #listener: ConnectionListener;
  readonly #answers = new Map<number, (answer: Answer) => void>();
  #socket: WebSocketLike | undefined;
  #lastId = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #heard = true;
  #isOver = false;

  constructor(
    WebSocket: WebSocketConstructor,
    url: string,
    token: string | undefined,
    listener: ConnectionListener,
    patienceMs = 15_000,
  ) {
    this.#listener = listener;
    this.#timer = setTimeout(() => this.#lost(), patienceMs);
    try {
      this.#open(new WebSocket(url, [subprotocol, ...(token === undefined ? [] : [tokenSubprotocolPrefix + token])]));
    } catch {
      // The page may not open it, for instance: an attempt that failed, like any other.
      queueMicrotask(() => this.#lost());
    }
  }

  #open(socket: WebSocketLike): void {
    this.#socket = socket;
    socket.onmessage = ({ data }: { data: unknown }) => this.#take(data);
    socket.onclose = ({ code, reason }: End) => this.#end({ code: code || 1006, reason });
    // `close` follows in most environments, not in all; the first of them counts.
    socket.onerror = () => this.#lost();
  }

  ask(members: string, answered: (answer: Answer) => void): void {
    if (this.#isOver) {
      answered(undefined);
      return;
    }
    const id = ++this.#lastId;
    this.#answers.set(id, answered);
    this.#socket?.send(`{"id":${id},${members}}`);
  }

  probe(): void {
    if (this.welcome !== undefined) this.#watch(Math.min(probeMs, this.welcome.pingIntervalMs), true);
  }

  /** Resolves when the gateway has answered, after a second at most. */
  close(): Promise<void> {
    if (this.#isOver) return Promise.resolve();
    this.#isOver = true;
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, closingMs);
      this.#release(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  #lost(): void {
    this.#end({ code: 1006, reason: '' });
  }

  #end(end: End): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#release(nothing);
    this.#listener.ended(this, end);
  }

  #release(closed: () => void): void {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    if (socket !== undefined) {
      socket.onmessage = nothing;
      socket.onclose = closed;
      // `ws` throws an error that nobody listens to.
      socket.onerror = nothing;
      socket.close(1000);
    }
    for (const answered of this.#answers.values()) answered(undefined);
    this.#answers.clear();
  }

  /** A frame as text, or as a value: `binary` has it from MessagePack. */
  #take(data: unknown): void {
    this.#heard = true;
    let frame: GatewayFrame;
    try {
      // `null` is JSON too.
      frame = (data as GatewayFrame).type ? data : (JSON.parse(data as string) ?? {});
    } catch {
      this.#lost();
      return;
    }
    if (frame.type === 'ok' || frame.type === 'error') {
      const id = Number(frame.id);
      const answered = this.#answers.get(id);
      this.#answers.delete(id);
      answered?.(frame);
    } else if (this.welcome === undefined && frame.type === 'welcome') this.#welcomed(frame);
    else this.#listener.frame(this, frame);
  }

  #welcomed(frame: WelcomeFrame): void {
    this.welcome = frame;
    this.welcomedAt = performance.now();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#watch(frame.pingIntervalMs, false), frame.pingIntervalMs);
    this.#listener.welcomed(this);
  }

  /**
   * Sends a ping; a frame must come within `waitMs`. After that it begins again, so a dead line is found within two
   * intervals. A timer that was held up, in a hidden tab or a machine that slept, gives the line one more chance.
   */
  #watch(waitMs: number, isLastChance: boolean): void {
    const intervalMs = this.welcome?.pingIntervalMs ?? waitMs;
    const askedAt = performance.now();
    this.#heard = false;
    this.#socket?.send('{"type":"ping"}');
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.#heard) this.#watch(intervalMs, false);
      else if (!isLastChance && performance.now() - askedAt > 2 * waitMs) this.probe();
      else this.#lost();
    }, waitMs);
  }
}
