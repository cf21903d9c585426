/**
 * Checks that each member of each room gets every message once and in order. A membership is a slot; the messages of a room
 * are numbered from 0.
 *
 * A skipped message counts as lost; if it comes later, it counts as out of order instead. An older message that was not
 * missing is a duplicate.
 */
export interface Faults {
  lost: number;
  duplicates: number;
  reordered: number;
  /** Messages of rooms that the connection has not joined. */
  misrouted: number;
}

/** Missing messages remembered one by one; further ones that come late count as duplicates. */
const maxMissing = 100_000;

export class Sequence {
  readonly #next: Int32Array;
  readonly #missing = new Set<number>();
  #lost = 0;
  #duplicates = 0;
  #reordered = 0;
  misrouted = 0;

  constructor(slots: number) {
    this.#next = new Int32Array(slots);
  }

  saw(slot: number, number: number): void {
    const next = this.#next[slot] as number;
    if (number === next) this.#next[slot] = next + 1;
    else this.#unexpected(slot, number, next);
  }

  /** This is the next message of the slot; earlier ones are settled. */
  expect(slot: number, number: number): void {
    this.#next[slot] = number;
  }

  /** The end: all messages still missing are lost. `published`: the number of messages. */
  end(slot: number, published: number): void {
    this.#lost += published - (this.#next[slot] as number);
    this.#next[slot] = published;
  }

  /** Returns the faults since the last call. */
  takeFaults(): Faults {
    const faults = {
      lost: this.#lost,
      duplicates: this.#duplicates,
      reordered: this.#reordered,
      misrouted: this.misrouted,
    };
    this.#lost = this.#duplicates = this.#reordered = this.misrouted = 0;
    this.#missing.clear();
    return faults;
  }

  #unexpected(slot: number, number: number, next: number): void {
    if (number > next) {
      this.#lost += number - next;
      for (let skipped = next; skipped < number && this.#missing.size < maxMissing; skipped++) {
        this.#missing.add(keyOf(slot, skipped));
      }
      this.#next[slot] = number + 1;
    } else if (this.#missing.delete(keyOf(slot, number))) {
      this.#lost--;
      this.#reordered++;
    } else this.#duplicates++;
  }
}

/** Slots stay below 2^21, numbers below 2^31. */
function keyOf(slot: number, number: number): number {
  return slot * 2 ** 31 + number;
}
