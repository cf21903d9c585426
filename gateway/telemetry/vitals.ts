/** What a node says of itself to other nodes: rates over the last seconds, and its last round trip to the backplane. */
import type { Events } from './events.ts';

/** Counters that only rise. */
export interface Counters {
  readonly publishedMessages: number;
  readonly deliveredMessages: number;
}

const sampleMs = 1_000;
/** Rates are over so many samples. */
const samples = 5;

interface Sample {
  at: number;
  published: number;
  delivered: number;
}

export class Vitals implements Partial<Events> {
  readonly #counters: Counters;
  readonly #timer: NodeJS.Timeout;
  /** The oldest first. */
  #samples: Sample[];
  backplaneRttMs: number | undefined;

  constructor(counters: Counters) {
    this.#counters = counters;
    this.#samples = [this.#sample()];
    this.#timer = setInterval(() => {
      this.#samples = [...this.#samples.slice(-samples), this.#sample()];
    }, sampleMs).unref();
  }

  get publishedPerSecond(): number {
    return this.#rate('published');
  }

  get deliveredPerSecond(): number {
    return this.#rate('delivered');
  }

  backplaneRoundTrip(seconds: number): void {
    // To a thousandth.
    this.backplaneRttMs = Math.round(seconds * 1e6) / 1e3;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #sample(): Sample {
    const { publishedMessages: published, deliveredMessages: delivered } = this.#counters;
    return { at: performance.now(), published, delivered };
  }

  #rate(what: 'published' | 'delivered'): number {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    if (first === undefined || last === undefined || first === last) return 0;
    return ((last[what] - first[what]) * 1_000) / (last.at - first.at);
  }
}
