/**
 * The numbers of publishes: what became of each, and how long the sender waited for its acknowledgement. A publish adds to
 * plain integers. It knows no metrics library.
 */
import { type Events, type PublishOutcome, type PublishSource, publishOutcomes, publishSources } from './events.ts';
import { Histogram } from './histogram.ts';

type Counts = Record<PublishSource, Record<PublishOutcome, number>>;

export class PublishMetrics implements Partial<Events> {
  readonly #counts = Object.fromEntries(publishSources.map((source) => [source, zeros()])) as Counts;
  readonly seconds = new Histogram(
    'gateway_publish_seconds',
    'From the request of an allowed publish to its acknowledgement by the backplane.',
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
  );

  publishEnded(source: PublishSource, outcome: PublishOutcome, seconds: number): void {
    this.#counts[source][outcome]++;
    if (outcome === 'ok' || outcome === 'duplicate') this.seconds.observe(seconds);
  }

  /** How often it happened so far. */
  count(source: PublishSource, outcome: PublishOutcome): number {
    return this.#counts[source][outcome];
  }

  /** The outcomes that are errors, of all sources. Those that never happened are left out. */
  get errors(): Record<string, number> {
    const errors: Record<string, number> = {};
    for (const outcome of publishOutcomes) {
      const count = publishSources.reduce((sum, source) => sum + this.#counts[source][outcome], 0);
      if (count > 0 && outcome !== 'ok' && outcome !== 'duplicate') errors[outcome] = count;
    }
    return errors;
  }
}

function zeros(): Record<PublishOutcome, number> {
  return Object.fromEntries(publishOutcomes.map((outcome) => [outcome, 0])) as Record<PublishOutcome, number>;
}
