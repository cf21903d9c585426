/**
 * Admission: how many of the clients that connect are read and served in each turn of the event loop.
 *
 * A storm of clients could fill a turn with thousands of handshakes, and everybody else would wait. So only a few of those that
 * connect are read at once. The others wait in a line, unread, and each turn takes as many from it as keep the turns short:
 * whatever makes them long, also the work of clients that are in already, makes it take fewer. A few are taken at every turn,
 * so other work locks nobody out. A turn that is long already, and a line in which clients wait for too long, refuse.
 *
 * It knows neither requests nor the library: gateway/http/server.ts tells it of each client that connects, and asks it before
 * it serves one.
 */
import { Backlog } from './backlog.ts';

/** A client that has connected. Its bytes stay in the kernel while it is paused. */
export interface Arrival {
  pause(): unknown;
  resume(): unknown;
  /** The client is gone: the other calls must not be used any more. */
  onAborted(handler: () => void): unknown;
}

interface Waiting {
  arrival: Arrival;
  /** When it connected, by performance.now(). */
  at: number;
}

/** Served at every turn, however long it is: some 3 ms of work. */
const fewestPerTurn = 32;
const mostPerTurn = 128;
/** Turns below this take more next time, and turns above `longTurnMs` half as many. */
const shortTurnMs = 20;
/** A message passes about three turns on its way through Redis. */
const longTurnMs = 40;
/** A turn that is longer, and has served `mostServed`, refuses: clients that were silent have all asked at once. */
const longestTurnMs = 100;
const mostServed = 256;
/**
 * Clients that are read, and have not asked for anything yet: all of them may ask in the same turn. One that is silent stops
 * counting after about `silentMs`, the sooner the longer others wait.
 */
const mostSilent = 128;
const silentMs = 1_000;
const leastSilentMs = 50;
/** With a line, and nobody that can be taken from it, the next turn comes after this. */
const pauseMs = 5;
/** Clients give up a handshake after 5 s or more. The library cuts one that has not been read for 10 s. */
const longestWaitMs = 3_000;

export class Admission {
  readonly #isBehind: () => boolean;
  readonly #backlog = new Backlog();
  /** The first that connected is the next that is taken. */
  readonly #line = new Set<Waiting>();
  #perTurn = fewestPerTurn;
  /** 0: no client has come in this turn. By performance.now(), as all times here. */
  #turnBeganAt = 0;
  /** In this turn: read, and served. */
  #taken = 0;
  #served = 0;
  #silent = 0;
  #silentAt = 0;
  /** How long those that are being served had to wait. */
  #waitedMs = 0;
  #timer: NodeJS.Timeout | undefined;

  /** `isBehind`: true while clients that were let in wait for work that takes longer than a turn. */
  constructor(isBehind: () => boolean = () => false) {
    this.#isBehind = isBehind;
  }

  /** Clients in the line. */
  get waiting(): number {
    return this.#line.size;
  }

  /** A client has connected, and nothing of it was read yet. */
  arrived(arrival: Arrival): void {
    this.#beginTurn();
    if (this.#line.size === 0 && this.#taken < fewestPerTurn && this.#silent < mostSilent) {
      this.#taken++;
      this.#silent++;
      return;
    }
    const waiting = { arrival, at: performance.now() };
    this.#line.add(waiting);
    arrival.pause();
    arrival.onAborted(() => this.#line.delete(waiting));
  }

  /** A client asks to be let in. Returns 0 if it may, or the seconds after which it should try again. */
  ask(): number {
    this.#beginTurn();
    const now = performance.now();
    if (this.#silent > 0) this.#silent--;
    const isFull = this.#served >= mostServed && now - this.#turnBeganAt > longestTurnMs;
    const isLate = this.#line.size >= mostPerTurn && this.#waitedMs > longestWaitMs;
    if (isFull || isLate) return this.#backlog.add(now);
    this.#served++;
    this.#backlog.admitted(now);
    return 0;
  }

  /** Takes nobody from the line any more. */
  close(): void {
    clearTimeout(this.#timer);
    this.#line.clear();
  }

  #beginTurn(): void {
    if (this.#turnBeganAt > 0) return;
    this.#turnBeganAt = performance.now();
    setImmediate(() => this.#endTurn());
  }

  /** Behind all input of the turn. Whoever is taken here is read in the next one. */
  #endTurn(): void {
    const now = performance.now();
    const turnMs = now - this.#turnBeganAt;
    this.#turnBeganAt = 0;
    this.#taken = 0;
    this.#served = 0;
    this.#waitedMs = 0;
    this.#forgetSilent(now);
    if (this.#line.size === 0) return;
    if (turnMs > longTurnMs) this.#perTurn = Math.max(fewestPerTurn, Math.floor(this.#perTurn / 2));
    else if (turnMs < shortTurnMs) this.#perTurn = Math.min(mostPerTurn, this.#perTurn + fewestPerTurn / 4);
    this.#takeFromLine(now, this.#isBehind() ? fewestPerTurn : this.#perTurn);
    if (this.#taken > 0) this.#beginTurn();
    else this.#timer ??= setTimeout(() => this.#goOn(), pauseMs);
  }

  #goOn(): void {
    this.#timer = undefined;
    this.#beginTurn();
  }

  #takeFromLine(now: number, most: number): void {
    for (const waiting of this.#line) {
      if (this.#taken === most || this.#silent >= mostSilent) return;
      this.#taken++;
      this.#silent++;
      this.#line.delete(waiting);
      this.#waitedMs = now - waiting.at;
      waiting.arrival.resume();
    }
  }

  #forgetSilent(now: number): void {
    const [first] = this.#line;
    const waitMs = first === undefined ? 0 : now - first.at;
    const forgotten = ((now - this.#silentAt) / Math.max(leastSilentMs, silentMs - waitMs)) * mostSilent;
    this.#silent = Math.max(0, this.#silent - forgotten);
    this.#silentAt = now;
  }
}
