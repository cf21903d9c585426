/**
 * Two contestants are measured in turn, in pairs. The ratio of each pair counts, because a busy machine slows both alike.
 * Pure functions over such numbers.
 */
export interface Spread {
  median: number;
  least: number;
  most: number;
}

export interface Goal {
  /** The ratio to the other contestant, the figure itself, or by how much it is larger than the other one's. */
  of: 'ratio' | 'figure' | 'difference';
  bound: 'at least' | 'at most';
  limit: number;
}

/** Who goes first in pair `pair`: A B, B A, A B, ... */
export function inTurn<Item>(pair: number, first: Item, second: Item): [Item, Item] {
  return pair % 2 === 0 ? [first, second] : [second, first];
}

export function spreadOf(values: readonly number[]): Spread {
  if (values.length === 0) throw new TypeError('nothing was measured');
  const sorted = values.toSorted((one, other) => one - other);
  const middle = (sorted.length - 1) / 2;
  const median = ((sorted[Math.floor(middle)] as number) + (sorted[Math.ceil(middle)] as number)) / 2;
  return { median, least: sorted[0] as number, most: sorted.at(-1) as number };
}

/** Of each pair; both lists have the order of the pairs. */
export function ratiosOf(ours: readonly number[], theirs: readonly number[]): number[] {
  if (ours.length !== theirs.length) throw new TypeError('a pair lacks one of its two');
  return ours.map((value, pair) => value / (theirs[pair] as number));
}

export function isReached(value: number, { bound, limit }: Goal): boolean {
  return bound === 'at least' ? value >= limit : value <= limit;
}
