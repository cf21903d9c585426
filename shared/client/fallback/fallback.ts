/**
 * `roomcast/client/fallback`: plain HTTP where WebSockets do not get through, for `connect(url, { fallback })`.
 *
 * Owns the choice. Two WebSockets in a row that are not welcomed make HTTP the next carrier. While it serves, a WebSocket is
 * tried from time to time; once one is open, the session is asked to move, as by a node that stops, and gets that one as its
 * next connection. So the way back misses nothing either.
 */
import type { Fallback } from '../client.ts';
import type { Answer, Connection, ConnectionListener, End, Open } from '../connection/connection.ts';
import { Candidate } from './candidate.ts';
import { HttpConnection } from './http.ts';

/** With these, HTTP serves within 5 s of the start, behind two WebSockets that hang. */
const patienceMs = 2_000;
const longestPauseMs = 500;
const maxFailures = 2;
/** The least time from one attempt to leave HTTP to the next; twice that is the longest. */
const upgradeMs = 60_000;
/** When the network or the page is back: the longest. */
const hurryMs = 1_000;

/** What one client knows of its way to the gateway. */
interface Way {
  readonly url: string;
  readonly websocket: Open;
  /** WebSockets in a row that were not welcomed. */
  failures: number;
  /** Until then the second attempt follows on the first at once: there is nobody else who has lost a node just now. */
  wasWelcomed: boolean;
  /** An open WebSocket that waits for the session to move. */
  candidate: Candidate | undefined;
}

export const fallback: Fallback = (url, websocket) => {
  const way: Way = { url, websocket, failures: 0, wasWelcomed: false, candidate: undefined };
  return (token, listener) => new Carrier(way, token, listener);
};

/** One connection of the session, over whichever way is open. */
class Carrier implements Connection {
  isLeaving = false;
  readonly #way: Way;
  readonly #token: string | undefined;
  readonly #listener: ConnectionListener;
  #inner: Connection | undefined;
  /** An attempt to leave HTTP, and the time until the next one. */
  #candidate: Candidate | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isOver = false;

  constructor(way: Way, token: string | undefined, listener: ConnectionListener) {
    this.#way = way;
    this.#token = token;
    this.#listener = listener;
    const { candidate } = way;
    way.candidate = undefined;
    if (candidate !== undefined) this.#inner = candidate.adopt(this.#websocketListener());
    else if (way.failures < maxFailures) this.#tryWebSocket();
    else this.#useHttp();
  }

  get transport(): Connection['transport'] {
    return this.#inner?.transport ?? 'websocket';
  }

  get welcome(): Connection['welcome'] {
    return this.#inner?.welcome;
  }

  get welcomedAt(): number {
    return this.#inner?.welcomedAt ?? 0;
  }

  ask(members: string, answered: (answer: Answer) => void): void {
    this.#inner?.ask(members, answered);
  }

  probe(): void {
    this.#inner?.probe();
    if (this.transport === 'sse' && this.#timer !== undefined) this.#upgradeWithin(Math.random() * hurryMs);
  }

  async close(): Promise<void> {
    this.#stop();
    await this.#inner?.close();
  }

  #stop(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    if (this.#candidate === undefined || this.#candidate.isAdopted) return;
    void this.#candidate.close();
    if (this.#way.candidate === this.#candidate) this.#way.candidate = undefined;
  }

  #ended(end: End): void {
    if (this.#isOver) return;
    this.#stop();
    this.#listener.ended(this, end);
  }

  #tryWebSocket(): void {
    this.#inner = this.#way.websocket(this.#token, this.#websocketListener(), patienceMs);
  }

  #websocketListener(): ConnectionListener {
    const way = this.#way;
    return {
      welcomed: () => {
        way.failures = 0;
        way.wasWelcomed = true;
        this.#listener.welcomed(this);
      },
      frame: (_, frame) => this.#listener.frame(this, frame),
      ended: ({ welcome }, end) => {
        if (welcome === undefined && end.code === 1006) {
          this.#failed(end);
          return;
        }
        // A gateway has answered.
        way.failures = 0;
        this.#ended(end);
      },
    };
  }

  #failed(end: End): void {
    const way = this.#way;
    if (++way.failures >= maxFailures) this.#useHttp();
    else if (way.wasWelcomed) this.#ended(end);
    else this.#timer = setTimeout(() => this.#tryWebSocket(), Math.random() * longestPauseMs);
  }

  #useHttp(): void {
    const way = this.#way;
    this.#inner = new HttpConnection(way.url, this.#token, {
      welcomed: () => {
        way.wasWelcomed = true;
        this.#listener.welcomed(this);
        this.#upgradeWithin(upgradeMs * (1 + Math.random()));
      },
      frame: (_, frame) => this.#listener.frame(this, frame),
      ended: ({ welcome }, end) => {
        // Neither gets through: one WebSocket comes next, and then HTTP again.
        if (welcome === undefined) way.failures = maxFailures - 1;
        this.#ended(end);
      },
    });
  }

  #upgradeWithin(ms: number): void {
    clearTimeout(this.#timer);
    if (this.#isOver) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#upgrade();
    }, ms);
  }

  #upgrade(): void {
    const candidate = new Candidate(
      (listener) => this.#way.websocket(this.#token, listener),
      () => {
        this.#way.candidate = candidate;
        this.#listener.frame(this, { type: 'reconnect', afterMs: 0, reason: 'draining' });
      },
      () => {
        this.#way.candidate = undefined;
        this.#upgradeWithin(upgradeMs * (1 + Math.random()));
      },
    );
    this.#candidate = candidate;
  }
}
