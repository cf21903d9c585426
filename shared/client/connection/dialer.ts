/**
 * Brings the next welcomed connection, however often it has to try.
 *
 * Owns the one attempt or the one timer to the next. It does not care whether an older connection is still open: after a
 * loss and in a move it does the same.
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
}

/** A sign that the network is back makes the next attempt come within this time; so does a move that is slowed down. */
const hurryMs = 1_000;

export class Dialer {
  state: 'idle' | 'waiting' | 'connecting' = 'idle';
  readonly #open: Open;
  readonly #tokens: Tokens;
  readonly #listener: DialerListener;
  /** Of the backoff. */
  #step = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #connection: Connection | undefined;
  /** By performance.now(): a close code asked to wait until then. */
  #notBefore = 0;
  /** By performance.now(), while it waits. */
  #dueAt = 0;
  #isStopped = false;

  constructor(open: Open, tokens: Tokens, listener: DialerListener) {
    this.#open = open;
    this.#tokens = tokens;
    this.#listener = listener;
  }

  /** The last connection was stable. */
  reset(): void {
    this.#step = lostStep;
  }

  /**
   * Connects now, or after the wait that a `reconnect` frame asks for. From the third move or loss in a row on it is slowed
   * down, but little: the node closes the old connection a few seconds later.
   */
  move(afterMs: number): void {
    if (this.state !== 'idle') return;
    const waitMs = this.#step <= lostStep + 1 ? afterMs : afterMs + Math.random() * hurryMs;
    if (waitMs === 0) void this.#attempt();
    else this.#wait(waitMs);
  }

  /** The connection was lost, with this code. */
  again(code: number): void {
    if (this.state !== 'idle') return;
    const leastMs = code === rateLimited ? rateLimitedMs : 0;
    this.#notBefore = performance.now() + leastMs;
    this.#wait(leastMs + backoffMs(this.#step));
  }

  /** The network or the page is back. */
  hurry(): void {
    if (this.state !== 'waiting') return;
    const now = performance.now();
    this.#wait(Math.min(this.#dueAt, Math.max(now, this.#notBefore) + Math.random() * hurryMs) - now);
  }

  stop(): void {
    this.#isStopped = true;
    this.state = 'idle';
    clearTimeout(this.#timer);
    void this.#connection?.close();
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
    this.#step++;
    this.#become('connecting');
    try {
      const token = await this.#tokens.get();
      if (!this.#isStopped) this.#connect(token);
    } catch (error) {
      if (this.#isStopped) return;
      this.#listener.failed(error);
      this.#wait(backoffMs(this.#step));
    }
  }

  #connect(token: string | undefined): void {
    this.#connection = this.#open(token, {
      welcomed: (connection) => {
        this.#connection = undefined;
        this.state = 'idle';
        // From now on a loss may be that of many clients at once, however young the connection is.
        this.#step = Math.max(this.#step, lostStep);
        this.#listener.welcomed(connection);
      },
      frame: (connection, frame) => this.#listener.frame(connection, frame),
      ended: (connection, end) => {
        if (connection === this.#connection) this.#ended(end);
        else this.#listener.ended(connection, end);
      },
    });
  }

  #ended(end: End): void {
    if (this.#isStopped) return;
    this.#connection = undefined;
    this.state = 'idle';
    const isStale = end.code === unauthorized && this.#tokens.isOld;
    if (isStale || end.code === tokenExpired) this.#tokens.drop();
    if (isFinal(end.code) && !isStale) this.#listener.refused(end);
    else this.again(end.code);
  }
}
