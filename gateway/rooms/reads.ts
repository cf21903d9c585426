/**
 * The queue of history reads: bounds the reads of a node in flight, and orders those that wait while Redis is slow.
 *
 * Owns the number of reads in flight and the queues. The order: reads for a join; then for healing and catching up,
 * which get at least every fourth turn; then for `history`. Probes never wait: without a spare turn a probe is skipped.
 * It knows neither rooms nor what is read.
 */
import { BackplaneError } from '../backplane/backplane.ts';

/**
 * `join`: a client waits for the answer to its `subscribe`. `room`: present members wait for messages. `history`: a
 * client waits for a page. `probe`: nobody waits.
 */
export type ReadPurpose = 'join' | 'room' | 'history' | 'probe';
type QueuedPurpose = Exclude<ReadPurpose, 'probe'>;

/** Reads in flight at once. */
const maxUnderWay = 256;
/** Reads for `history` among them: at 256 KiB each, 16 MiB. */
const maxHistoryUnderWay = 64;
/** A probe starts only below this, so half of the turns stay free for reads that somebody waits for. */
const maxUnderWayForProbes = maxUnderWay / 2;
/**
 * Waiting reads of `join`, and of `history`. `room` needs no bound: each room waits at most once, and costs more than
 * its place in the queue.
 */
const maxWaiting = 10_000;
/** A client that waits longer gets `unavailable`: most clients time out by then, and the turn goes to others. */
const maxWaitMs = 5_000;
/** Every fourth turn goes to `room` first. */
const turnsPerRoomTurn = 4;

interface Waiting {
  queuedAt: number;
  start(): void;
  reject(error: BackplaneError): void;
}

export class Reads {
  #underWay = 0;
  #historyUnderWay = 0;
  #turns = 0;
  /** Oldest first. */
  readonly #waiting: Record<QueuedPurpose, Set<Waiting>> = { join: new Set(), room: new Set(), history: new Set() };

  /** True if a probe may start. */
  get hasSpare(): boolean {
    return this.#underWay < maxUnderWayForProbes && this.#waiting.join.size + this.#waiting.room.size === 0;
  }

  /** Calls `read` in its turn. Rejects with a BackplaneError `unavailable` if it gets none in time. */
  async run<Page>(purpose: ReadPurpose, read: () => Promise<Page>): Promise<Page> {
    if (purpose === 'probe') {
      if (!this.hasSpare) throw busy();
      this.#start(purpose);
    } else if (this.#isFree(purpose) && this.#waiting[purpose].size === 0) this.#start(purpose);
    else await this.#wait(purpose);
    try {
      return await read();
    } finally {
      this.#underWay--;
      if (purpose === 'history') this.#historyUnderWay--;
      this.#next();
    }
  }

  #isFree(purpose: ReadPurpose): boolean {
    if (purpose === 'history' && this.#historyUnderWay >= maxHistoryUnderWay) return false;
    return this.#underWay < maxUnderWay;
  }

  #start(purpose: ReadPurpose): void {
    this.#underWay++;
    if (purpose === 'history') this.#historyUnderWay++;
  }

  /** Resolves when its turn has started. */
  #wait(purpose: QueuedPurpose): Promise<void> {
    const waiting = this.#waiting[purpose];
    if (purpose !== 'room' && waiting.size >= maxWaiting) return Promise.reject(busy());
    return new Promise((start, reject) => waiting.add({ queuedAt: performance.now(), start, reject }));
  }

  #next(): void {
    this.#rejectExpired(this.#waiting.join);
    this.#rejectExpired(this.#waiting.history);
    for (let purpose = this.#nextPurpose(); purpose !== undefined; purpose = this.#nextPurpose()) {
      const [first] = this.#waiting[purpose];
      if (first === undefined) return;
      this.#waiting[purpose].delete(first);
      this.#turns++;
      this.#start(purpose);
      first.start();
    }
  }

  /** Rejects reads that have waited longer than `maxWaitMs`. */
  #rejectExpired(waiting: Set<Waiting>): void {
    const before = performance.now() - maxWaitMs;
    for (const each of waiting) {
      if (each.queuedAt > before) return;
      waiting.delete(each);
      each.reject(busy());
    }
  }

  #nextPurpose(): QueuedPurpose | undefined {
    const isRoomTurn = this.#turns % turnsPerRoomTurn === 0;
    const order: QueuedPurpose[] = isRoomTurn ? ['room', 'join', 'history'] : ['join', 'room', 'history'];
    return order.find((purpose) => this.#waiting[purpose].size > 0 && this.#isFree(purpose));
  }
}

function busy(): BackplaneError {
  return new BackplaneError('unavailable', 'too many reads are waiting on this node');
}
