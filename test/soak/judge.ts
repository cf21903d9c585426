/** What a run of soak means: which numbers grew, and what was not given back. Pure: numbers in, sentences out. */
import { grown, type Objects } from './objects.ts';
import type { Counts, Sampled } from './sample.ts';

const names = ['rss', 'outside', 'heap', 'descriptors'] as const;
const titles = { rss: 'rss', outside: "rss without V8's heap", heap: 'heap', descriptors: 'descriptors' };
/** At rest: memories that have a bound hold some more at one time than at another, and a node beats meanwhile. */
const moreObjects = 60;
const moreBytes = 50_000;
/** V8 makes these for reasons of its own too, as patterns for literals: their bytes count, not their number. */
const unnamed = new Set(['string', 'number', 'Object', 'Array', 'array']);
/** Clients that fail are no clients. A machine that stands still for seconds makes some. */
const mostFailures = 0.01;

export interface Growth {
  name: (typeof names)[number];
  from: number;
  to: number;
  /** 0.02: 2 %. */
  rise: number;
}

/**
 * The largest rise under load, 0.02: 2 %. V8 goes on compiling, and its heap takes pages for that: so RSS has a bound of its own.
 * A leak of objects is found at rest, one of other memory without the heap.
 */
export interface Bounds {
  rss: number;
  others: number;
}

export interface Judged {
  growths: readonly Growth[];
  mostRise: Bounds;
  leftovers: readonly string[];
  objects: { before: Objects; after: Objects };
  done: ReadonlyMap<string, number>;
  failures: ReadonlyMap<string, number>;
}

/**
 * The rise from the first sample to the last, by the median of the slopes of all pairs (Theil and Sen): up to a quarter of the
 * samples may be far off, because garbage was collected late or clients came at once, and it hardly moves.
 */
export function growths(samples: readonly Sampled[]): Growth[] {
  return names.map((name) => {
    const values = samples.map((each) => each[name]);
    const slopes = values.flatMap((value, at) =>
      values.slice(at + 1).map((later, distance) => (later - value) / (distance + 1)),
    );
    const slope = median(slopes);
    const from = median(values.map((value, at) => value - slope * at));
    const to = from + slope * (values.length - 1);
    return { name, from, to, rise: to / from - 1 };
  });
}

/** Counts at rest that are higher than before. */
export function leftovers(before: Counts, after: Counts): string[] {
  return Object.keys(after).flatMap((name) => {
    const [was, is] = [before[name] ?? 0, after[name] ?? 0];
    return is > was ? [`${name}: ${is} with nobody connected, ${was} before`] : [];
  });
}

/** Reasons why the run fails; none: it holds. */
export function judge({ growths: rises, mostRise, leftovers: left, objects, done, failures }: Judged): string[] {
  const acts = sumOf(done) + sumOf(failures);
  return [
    ...rises.flatMap(({ name, rise }) => {
      const most = name === 'rss' ? mostRise.rss : mostRise.others;
      // A heap under load differs by what is in flight: its objects are counted at rest.
      if (name === 'heap' || rise < most) return [];
      return [`${titles[name]} rose by ${percent(rise)} under load; the bound is ${percent(most)}`];
    }),
    ...left,
    ...moreObjectsThan(objects),
    ...(sumOf(failures) > acts * mostFailures ? [`${sumOf(failures)} of ${acts} visits of clients failed`] : []),
  ];
}

/** Reasons why there are too many; none: there are not. */
export function moreObjectsThan({ before, after }: Judged['objects']): string[] {
  const classes = grown(before, after);
  const many = classes
    .filter(({ count, name }) => count > moreObjects && !unnamed.has(name))
    .map(({ name, count, bytes }) => `${count} more of ${name} on the heap with nobody connected, ${bytes} bytes`);
  const bytes = sizeOf(after) - sizeOf(before);
  if (many.length > 0 || bytes <= moreBytes) return many;
  const largest = classes.slice(0, 3).map((each) => `${each.bytes} of ${each.name}`);
  return [`${bytes} bytes more on the heap with nobody connected: ${largest.join(', ')}`];
}

export function table(growths: readonly Growth[], objects: Judged['objects']): string {
  const row = (name: string, from: string, to: string, rise: string) =>
    `${name.padEnd(24)}${from.padStart(12)}${to.padStart(12)}${rise.padStart(10)}`;
  const lines = growths.map(({ name, from, to, rise }) => {
    const show = name === 'descriptors' ? (count: number) => count.toFixed(0) : megabytes;
    return row(titles[name], show(from), show(to), percent(rise));
  });
  const [from, to] = [sizeOf(objects.before), sizeOf(objects.after)];
  return [
    row('', 'first', 'last', 'rise'),
    ...lines,
    row('objects at rest', megabytes(from), megabytes(to), percent(to / from - 1)),
  ].join('\n');
}

function sizeOf(objects: Objects): number {
  return [...objects.values()].reduce((sum, { bytes }) => sum + bytes, 0);
}

function sumOf(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((sum, times) => sum + times, 0);
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? 0;
}

const percent = (part: number) => `${(100 * part).toFixed(1)} %`;
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(2)} MB`;
