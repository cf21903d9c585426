/**
 * A histogram of plain integers. It replaces the histogram of the metrics library on the path of every message, because
 * observing a value here allocates nothing. It knows only the interface that the library renders metrics by.
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
  /** One count per bound, not cumulative, and one for values above all bounds. */
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

  /** Called by the metrics library when it renders. */
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
