/**
 * Whose turn it is to read history, so that a Redis that answers slowly is asked first for what somebody waits for.
 *
 * Owns how many reads of a node are under way, who waits for a turn, and for how long. Those come first who join a room;
 * then rooms that heal, whose members wait without having asked, with every fourth turn at the least; then answers to
 * `history`. A look at a quiet room is for nobody in particular: it never waits, and is left out where there is no turn to
 * spare. It knows neither rooms nor what is read.
 */
import { BackplaneError } from '../backplane/backplane.ts';

/**
 * `join`: a client waits for the answer to its `subscribe`. `room`: members that are there already wait for messages.
 * `history`: a client waits for a page. `look`: nobody waits.
 */
export type ReadPurpose = 'join' | 'room' | 'history' | 'probe';
type Waits = Exclude<ReadPurpose, 'probe'>;

/** Reads under way at once. */
const maxUnderWay = 256;
/** Of these, answers to `history`: with 256 KiB for each, 16 MiB. */
const maxHistoryUnderWay = 64;
/** A look leaves half of the turns to those who come next. */
const maxUnderWayForProbes = maxUnderWay / 2;
/**
 * Of each kind where a client waits. Rooms that heal need no bound: each waits once, and its place costs less than the room.
 */
const maxWaiting = 10_000;
/** Most clients give up sooner than they are answered that way; they are told, and make room for others. */
const maxWaitMs = 5_000;
const turnsPerRoomTurn = 4;

interface Waiting {
  since: number;
  begin(): void;
  reject(error: BackplaneError): void;
}

export class Reads {
  #underWay = 0;
  #historyUnderWay = 0;
  #turns = 0;
  /** The one that waits longest is the first. */
  readonly #waiting: Record<Waits, Set<Waiting>> = { join: new Set(), room: new Set(), history: new Set() };

  /** There is a turn for a look. */
  get spare(): boolean {
    return this.#underWay < maxUnderWayForProbes && this.#waiting.join.size + this.#waiting.room.size === 0;
  }

  /** Reads when it is its turn. Rejects with a BackplaneError `unavailable` when that does not come. */
  async run<Page>(purpose: ReadPurpose, read: () => Promise<Page>): Promise<Page> {
    if (purpose === 'probe') {
      if (!this.spare) throw busy();
      this.#begin(purpose);
    } else if (this.#isFree(purpose) && this.#waiting[purpose].size === 0) this.#begin(purpose);
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

  #begin(purpose: ReadPurpose): void {
    this.#underWay++;
    if (purpose === 'history') this.#historyUnderWay++;
  }

  /** Resolves in its turn, which has begun then. */
  #wait(purpose: Waits): Promise<void> {
    const waiting = this.#waiting[purpose];
    if (purpose !== 'room' && waiting.size >= maxWaiting) return Promise.reject(busy());
    return new Promise((begin, reject) => waiting.add({ since: performance.now(), begin, reject }));
  }

  #next(): void {
    this.#giveUp(this.#waiting.join);
    this.#giveUp(this.#waiting.history);
    for (let purpose = this.#whoIsNext(); purpose !== undefined; purpose = this.#whoIsNext()) {
      const [first] = this.#waiting[purpose];
      if (first === undefined) return;
      this.#waiting[purpose].delete(first);
      this.#turns++;
      this.#begin(purpose);
      first.begin();
    }
  }

  /** Tells those who have waited for too long. */
  #giveUp(waiting: Set<Waiting>): void {
    const before = performance.now() - maxWaitMs;
    for (const each of waiting) {
      if (each.since > before) return;
      waiting.delete(each);
      each.reject(busy());
    }
  }

  #whoIsNext(): Waits | undefined {
    const isRoomTurn = this.#turns % turnsPerRoomTurn === 0;
    const order: Waits[] = isRoomTurn ? ['room', 'join', 'history'] : ['join', 'room', 'history'];
    return order.find((purpose) => this.#waiting[purpose].size > 0 && this.#isFree(purpose));
  }
}

function busy(): BackplaneError {
  return new BackplaneError('unavailable', 'too many reads are waiting on this node');
}
