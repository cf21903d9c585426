/** What a run of soak means: which numbers grew, and what was not given back. Pure: numbers in, sentences out. */
import type { Counts, Sampled } from './sample.ts';

const names = ['rss', 'heap', 'descriptors'] as const;
/** The heap at rest: caches that have a bound, and garbage that one collection leaves. Bytes, of all nodes. */
const heapSlackBytes = 3_000_000;

export interface Growth {
  name: (typeof names)[number];
  from: number;
  to: number;
  /** 0.02: 2 %. */
  rise: number;
}

/** The medians of the first and of the last fifth of the samples: one sample says little while clients come and go. */
export function growths(samples: readonly Sampled[]): Growth[] {
  const fifth = Math.max(1, Math.floor(samples.length / 5));
  return names.map((name) => {
    const values = samples.map((each) => each[name]);
    const [from, to] = [median(values.slice(0, fifth)), median(values.slice(-fifth))];
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
export function judge(run: {
  growths: readonly Growth[];
  mostRise: number;
  leftovers: readonly string[];
  heapAtRest: { before: number; after: number };
}): string[] {
  const { before, after } = run.heapAtRest;
  return [
    ...run.growths
      // A heap under load differs by what is in flight: it is compared at rest.
      .filter(({ name, rise }) => name !== 'heap' && rise >= run.mostRise)
      .map(({ name, rise }) => `${name} rose by ${percent(rise)} under load; the bound is ${percent(run.mostRise)}`),
    ...run.leftovers,
    ...(after - before > heapSlackBytes
      ? [`the heap of the nodes at rest: ${megabytes(after)}, and ${megabytes(before)} before`]
      : []),
  ];
}

export function table(growths: readonly Growth[], heapAtRest: { before: number; after: number }): string {
  const lines = growths.map(({ name, from, to, rise }) => {
    const show = name === 'descriptors' ? String : megabytes;
    return `${name.padEnd(14)}${show(from).padStart(12)}${show(to).padStart(12)}${percent(rise).padStart(10)}`;
  });
  const { before, after } = heapAtRest;
  const rest = `${'heap at rest'.padEnd(14)}${megabytes(before).padStart(12)}${megabytes(after).padStart(12)}`;
  return [
    `${'all nodes'.padEnd(14)}${'first'.padStart(12)}${'last'.padStart(12)}${'rise'.padStart(10)}`,
    ...lines,
    rest,
  ].join('\n');
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? 0;
}

const percent = (part: number) => `${(100 * part).toFixed(1)} %`;
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
