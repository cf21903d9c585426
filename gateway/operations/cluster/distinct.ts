/**
 * Counts distinct texts over several nodes: exact up to `kept`, beyond that an estimate, off by 1.6 % on average.
 *
 * Each node keeps the smallest hashes of its texts (K minimum values: Bar-Yossef et al., 2002). Merged, these are the smallest
 * of all; from how small they are follows how many texts there are. It costs up to 70 kB a node, whatever the number. Pure.
 */

export const kept = 4_096;
/** Hashes have 52 bits, and so fit a number. */
const range = 2 ** 52;

export class Distinct {
  #hashes = new Set<number>();
  /** Hashes from here on are not among the smallest. */
  #bound = range;

  add(text: string): void {
    this.#take(hashOf(text));
  }

  /** The hashes of another node. */
  merge(hashes: readonly number[]): void {
    for (const hash of hashes) this.#take(hash);
  }

  get hashes(): number[] {
    this.#trim();
    return [...this.#hashes];
  }

  /** How many distinct texts were added, here and on all merged nodes. */
  get count(): number {
    this.#trim();
    const { size } = this.#hashes;
    return size < kept ? size : Math.round(((size - 1) * range) / Math.max(...this.#hashes));
  }

  #take(hash: number): void {
    if (hash >= this.#bound) return;
    this.#hashes.add(hash);
    if (this.#hashes.size >= 2 * kept) this.#trim();
  }

  #trim(): void {
    if (this.#hashes.size <= kept) return;
    const smallest = [...this.#hashes].sort((one, other) => one - other).slice(0, kept);
    this.#hashes = new Set(smallest);
    // The bound itself is among them.
    this.#bound = smallest.at(-1) ?? range;
  }
}

/** 52 bits of two FNV-1a hashes with different seeds, each stirred by the finish of MurmurHash3. Not against enemies. */
function hashOf(text: string): number {
  let [low, high] = [0x811c9dc5, 0x01000193];
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    low = Math.imul(low ^ unit, 0x01000193);
    high = Math.imul(high ^ unit, 0x85ebca6b);
  }
  return (stir(high ^ low) & 0xfffff) * 2 ** 32 + stir(low);
}

function stir(hash: number): number {
  let mixed = hash ^ (hash >>> 16);
  mixed = Math.imul(mixed, 0x85ebca6b);
  mixed ^= mixed >>> 13;
  mixed = Math.imul(mixed, 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
