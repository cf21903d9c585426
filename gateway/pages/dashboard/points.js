/**
 * Points of the charts, computed with: quantiles of histograms, and several points as one. Pure functions.
 */

/** @import { Point, Rate } from '../../dashboard/tick.ts' */

/**
 * The value that a share of the observations is not above, as Prometheus computes it: evenly spread within a bucket, and at
 * most the highest bound. Null without an observation.
 * @param {readonly number[]} bounds  upper ones, rising
 * @param {readonly number[]} counts  one for each bound, and one for values above all
 * @param {number} share  0 to 1
 */
export function quantile(bounds, counts, share) {
  const wanted = share * sum(counts);
  if (wanted <= 0) return null;
  let passed = 0;
  for (const [index, count] of counts.entries()) {
    const [from, to] = [bounds[index - 1] ?? 0, bounds[index]];
    if (to === undefined) return from;
    if (count > 0 && passed + count >= wanted) return from + (to - from) * ((wanted - passed) / count);
    passed += count;
  }
  return null;
}

/** Adds counts of the same bounds. @param {readonly (readonly number[])[]} all @returns {number[]} */
export function addCounts(all) {
  const longest = Math.max(0, ...all.map(({ length }) => length));
  return Array.from({ length: longest }, (_, index) => sum(all.map((counts) => counts[index] ?? 0)));
}

/**
 * Makes one point of those of each slot of time: rates are averages, counts are sums, the rest is as at the end.
 * @param {readonly Point[]} points @param {number} slotMs
 */
export function fold(points, slotMs) {
  /** @type {Map<number, Point[]>} */
  const slots = new Map();
  for (const point of points) {
    const slot = Math.floor(point.at / slotMs);
    const there = slots.get(slot);
    if (there === undefined) slots.set(slot, [point]);
    else there.push(point);
  }
  return [...slots.values()].map(folded);
}

/** @param {Point[]} points  at least one @returns {Point} */
function folded(points) {
  const last = /** @type {Point} */ (points.at(-1));
  if (points.length === 1) return last;
  const rated = points.flatMap(({ rates }) => (rates === null ? [] : [rates]));
  const average = (/** @type {string} */ name) =>
    sum(rated.map((rates) => rates[/** @type {Rate} */ (name)])) / rated.length;
  return {
    ...last,
    bufferedBytes: Math.max(...points.map(({ bufferedBytes }) => bufferedBytes)),
    slow: Math.max(...points.map(({ slow }) => slow)),
    rates: rated[0] === undefined ? null : /** @type {any} */ (mapped(rated[0], average)),
    counts: /** @type {any} */ (
      mapped(last.counts, (kind) => addCounts(points.map(({ counts }) => counts[/** @type {'ping'} */ (kind)])))
    ),
  };
}

/** @param {object} object @param {(name: string) => unknown} make */
function mapped(object, make) {
  return Object.fromEntries(Object.keys(object).map((name) => [name, make(name)]));
}

/** @param {readonly number[]} values */
export function sum(values) {
  return values.reduce((one, other) => one + other, 0);
}
