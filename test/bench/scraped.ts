/**
 * Reads histograms out of the text that Prometheus scrapes. Pure functions.
 */

/** By upper bound: how many samples were at most as large. */
export type Buckets = Map<number, number>;

/** For a histogram without other labels. */
export function bucketsOf(text: string, histogram: string): Buckets {
  const lines = text.matchAll(new RegExp(`^${histogram}_bucket\\{le="([^"]+)"\\} (\\d+)`, 'gm'));
  return new Map([...lines].map(([, bound, count]) => [Number(bound?.replace('+Inf', 'Infinity')), Number(count)]));
}

/** A quantile of the samples between two scrapes, interpolated like Prometheus; NaN without samples. */
export function quantileBetween(before: Buckets, after: Buckets, share: number): number {
  const counts = [...after].map(([bound, count]): [number, number] => [bound, count - (before.get(bound) ?? 0)]);
  const rank = share * (counts.at(-1)?.[1] ?? 0);
  let lower = 0;
  let passed = 0;
  for (const [bound, count] of counts) {
    if (count >= rank && count > passed) {
      return Number.isFinite(bound) ? lower + ((bound - lower) * (rank - passed)) / (count - passed) : lower;
    }
    lower = bound;
    passed = count;
  }
  return Number.NaN;
}
