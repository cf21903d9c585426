/**
 * The parts of `npm run bench` that judge: what counts as lost, what a quantile is, which rate is the highest, and what
 * pairs say.
 */
import { describe, expect, test } from 'vitest';
import { Histogram } from '../../../gateway/cli/load/histogram.ts';
import { Sequence } from '../../../gateway/cli/load/sequence.ts';
import { inTurn, isReached, ratiosOf, spreadOf } from '../../bench/ratios.ts';
import { bucketsOf, quantileBetween } from '../../bench/scraped.ts';
import { highestHeld } from '../../bench/search.ts';
import { Random } from '../random.ts';

describe('the sequence of messages', () => {
  const none = { lost: 0, duplicates: 0, reordered: 0, misrouted: 0 };
  const judge = (numbers: number[], published: number) => {
    const sequence = new Sequence(3);
    for (const number of numbers) sequence.saw(1, number);
    sequence.end(1, published);
    return sequence.takeFaults();
  };

  test.each([
    ['complete and in order', [0, 1, 2, 3], 4, none],
    ['nothing of nothing', [], 0, none],
    ['one is left out', [0, 1, 3], 4, { ...none, lost: 1 }],
    ['the end is missing', [0, 1], 4, { ...none, lost: 2 }],
    ['all is missing', [], 4, { ...none, lost: 4 }],
    ['one comes twice', [0, 1, 1, 2], 3, { ...none, duplicates: 1 }],
    ['two are exchanged', [0, 2, 1, 3], 4, { ...none, reordered: 1 }],
    ['an old one comes again after a loss', [0, 3, 0], 4, { ...none, lost: 2, duplicates: 1 }],
    ['one comes late and then again', [0, 2, 1, 1], 3, { ...none, reordered: 1, duplicates: 1 }],
  ])('%s', (_, numbers, published, faults) => {
    expect(judge(numbers, published)).toEqual(faults);
  });

  test('memberships do not mix, and faults are told once', () => {
    const sequence = new Sequence(2);
    sequence.saw(0, 0);
    sequence.saw(1, 1);
    expect(sequence.takeFaults()).toEqual({ ...none, lost: 1 });
    sequence.saw(0, 1);
    sequence.saw(1, 2);
    expect(sequence.takeFaults()).toEqual(none);
  });

  test('one who resumes is judged from where it was', () => {
    const sequence = new Sequence(1);
    sequence.expect(0, 10);
    for (let number = 10; number < 20; number++) sequence.saw(0, number);
    sequence.end(0, 20);
    expect(sequence.takeFaults()).toEqual(none);
  });

  test('random damage to random streams is counted exactly', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = new Random(seed);
      const published = random.integer(1, 200);
      const kept = Array.from({ length: published }, (_, number) => number).filter(() => !random.chance(0.1));
      const seen = kept.flatMap((number) => (random.chance(0.1) ? [number, number] : [number]));
      const expected = { ...none, lost: published - kept.length, duplicates: seen.length - kept.length };
      expect(judge(seen, published), `seed ${seed}`).toEqual(expected);
    }
  });
});

describe('the histogram', () => {
  test('gives quantiles within 0.8 % of the exact ones', () => {
    const random = new Random(3);
    const values = Array.from({ length: 20_000 }, () => Math.floor(10 ** (random.next() * 8)));
    const histogram = new Histogram();
    for (const value of values) histogram.record(value);
    values.sort((one, other) => one - other);
    for (const share of [0, 0.01, 0.5, 0.9, 0.99, 0.999, 1]) {
      const exact = values[Math.min(Math.floor(share * values.length), values.length - 1)] ?? 0;
      expect(Math.abs(histogram.quantile(share) - exact), `quantile ${share}`).toBeLessThanOrEqual(exact * 0.008 + 0.5);
    }
    expect(histogram.max).toBe(values.at(-1));
  });

  test('of several threads together is the same as of one', () => {
    const [all, one, other] = [new Histogram(), new Histogram(), new Histogram()];
    for (let value = 1; value < 1e6; value = Math.ceil(value * 1.01)) {
      all.record(value);
      (value % 2 === 0 ? one : other).record(value);
    }
    const sum = new Histogram(one.counts.slice(), one.max);
    sum.add(other);
    expect(sum.quantiles()).toEqual(all.quantiles());
  });

  test('takes what lies outside of its range as its ends, and is 0 while empty', () => {
    const histogram = new Histogram();
    expect(histogram.quantiles()).toEqual({ p50Us: 0, p90Us: 0, p99Us: 0, p999Us: 0, maxUs: 0 });
    histogram.record(-5);
    expect(histogram.quantile(0.5)).toBe(0);
    histogram.record(1e12);
    expect(histogram.max).toBe(2 ** 31 - 1);
  });
});

