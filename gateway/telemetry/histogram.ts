/**
 * A histogram that is plain integers until it is scraped: to observe allocates nothing, on the way of every message. It
 * takes the place of one of the metrics library, and knows of that only what it asks a metric for.
 */

/** A line of the scrape. */
interface Line {
  metricName: string;
  labels: { le?: number | string };
  value: number;
}

export class Histogram {
  readonly name: string;
  readonly #help: string;
  readonly #bounds: number[];
  /** One per bound, not cumulated, and one for what is above them all. */
  readonly #counts: number[];
  #sum = 0;

  constructor(name: string, help: string, bounds: number[]) {
    this.name = name;
    this.#help = help;
    this.#bounds = bounds;
    this.#counts = new Array(bounds.length + 1).fill(0);
  }

  observe(value: number): void {
    const bounds = this.#bounds;
    let bucket = 0;
    while (bucket < bounds.length && value > (bounds[bucket] ?? 0)) bucket++;
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#sum += value;
  }

  /** As the metrics library asks for what it renders. */
  async get() {
    const { name } = this;
    const values: Line[] = [];
    let count = 0;
    for (const [bucket, observed] of this.#counts.entries()) {
      count += observed;
      values.push({ metricName: `${name}_bucket`, labels: { le: this.#bounds[bucket] ?? '+Inf' }, value: count });
    }
    values.push({ metricName: `${name}_sum`, labels: {}, value: this.#sum });
    values.push({ metricName: `${name}_count`, labels: {}, value: count });
    return { name, help: this.#help, type: 'histogram', values };
  }
}
