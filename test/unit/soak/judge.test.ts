/** The judge of `npm run soak`: what it finds, and what it forgives. */
import { expect, test } from 'vitest';
import { growths, judge, leftovers } from '../../soak/judge.ts';
import { grown, type Kept } from '../../soak/objects.ts';

const megabyte = 1_000_000;
const samples = (sizes: number[]) =>
  sizes.map((size) => ({ rss: 2 * size * megabyte, outside: size * megabyte, heap: megabyte, descriptors: 100 }));
const risesOf = (rss: number[]) => growths(samples(rss)).find(({ name }) => name === 'rss')?.rise ?? Number.NaN;
const flat = {
  growths: [],
  mostRise: { rss: 0.05, others: 0.02 },
  leftovers: [],
  done: new Map([['chatter', 1000]]),
  failures: new Map(),
};
const none = new Map<string, Kept>();

test('a steady rise of two percent is found under a noise of five', () => {
  const noise = (at: number) => 5 * Math.sin(at * 2.4);
  const steady = Array.from({ length: 60 }, (_, at) => 100 + (2.5 * at) / 59 + noise(at));
  const level = Array.from({ length: 60 }, (_, at) => 100 + noise(at));
  expect(risesOf(steady)).toBeGreaterThan(0.02);
  expect(Math.abs(risesOf(level))).toBeLessThan(0.01);
  const [reason] = judge({ ...flat, growths: growths(samples(steady)), objects: { before: none, after: none } });
  expect(reason).toMatch(/^rss without V8's heap rose by 2\.\d % under load; the bound is 2\.0 %$/);
});

test('every fifth sample may be far off without being called a rise', () => {
  const late = Array.from({ length: 60 }, (_, at) => (at % 5 === 4 ? 140 : 100 + (at % 3)));
  expect(risesOf(late)).toBeLessThan(0.02);
});

test('a class with more instances at rest is named, however small they are; so are bytes of no class', () => {
  const before = new Map([
    ['Connection', { count: 3, bytes: 300 }],
    ['string', { count: 9_000, bytes: 300_000 }],
  ]);
  const maps = new Map([...before, ['Map', { count: 200, bytes: 6_400 }]]);
  expect(judge({ ...flat, objects: { before, after: maps } })).toEqual([
    '200 more of Map on the heap with nobody connected, 6400 bytes',
  ]);
  const strings = new Map([...before, ['string', { count: 11_000, bytes: 380_000 }]]);
  expect(judge({ ...flat, objects: { before, after: strings } })).toEqual([
    '80000 bytes more on the heap with nobody connected: 80000 of string',
  ]);
  const fewer = new Map([...before, ['string', { count: 8_000, bytes: 260_000 }]]);
  expect(judge({ ...flat, objects: { before: strings, after: fewer } })).toEqual([]);
  expect(grown(before, maps)).toEqual([{ name: 'Map', count: 200, bytes: 6_400 }]);
});

test('what is not given back is named; what is there less is none', () => {
  expect(leftovers({ 'n0 timers': 13, keys: 7 }, { 'n0 timers': 14, keys: 6 })).toEqual([
    'n0 timers: 14 with nobody connected, 13 before',
  ]);
});

test('one visit in a hundred may fail', () => {
  const objects = { before: none, after: none };
  expect(judge({ ...flat, objects, failures: new Map([['slow: cut', 10]]) })).toEqual([]);
  expect(judge({ ...flat, objects, failures: new Map([['slow: cut', 11]]) })).toEqual([
    '11 of 1011 visits of clients failed',
  ]);
});
