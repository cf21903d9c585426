/**
 * The numbers of a node as the dashboard takes them: those of a scrape, by name, without the format of Prometheus. Types, and
 * how a counter with a label is read. It knows no metrics library.
 */
import type { Buckets } from './histogram.ts';

/** All since the start of the process. Reasons without an event are left out. */
export interface Numbers {
  totals: Record<'published' | 'delivered' | 'opened', number>;
  reasons: Record<ReasonKind, Record<string, number>>;
  /** In seconds. */
  histograms: Record<HistogramKind, Buckets>;
}

export const reasonKinds = ['closed', 'rejected', 'publishErrors', 'dropped', 'gaps'] as const;
export type ReasonKind = (typeof reasonKinds)[number];

export const histogramKinds = ['ping', 'fanout', 'backplane', 'loop'] as const;
export type HistogramKind = (typeof histogramKinds)[number];

interface Readable {
  get(): Promise<{ values: { labels: Partial<Record<string, string | number>>; value: number }[] }>;
}

/** The counts by one label. What was healed is counted apart; values that differ in other labels only are added. */
export async function countsOf(counter: Readable, label: string): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { labels, value } of (await counter.get()).values) {
    const name = labels.healed === 'true' ? `${labels[label]}, healed` : String(labels[label]);
    if (value > 0) counts[name] = (counts[name] ?? 0) + value;
  }
  return counts;
}
