/**
 * The numbers of inputs, in the Prometheus text format: what became of their messages, and how many wait. They exist only for
 * the inputs of GATEWAY_INPUTS_FILE. It knows no metrics library.
 */
import { type Events, type InputResult, inputResults } from './events.ts';

interface Lagging {
  readonly lag: number;
}

export class InputMetrics implements Partial<Events> {
  /** By the name of the input. */
  readonly #counts = new Map<string, Record<InputResult, number>>();
  #sources: ReadonlyMap<string, Lagging> = new Map();

  /** Series of these inputs exist from now on, at 0. */
  expect(sources: ReadonlyMap<string, Lagging>): void {
    this.#sources = sources;
    for (const name of sources.keys()) {
      this.#counts.set(name, { published: 0, duplicate: 0, parked: 0, retried: 0 });
    }
  }

  inputTaken(input: string, result: InputResult): void {
    const counts = this.#counts.get(input);
    if (counts !== undefined) counts[result]++;
  }

  text(): string {
    if (this.#counts.size === 0) return '';
    const counts = [...this.#counts].flatMap(([input, of]) =>
      inputResults.map((result) => `gateway_input_messages_total{input="${input}",result="${result}"} ${of[result]}`),
    );
    const lags = [...this.#sources].map(([input, { lag }]) => `gateway_input_lag_messages{input="${input}"} ${lag}`);
    return [
      '# HELP gateway_input_messages_total Messages of inputs, by what became of them.',
      '# TYPE gateway_input_messages_total counter',
      ...counts,
      '# HELP gateway_input_lag_messages Messages of an input that are not acknowledged; 0 where another node reads it.',
      '# TYPE gateway_input_lag_messages gauge',
      ...lags,
      '',
    ].join('\n');
  }
}
