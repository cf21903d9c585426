/** What the page computes of points (gateway/pages/dashboard/points.js). */
import { describe, expect, test } from 'vitest';
import type { Point } from '../../../gateway/dashboard/tick.ts';

// A part of the page, which has types of its own: tsc -p gateway/pages.
const page: string = '../../../gateway/pages/dashboard/points.js';
const { fold, quantile } = (await import(page)) as {
  fold(points: Point[], slotMs: number): Point[];
  quantile(bounds: number[], counts: number[], share: number): number | null;
};

describe('a quantile', () => {
  test.each([
    [[0, 0, 0, 0], 0.5, null],
    [[10, 0, 0, 0], 0.5, 0.0005],
    [[0, 10, 0, 0], 0.5, 0.0055],
    [[5, 5, 0, 0], 0.5, 0.001],
    [[0, 0, 0, 3], 0.99, 0.1],
    [[99, 0, 1, 0], 0.99, 0.001],
  ])('of the counts %j at %f is %j', (counts, share, value) => {
    const found = quantile([0.001, 0.01, 0.1], counts, share);
    if (value === null) expect(found).toBeNull();
    else expect(found).toBeCloseTo(value, 9);
  });
});

test('points of one slot become one: rates are averages, counts are sums, the rest is as at the end', () => {
  const point = (at: number, published: number, counts: number[], connections: number) =>
    ({
      ...{ at, connections, nodes: 1, missing: 0, bufferedBytes: 10 - at / 1_000, slow: 0 },
      rates: { published, delivered: 0, opened: 0, closed: 0, rejected: 0 },
      counts: { ping: counts, fanout: [], backplane: [], loop: [] },
    }) as unknown as Point;
  const points = [point(1_000, 2, [1, 0], 5), point(2_000, 4, [2, 3], 7), point(5_000, 9, [0, 1], 8)];
  const [first, second] = fold(points, 5_000);
  expect(first).toMatchObject({
    at: 2_000,
    connections: 7,
    bufferedBytes: 9,
    rates: { published: 3 },
    counts: { ping: [3, 3] },
  });
  expect(second).toBe(points[2]);
});