describe('the search for the highest rate', () => {
  const search = async (limit: number, plan: Partial<Parameters<typeof highestHeld>[1]> = {}) => {
    const tried: number[] = [];
    const holds = async (rate: number) => {
      tried.push(rate);
      return rate <= limit;
    };
    const found = await highestHeld(holds, { start: 1000, factor: 1.5, halvings: 6, ...plan });
    return { found, tried };
  };

  test.each([1000, 1001, 1499, 5000, 999, 300, 17])('finds %i, from wherever it begins', async (limit) => {
    const { found } = await search(limit);
    expect(found).toBeLessThanOrEqual(limit);
    expect(found).toBeGreaterThan(limit * 0.98);
  });

  test('finds nothing where nothing holds, and ends', async () => {
    expect((await search(0)).found).toBe(0);
  });

  test('never tries more than the most', async () => {
    const { found, tried } = await search(1e9, { most: 4000 });
    expect(found).toBe(4000);
    expect(Math.max(...tried)).toBe(4000);
  });

  test('a rate that fails once by chance is tried again', async () => {
    const failed = new Set<number>();
    const holds = async (rate: number) => {
      const isSecond = failed.has(rate);
      failed.add(rate);
      return isSecond && rate <= 2000;
    };
    const found = await highestHeld(holds, { start: 1000, factor: 1.5, halvings: 6 });
    expect(found).toBeGreaterThan(1960);
    expect(found).toBeLessThanOrEqual(2000);
  });
});

describe('pairs', () => {
  test('change who is first', () => {
    expect([0, 1, 2].map((pair) => inTurn(pair, 'a', 'b').join(' '))).toEqual(['a b', 'b a', 'a b']);
  });

  test('are compared each with its own partner', () => {
    // The second pair was measured while the machine was busy: both took ten times as long.
    expect(spreadOf(ratiosOf([10, 110, 12], [10, 100, 10]))).toEqual({ median: 1.1, least: 1, most: 1.2 });
    expect(() => ratiosOf([1], [])).toThrow(TypeError);
  });

  test('have a median of the middle, or between the two in the middle', () => {
    expect(spreadOf([5, 1, 3]).median).toBe(3);
    expect(spreadOf([4, 1, 3, 2]).median).toBe(2.5);
    expect(() => spreadOf([])).toThrow(TypeError);
  });

  test('reach a goal at its limit, not beyond it, and never without a number', () => {
    const least = { of: 'ratio', bound: 'at least', limit: 0.95 } as const;
    const most = { of: 'figure', bound: 'at most', limit: 3 } as const;
    expect([0.94, 0.95, 0.96, Number.NaN].map((value) => isReached(value, least))).toEqual([false, true, true, false]);
    expect([2.9, 3, 3.1, Number.NaN].map((value) => isReached(value, most))).toEqual([true, true, false, false]);
  });
});

test('a quantile between two scrapes counts only what came between them', () => {
  const scrape = (...counts: number[]) =>
    ['0.001', '0.01', '0.02', '+Inf'].map((bound, at) => `lag_bucket{le="${bound}"} ${counts[at]}`).join('\n');
  const before = bucketsOf(`# TYPE lag histogram\n${scrape(0, 0, 0, 50)}\nlag_sum 9`, 'lag');
  const after = bucketsOf(scrape(90, 100, 100, 150), 'lag');
  expect(quantileBetween(before, after, 0.5)).toBeCloseTo(0.001 * (50 / 90));
  expect(quantileBetween(before, after, 0.99)).toBeCloseTo(0.001 + 0.009 * 0.9);
  expect(quantileBetween(after, after, 0.99)).toBeNaN();
});
