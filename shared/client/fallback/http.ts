/**
 * Plain HTTP as a connection: a stream for each room, a POST for each publish.
 *
 * Owns its streams and the line of publishes, which keep their order. What breaks one room is told as `unsubscribed`
 * (`changed`), so that the session enters that room again; only what concerns all of them ends the connection. A new token
 * needs new streams: then it asks to be replaced, as a node does that stops.
 */
import type { ErrorFrame, GatewayFrame, OkFrame, Position, WelcomeFrame } from '../../protocol.ts';
import { backoffMs, connectionLimit, tokenExpired, unauthorized } from '../connection/backoff.ts';
import type { Answer, Connection, ConnectionListener, End } from '../connection/connection.ts';
import { Api, refusalOf } from './api.ts';
import { claimsOf } from './claims.ts';
import { type HistoryRequest, readHistory } from './history.ts';
import { Stream, type StreamEnd } from './stream.ts';

type Request =
  | { type: 'subscribe'; room: string; since?: Position }
  | { type: 'unsubscribe'; room: string }
  | { type: 'publish'; room: string; data: unknown; key: string }
  | { type: 'auth'; token: string }
  | ({ type: 'history' } & HistoryRequest)
  | { type: 'presence'; room: string };

/** Answers a request, once. */
type Settle = (answer: Answer) => void;

/** HTTP/1.1 in a browser: six requests at a time to a host, of which a move takes two for each room. */
const fewStreams = 3;
const manyStreams = 100;
const fullRetryMs = 10_000;
/** A stream that ended comes back after 1 to 5 s if the gateway said nothing else, as its `retry` would. */
const retryMs = () => 1_000 + 4_000 * Math.random();
const welcomeMs = 10_000;
const answerMs = 15_000;
const probeMs = 5_000;
const disconnected = 4503;
/** Any name will do: what is asked for is refused behind the check of the token. */
const anyRoom = '-';

export class HttpConnection implements Connection {
  readonly transport = 'sse';
  isLeaving = false;
  welcome: WelcomeFrame | undefined;
  welcomedAt = 0;
  readonly #api: Api;
  readonly #listener: ConnectionListener;
  readonly #abort = new AbortController();
  readonly #streams = new Map<string, { stream: Stream; settle: Settle }>();
  /** Rooms whose stream has ended, and by performance.now() when the next one may begin. */
  readonly #notBefore = new Map<string, number>();
  readonly #unanswered = new Set<(answer: Answer) => void>();
  /** Streams in a row that got no `ok`. */
  #failures = 0;
  #publishing: Promise<void> = Promise.resolve();
  #isOver = false;

  constructor(url: string, token: string | undefined, listener: ConnectionListener) {
    this.#api = new Api(url, token);
    this.#listener = listener;
    void this.#open();
  }

  ask(members: string, answered: (answer: Answer) => void): void {
    if (this.#isOver) {
      answered(undefined);
      return;
    }
    const settle = (answer: Answer) => {
      if (this.#unanswered.delete(settle)) answered(answer);
    };
    this.#unanswered.add(settle);
    this.#ask(JSON.parse(`{${members}}`), settle);
  }

  /** Streams cannot be asked. Whether the gateway can be reached shows at once, a silent stream within 30 s. */
  probe(): void {
    if (this.welcome === undefined) return;
    this.#check(probeMs).catch(() => this.#end({ code: 1006, reason: '' }));
  }

  async close(): Promise<void> {
    this.#isOver = true;
    this.#abort.abort();
    for (const { stream } of this.#streams.values()) stream.close();
    this.#streams.clear();
    for (const settle of [...this.#unanswered]) settle(undefined);
  }

  #end(end: End): void {
    if (this.#isOver) return;
    void this.close();
    this.#listener.ended(this, end);
  }

  async #open(): Promise<void> {
    try {
      const end = await this.#check(welcomeMs);
      if (this.#isOver) return;
      if (end === undefined) this.#welcomed();
      else this.#end(end);
    } catch {
      // No answer: an attempt that failed.
      this.#end({ code: 1006, reason: '' });
    }
  }

  /** A publish of nothing: it is refused, but only behind the check of the token. Rejects if no gateway answers. */
  async #check(ms: number): Promise<End | undefined> {
    const { code, isOfGateway, message } = await refusalOf(await this.#empty(ms));
    if (!isOfGateway || code === 'unavailable') throw new Error(message);
    if (code === 'unauthorized') return { code: unauthorized, reason: message };
    return code === 'forbidden' ? { code: disconnected, reason: message } : undefined;
  }

  async #empty(ms: number): Promise<Response> {
    const post = () =>
      this.#within(ms, (signal) => this.#api.fetch(anyRoom, 'messages', { method: 'POST', body: '{}', signal }));
    if (this.#api.token !== undefined || this.welcome !== undefined) return post();
    // A cookie may be the token. A gateway that takes none does not let a page of another origin send any.
    this.#api.credentials = 'include';
    return post().catch(() => {
      this.#api.credentials = 'same-origin';
      return post();
    });
  }

  #welcomed(): void {
    const now = Date.now();
    const { user, lastsMs } = claimsOf(this.#api.token, now);
    this.welcomedAt = performance.now();
    this.welcome = {
      ...{ type: 'welcome', version: 1, connection: '', node: '', user: user as string | null, now, features: [] },
      expiresAt: lastsMs === undefined ? null : now + lastsMs,
      pingIntervalMs: 0,
      maxMessageBytes: Number.POSITIVE_INFINITY,
      maxRooms: this.#maxStreams(),
      dedupeMs: Number.POSITIVE_INFINITY,
    };
    this.#listener.welcomed(this);
  }

  #maxStreams(): number {
    // Only browsers have a location, and only they bound the requests to a host.
    if (!('location' in globalThis)) return manyStreams;
    const [entry] = performance.getEntriesByName(this.#api.url(anyRoom, 'messages')).slice(-1);
    const { nextHopProtocol = '' } = (entry ?? {}) as { nextHopProtocol?: string };
    return /^h[23]/.test(nextHopProtocol) ? manyStreams : fewStreams;
  }

  #ask(request: Request, settle: Settle): void {
    switch (request.type) {
      case 'subscribe':
        this.#subscribe(request.room, request.since, settle);
        break;
      case 'unsubscribe':
        this.#leave(request.room);
        this.#notBefore.delete(request.room);
        settle({ type: 'ok' });
        break;
      case 'publish':
        this.#publishing = this.#publishing.then(() => this.#publish(request, settle));
        break;
      case 'history':
        this.#answer(settle, (signal) => readHistory(this.#api, request, signal));
        break;
      case 'auth':
        this.#renew(request.token, settle);
        break;
      default:
        settle(refused('unsupported', `${request.type} needs a WebSocket, and none gets through`));
    }
  }

  #leave(room: string): void {
    const { stream, settle } = this.#streams.get(room) ?? {};
    this.#streams.delete(room);
    stream?.close();
    settle?.(refused('unavailable', 'the room was left'));
  }

  #subscribe(room: string, since: Position | undefined, settle: Settle): void {
    // A stream that tells its end has not ended yet.
    this.#leave(room);
    if (this.#streams.size >= (this.welcome?.maxRooms ?? 0)) {
      const message = 'no more rooms at a time over plain HTTP; they follow when a WebSocket gets through';
      settle({ ...refused('unavailable', message), retryAfterMs: fullRetryMs });
      return;
    }
    const waitMs = (this.#notBefore.get(room) ?? 0) - performance.now();
    this.#notBefore.delete(room);
    const { signal } = this.#abort;
    const stream = new Stream(this.#api, [room, 'events', { since, signal }], Math.max(0, waitMs), {
      frame: (frame) => this.#take(frame, settle),
      ended: (end) => {
        this.#streams.delete(room);
        this.#ended(room, end, settle);
      },
    });
    this.#streams.set(room, { stream, settle });
  }

  #take(frame: GatewayFrame, settle: Settle): void {
    if (frame.type === 'ok') {
      this.#failures = 0;
      settle(frame);
    } else this.#listener.frame(this, frame);
  }

