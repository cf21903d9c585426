/**
 * Brings the next welcomed connection, however often it has to try.
 *
 * Owns the one attempt or the one timer to the next, and what is tried: WebSockets, and the fallback once two of them in a
 * row were not welcomed. While the fallback serves, it goes on looking for a WebSocket. It does not care whether an older
 * connection is still open: after a loss and in a move it does the same.
 */
import { backoffMs, isFinal, lostStep, rateLimited, rateLimitedMs, tokenExpired, unauthorized } from './backoff.ts';
import type { Connection, ConnectionListener, End, Open } from './connection.ts';
import type { Tokens } from './token.ts';

/** Hears of a connection once it is welcomed. */
export interface DialerListener extends ConnectionListener {
  /** It begins to wait, or to connect. */
  changed(): void;
  /** Trying again is of no use. */
  refused(end: End): void;
  failed(error: unknown): void;
  /** A connection is open that is to stay, if nothing better comes. */
  isServed(): boolean;
}

/** A sign that the network is back makes the next attempt come within this time. */
const hurryMs = 1_000;
const patienceMs = 15_000;
/** With a fallback: so it serves within 5 s of the start, behind two WebSockets that hang and the wait between them. */
const shortPatienceMs = 2_000;
const shortWait = 0.2;
const maxFailures = 2;
/** The least time from one attempt to leave the fallback to the next; twice that is the longest. */
const upgradeMs = 60_000;

export class Dialer {
  state: 'idle' | 'waiting' | 'connecting' = 'idle';
  readonly #websocket: Open;
  readonly #fallback: Open | undefined;
  readonly #tokens: Tokens;
  readonly #listener: DialerListener;
  /** Of the backoff. */
  #step = 0;
  /** WebSockets in a row that were not welcomed. */
  #failures = 0;
  /** What is under way only looks for something better than the fallback, which serves. */
  #isUpgrade = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #connection: Connection | undefined;
  /** By performance.now(): a close code asked to wait until then. */
  #notBefore = 0;
  /** By performance.now(), while it waits. */
  #dueAt = 0;
  #isStopped = false;

  constructor(websocket: Open, fallback: Open | undefined, tokens: Tokens, listener: DialerListener) {
    this.#websocket = websocket;
    this.#fallback = fallback;
    this.#tokens = tokens;
    this.#listener = listener;
  }

  /** The last connection was stable. */
  reset(): void {
    this.#step = lostStep;
  }

  /** Connects now, or after the wait that a `reconnect` frame asks for. Too many moves in a row are slowed down. */
  move(afterMs: number): void {
    if (this.#isBusy()) return;
    const waitMs = this.#step <= lostStep ? afterMs : afterMs + backoffMs(this.#step);
    if (waitMs === 0) void this.#attempt();
    else this.#wait(waitMs);
  }

  /** The connection was lost, with this code. */
  again(code: number): void {
    if (this.#isBusy()) return;
    const leastMs = code === rateLimited ? rateLimitedMs : 0;
    this.#notBefore = performance.now() + leastMs;
    // Step 1 is behind the very first attempt: no node has died, and nobody else comes at this moment.
    const share = this.#fallback !== undefined && this.#step === 1 ? shortWait : 1;
    this.#wait(leastMs + share * backoffMs(this.#step));
  }

  /** The network or the page is back. */
  hurry(): void {
    if (this.state !== 'waiting') return;
    const now = performance.now();
    this.#wait(Math.min(this.#dueAt - now, Math.max(0, this.#notBefore - now) + Math.random() * hurryMs));
  }

  stop(): void {
    this.#isStopped = true;
    this.state = 'idle';
    clearTimeout(this.#timer);
    void this.#connection?.close();
  }

  /** An attempt to leave the fallback makes room when the fallback does not serve any more. */
  #isBusy(): boolean {
    if (!this.#isUpgrade) return this.state !== 'idle';
    this.#isUpgrade = false;
    // One that waits for its token has not chosen yet what it opens.
    if (this.state === 'connecting' && this.#connection === undefined) return true;
    void this.#connection?.close();
    this.#connection = undefined;
    return false;
  }

  #wait(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#attempt(), ms);
    this.#dueAt = performance.now() + ms;
    this.#become('waiting');
  }

  #become(state: Dialer['state']): void {
    this.state = state;
    this.#listener.changed();
  }

  async #attempt(): Promise<void> {
    clearTimeout(this.#timer);
    this.#step++;
    this.#become('connecting');
    try {
      const { token, isNew } = await this.#tokens.get();
      if (!this.#isStopped) this.#connect(token, isNew);
    } catch (error) {
      if (this.#isStopped) return;
      this.#listener.failed(error);
      this.#wait(backoffMs(this.#step));
    }
  }

  /** The fallback is the next to open. */
  #fallsBack(): Open | undefined {
    return this.#failures < maxFailures || this.#listener.isServed() ? undefined : this.#fallback;
  }

  #connect(token: string | undefined, isNew: boolean): void {
    const fallback = this.#fallsBack();
    const isShort = this.#fallback !== fallback && !this.#listener.isServed();
    const listener: ConnectionListener = {
      welcomed: (connection) => {
        this.#connection = undefined;
        this.#isUpgrade = false;
        this.state = 'idle';
        if (fallback === undefined) this.#failures = 0;
        this.#listener.welcomed(connection);
        if (fallback !== undefined) this.#upgrade();
      },
      frame: (connection, frame) => this.#listener.frame(connection, frame),
      ended: (connection, end) => {
        if (connection === this.#connection) this.#ended(end, isNew, fallback !== undefined);
        else this.#listener.ended(connection, end);
      },
    };
    this.#connection = (fallback ?? this.#websocket)(token, listener, isShort ? shortPatienceMs : patienceMs);
  }

  /** Looks for a WebSocket, later. */
  #upgrade(): void {
    this.#isUpgrade = true;
    this.#wait(upgradeMs * (1 + Math.random()));
  }

  #ended(end: End, isNew: boolean, wasFallback: boolean): void {
    if (this.#isStopped) return;
    this.#connection = undefined;
    this.state = 'idle';
    const isStale = end.code === unauthorized && this.#tokens.canRenew && !isNew;
    if (isStale || end.code === tokenExpired) this.#tokens.drop();
    if (isFinal(end.code) && !isStale) {
      this.#listener.refused(end);
      return;
    }
    // Behind a fallback that failed comes one WebSocket, and then the fallback again.
    this.#failures = wasFallback ? maxFailures - 1 : this.#failures + 1;
    if (this.#listener.isServed()) this.#upgrade();
    else if (end.code === 1006 && this.#fallsBack() !== undefined) void this.#attempt();
    else this.again(end.code);
  }
}
