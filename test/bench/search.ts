/**
 * Searches the highest rate that holds: raises the rate by a factor until one fails, or lowers it until one holds, then
 * bisects. A rate that fails is tried twice, because a busy machine fails rates that would hold.
 */
export interface SearchPlan {
  start: number;
  /** Above 1. */
  factor: number;
  halvings: number;
  /** No higher rate is tried. */
  most?: number;
}

/** No lower rate is tried. */
const leastRate = 1;

/** Resolves with 0 if no rate holds. */
export async function highestHeld(
  holds: (rate: number) => Promise<boolean>,
  { start, factor, halvings, most = Number.POSITIVE_INFINITY }: SearchPlan,
): Promise<number> {
  const holdsInTwo = async (rate: number) => (await holds(rate)) || (await holds(rate));
  let held = 0;
  let failed = 0;
  for (let rate = Math.min(start, most); rate >= leastRate; ) {
    if (await holdsInTwo(rate)) {
      held = rate;
      if (failed > 0 || rate >= most) break;
      rate = Math.min(rate * factor, most);
    } else {
      failed = rate;
      if (held > 0) break;
      rate /= factor;
    }
  }
  if (held === 0 || failed === 0) return held;
  for (let halving = 0; halving < halvings; halving++) {
    const middle = (held + failed) / 2;
    if (await holdsInTwo(middle)) held = middle;
    else failed = middle;
  }
  return held;
}