  #ended(room: string, { refused: why, code, reason, ...end }: StreamEnd, settle: Settle): void {
    // A token that was good when the connection was welcomed.
    if (why?.code === 'unauthorized') this.#end({ code: tokenExpired, reason: why.message });
    else if (why !== undefined) settle({ ...why, retryAfterMs: why.retryAfterMs ?? backoffMs(this.#failures++) });
    // One stream too many ends that stream; without any other one it is final.
    else if (code === tokenExpired || (code >= 4500 && code !== connectionLimit)) this.#end({ code, reason });
    else if (code !== 1000 && ![...this.#streams.values()].some(({ stream }) => stream.isOpen))
      this.#end({ code, reason });
    else if (code !== 1000) {
      this.#notBefore.set(room, performance.now() + (end.retryMs ?? retryMs()));
      settle({ ...refused('unavailable', reason), retryAfterMs: backoffMs(this.#failures++) });
      this.#listener.frame(this, { type: 'unsubscribed', room, reason: 'changed' });
    }
  }

  async #publish({ room, data, key }: Extract<Request, { type: 'publish' }>, settle: Settle): Promise<void> {
    if (this.#isOver) return;
    const body = JSON.stringify({ data, key });
    await this.#answer(settle, async (signal) => {
      const response = await this.#api.fetch(room, 'messages', { method: 'POST', body, signal });
      return response.ok ? ({ ...(await readOk(response)), type: 'ok' } as const) : refusalOf(response);
    });
  }

  /** A request that got no answer may have been taken: `timeout` says so, and it is tried again. */
  async #answer(settle: Settle, request: (signal: AbortSignal) => Promise<OkFrame | ErrorFrame>): Promise<void> {
    try {
      settle(await this.#within(answerMs, request));
    } catch (error) {
      if (this.#streams.size === 0) this.#end({ code: 1006, reason: String(error) });
      else settle(refused('timeout', String(error)));
    }
  }

  /** Aborts what `request` does after `ms`, and when the connection ends. */
  async #within<Value>(ms: number, request: (signal: AbortSignal) => Promise<Value>): Promise<Value> {
    const own = new AbortController();
    const abort = () => own.abort();
    const timer = setTimeout(abort, ms);
    this.#abort.signal.addEventListener('abort', abort);
    if (this.#isOver) abort();
    try {
      return await request(own.signal);
    } finally {
      clearTimeout(timer);
      this.#abort.signal.removeEventListener('abort', abort);
    }
  }

  #renew(token: string, settle: Settle): void {
    this.#api.token = token;
    const { lastsMs } = claimsOf(token, Date.now());
    const now = (this.welcome?.now ?? 0) + performance.now() - this.welcomedAt;
    settle({ type: 'ok', expiresAt: lastsMs === undefined ? null : now + lastsMs });
    // The open streams end with the token that they began with.
    if (this.#streams.size > 0) this.#listener.frame(this, { type: 'reconnect', afterMs: 0, reason: 'draining' });
  }
}

function readOk(response: Response): Promise<Pick<OkFrame, 'epoch' | 'offset' | 'duplicate'>> {
  return response.json() as Promise<OkFrame>;
}

function refused(code: ErrorFrame['code'], message: string): ErrorFrame {
  return { type: 'error', code, message };
}
