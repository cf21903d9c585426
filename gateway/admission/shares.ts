/**
 * Shares: what each connection gets of a node when all together ask for more than it can do in a turn of the event loop.
 *
 * The library hands over everything that a client has sent at once, up to half a megabyte, and cannot be told to stop. So when
 * the requests of a turn have taken their time, the others wait where they are, and connections take turns with a few requests
 * each. A publish also waits while its connection has as many publishes, or as many of their bytes, under way as there is room
 * left: whoever floods takes half of it, two take a third each, and those who publish now and then always find some. Publishes
 * that come by no connection share in it by lanes (gateway/admission/lane.ts).
 *
 * It knows neither requests nor rooms: gateway/connection/inbox.ts keeps what waits.
 */

/** A connection with requests that wait, or a lane. */
export interface Sharer {
  /** Its publishes under way, and their bytes. */
  readonly publishing: Publishing;
  /** Bytes of the next one of them, if it is a publish, which needs a place; else undefined. */
  readonly nextBytes: number | undefined;
  /** Executes at most so many of them, each if it `mayGoOn`. Never throws. Returns true if more wait for their turn. */
  goOn(most: number): boolean;
}

/** Publishes under way, of a sharer or of all. */
export interface Publishing {
  count: number;
  bytes: number;
}

/** Of a frame beside its data: room, sender, id, key and time. */
const frameOverheadBytes = 512;

/** What a publish takes of the bytes that may be under way. `data`: JSON text. */
export function publishBytes(data: string): number {
  return Buffer.byteLength(data) + frameOverheadBytes;
}

/** Of the requests of one turn. */
const turnMs = 20;
/** Requests of a connection in one round. */
const perRound = 4;
/** So many requests that come without a pause are no load; only then is the time of a turn looked at. */
const uncounted = 64;
const withoutPauseMs = 1;
/** Requests that wait, of all connections, and their bytes. A connection may have at most as much as is left. */
const mostRequests = 20_000;
const mostBytes = 33_554_432;
/** When those that wait have no place for a publish, they go on after this. */
const pauseMs = 5;

export class Shares {
  readonly #most: Readonly<Publishing>;
  readonly #publishing: Publishing = { count: 0, bytes: 0 };
  /** Those that wait, and their bytes. */
  #requests = 0;
  #bytes = 0;
  #lastAt = 0;
  #inARow = 0;
  /** By performance.now(); 0: the turn is not looked at. */
  #turnBeganAt = 0;
  /** In the order of their turns. */
  readonly #waiting = new Set<Sharer>();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  /** `most`: publishes that the node may have under way. */
  constructor(most: Readonly<Publishing>) {
    this.#most = most;
  }

  /** A request has come; `bytes`: if it is a publish. True if it must wait; then call `wait`. */
  mustWait(sharer: Sharer, bytes: number | undefined, now: number): boolean {
    return this.#isTurnOver(now) || (bytes !== undefined && !this.hasPlace(sharer, bytes));
  }

  /** False if its next request waits for a place. */
  mayGoOn(sharer: Sharer): boolean {
    const { nextBytes } = sharer;
    return nextBytes === undefined || this.hasPlace(sharer, nextBytes);
  }

  /** True if a publish of so many bytes may begin. The first of all always may, however large: who takes it refuses it. */
  hasPlace({ publishing: own }: Sharer, bytes: number): boolean {
    const { count, bytes: allBytes } = this.#publishing;
    if (count === 0 || this.#isClosed) return true;
    return own.count < this.#most.count - count && own.bytes + bytes <= this.#most.bytes - allBytes;
  }

  /** `goOn` is called in its turn. */
  wait(sharer: Sharer): void {
    this.#waiting.add(sharer);
    if (this.#turnBeganAt === 0) this.#beginTurn(performance.now());
  }

  /** Nothing of it waits any more. */
  leave(sharer: Sharer): void {
    this.#waiting.delete(sharer);
  }

  /** One more request is to wait, for whatever reason. `own`: those of its connection that wait. False if it may not. */
  requestWaits(bytes: number, own: { requests: number; bytes: number }): boolean {
    const isFull = own.requests >= mostRequests - this.#requests || own.bytes + bytes > mostBytes - this.#bytes;
    if (isFull) return false;
    this.#requests++;
    this.#bytes += bytes;
    return true;
  }

  requestsLeft(requests: number, bytes: number): void {
    this.#requests -= requests;
    this.#bytes -= bytes;
  }

  publishBegan({ publishing: own }: Sharer, bytes: number): void {
    const all = this.#publishing;
    own.count++;
    own.bytes += bytes;
    all.count++;
    all.bytes += bytes;
  }

  /** `bytes`: as it began. */
  publishEnded({ publishing: own }: Sharer, bytes: number): void {
    const all = this.#publishing;
    own.count--;
    own.bytes -= bytes;
    all.count--;
    all.bytes -= bytes;
  }

  /** Nobody has to wait for a place any more. */
  close(): void {
    clearTimeout(this.#timer);
    this.#isClosed = true;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const sharer of waiting) sharer.goOn(Number.POSITIVE_INFINITY);
  }

  #isTurnOver(now: number): boolean {
    if (this.#turnBeganAt > 0) return now - this.#turnBeganAt > turnMs;
    this.#inARow = now - this.#lastAt > withoutPauseMs ? 0 : this.#inARow + 1;
    this.#lastAt = now;
    if (this.#inARow >= uncounted) this.#beginTurn(now);
    return false;
  }

  #beginTurn(now: number): void {
    this.#turnBeganAt = now;
    // Runs behind all input of this turn.
    setImmediate(() => this.#endTurn());
  }

  #endTurn(): void {
    this.#turnBeganAt = 0;
    this.#inARow = 0;
    const until = performance.now() + turnMs;
    while (this.#waiting.size > 0) {
      if (!this.#round(until)) {
        this.#timer ??= setTimeout(() => this.#again(), pauseMs);
        return;
      }
      if (performance.now() < until) continue;
      this.#beginTurn(performance.now());
      return;
    }
  }

  /** Returns false if none of those that wait could go on. */
  #round(until: number): boolean {
    let wentOn = false;
    for (const sharer of [...this.#waiting]) {
      if (!this.mayGoOn(sharer)) continue;
      wentOn = true;
      this.#waiting.delete(sharer);
      if (sharer.goOn(perRound)) this.#waiting.add(sharer);
      if (performance.now() >= until) break;
    }
    return wentOn;
  }

  #again(): void {
    this.#timer = undefined;
    if (this.#turnBeganAt === 0) this.#beginTurn(performance.now());
  }
}
