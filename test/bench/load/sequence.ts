/**
 * Whether each member of each room gets every message once and in order. A membership is a slot; the messages of a room
 * are numbered from 0.
 *
 * What has been jumped over is lost, until it comes after all: then it was only out of order. What is behind and was not
 * missing is a duplicate.
 */
export interface Faults {
  lost: number;
  duplicates: number;
  reordered: number;
  /** Messages of a room in which the connection is not. */
  misrouted: number;
}

/** More missing messages are not remembered one by one; if they come late, they count as duplicates. */
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

  /** The next message of the slot is this one; what was before is settled. */
  expect(slot: number, number: number): void {
    this.#next[slot] = number;
  }

  /** All has come that will come: what is missing at the end is lost as well. `published` is the number of messages. */
  end(slot: number, published: number): void {
    this.#lost += published - (this.#next[slot] as number);
    this.#next[slot] = published;
  }

  /** Returns what was found since the last call. */
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
