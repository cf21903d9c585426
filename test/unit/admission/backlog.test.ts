/** When refused clients come back. */
import { expect, test } from 'vitest';
import { Backlog } from '../../../gateway/admission/backlog.ts';
import { Random } from '../random.ts';

/** The seconds told to `count` clients that are refused at `now`. */
function told(backlog: Backlog, count: number, now: number): number[] {
  return Array.from({ length: count }, () => backlog.add(now));
}

test('a few refused clients come back after a second', () => {
  expect(new Set(told(new Backlog(), 100, 0))).toEqual(new Set([1]));
});

test('many come back spread: in no second more than a small multiple of what the node can take', () => {
  const random = new Random(1);
  const seconds = told(new Backlog(() => random.next()), 15_000, 0);
  const counts = new Map<number, number>();
  for (const second of seconds) counts.set(second, (counts.get(second) ?? 0) + 1);
  expect(Math.max(...seconds)).toBeGreaterThanOrEqual(7);
  expect(Math.max(...seconds)).toBeLessThanOrEqual(30);
  // The first of a burst is told the shortest times, so the beginning is fuller than the end.
  expect(Math.max(...counts.values())).toBeLessThan(7_000);
});

test('nobody is sent away for more than 30 s, however many come', () => {
  expect(told(new Backlog(() => 0.999), 1_000_000, 0).at(-1)).toBe(30);
});

test('a backlog that had time to come back spreads nobody', () => {
  const backlog = new Backlog(() => 0.999);
  expect(told(backlog, 15_000, 0).at(-1)).toBeGreaterThan(5);
  expect(backlog.add(60_000)).toBe(1);
});

test('a node that takes fewer clients a second spreads them over a longer time', () => {
  const last = (rate: number) => {
    const backlog = new Backlog(() => 0.999);
    for (let ms = 0; ms < 5_000; ms++) {
      for (let taken = 0; taken < rate / 1_000; taken++) backlog.admitted(ms);
      if (ms % 400 === 0) backlog.add(ms);
    }
    return told(backlog, 5_000, 5_000).at(-1) ?? 0;
  };
  expect(last(1_000)).toBeGreaterThan(last(5_000) + 2);
});
