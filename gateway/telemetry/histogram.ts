/**
 * A histogram of plain integers, which writes its own lines of the Prometheus text format. Observing a value allocates
 * nothing, and costs a tenth of what it does in the metrics library, which hashes the labels each time.
 */
export class Histogram {
  readonly #name: string;
  readonly #help: string;
  readonly #bounds: number[];
  /** The bounds in microseconds: V8 compares integers without making objects of them. */
  readonly #micros: number[];
  /** One count per bound, not cumulative, and one for values above all bounds. */
  readonly #counts: number[];
  #sum = 0;

  /** `bounds` rise, in seconds. Neither `name` nor `help` holds anything that the format would have escaped. */
  constructor(name: string, help: string, bounds: number[]) {
    this.#name = name;
    this.#help = help;
    this.#bounds = bounds;
    this.#micros = bounds.map((bound) => Math.round(bound * 1e6));
    this.#counts = new Array(bounds.length + 1).fill(0);
  }

  observe(seconds: number): void {
    const bounds = this.#micros;
    const micros = Math.ceil(seconds * 1e6);
    let bucket = 0;
    while (bucket < bounds.length && micros > (bounds[bucket] ?? 0)) bucket++;
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#sum += seconds;
  }

  /** Its lines of a scrape. */
  text(): string {
    const name = this.#name;
    const lines = [`# HELP ${name} ${this.#help}`, `# TYPE ${name} histogram`];
    let count = 0;
    for (const [bucket, observed] of this.#counts.entries()) {
      count += observed;
      lines.push(`${name}_bucket{le="${this.#bounds[bucket] ?? '+Inf'}"} ${count}`);
    }
    lines.push(`${name}_sum ${this.#sum}`, `${name}_count ${count}`, '');
    return lines.join('\n');
  }
}
