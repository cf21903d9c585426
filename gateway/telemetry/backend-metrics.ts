/**
 * The numbers of what a node and the operator's backend have to do with each other: requests to the HTTP API, questions to
 * GATEWAY_AUTH_URL, events for the webhook, messages of inputs. It knows no metrics library.
 */
import {
  type CallbackAction,
  type CallbackResult,
  type CallKind,
  type CallResult,
  callbackActions,
  callbackResults,
  callKinds,
  callResults,
  type Events,
  type InputResult,
  inputResults,
  type WebhookResult,
  webhookResults,
} from './events.ts';
import { LabelledHistogram as PlainHistogram } from './histogram.ts';

/** Makes what counts and measures, by labels. */
export interface Instruments {
  counter<Label extends string>(name: string, help: string, ...labels: Label[]): LabelledCounter<Label>;
  /** A counter that is read at each scrape, for what is counted too often to look for labels each time. */
  counted<Label extends string>(
    name: string,
    help: string,
    labels: Label[],
    read: () => Iterable<readonly [labels: Labels<Label>, times: number]>,
  ): void;
  /** A gauge that is read at each scrape. */
  measured<Label extends string>(
    name: string,
    help: string,
    labels: Label[],
    read: () => Iterable<readonly [labels: Labels<Label>, value: number]>,
  ): void;
  /** `buckets`: upper bounds, in seconds. */
  histogram<Label extends string>(
    name: string,
    help: string,
    buckets: number[],
    ...labels: Label[]
  ): LabelledHistogram<Label>;
}

type Labels<Label extends string> = Record<Label, string | number>;

interface LabelledCounter<Label extends string> {
  inc(labels: Labels<Label>, times: number): void;
}

interface LabelledHistogram<Label extends string> {
  observe(labels: Labels<Label>, seconds: number): void;
  zero(labels: Labels<Label>): void;
}

export class BackendMetrics implements Partial<Events> {
  /** From the head of a request to the HTTP API to its answer, by route. */
  readonly requestSeconds = new PlainHistogram(
    'gateway_http_request_seconds',
    'From the head of a request to the HTTP API to its answer.',
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
    'route',
  );
  /** By route, then by status. */
  readonly #requests = new Map<string, Map<number | string, number>>();
  readonly #callbackSeconds: LabelledHistogram<'action' | 'result'>;
  readonly #callSeconds: LabelledHistogram<'kind' | 'result'>;
  readonly #webhooks: LabelledCounter<'result'>;
  readonly #inputs: LabelledCounter<'input' | 'result'>;
  #sources: ReadonlyMap<string, { readonly lag: number }> = new Map();

  constructor({ counted, counter, histogram, measured }: Instruments) {
    const requests = this.#requests;
    counted('gateway_http_requests_total', 'Requests to the HTTP API.', ['route', 'status'], function* () {
      for (const [route, byStatus] of requests)
        for (const [status, times] of byStatus) yield [{ route, status }, times] as const;
    });
    this.#callbackSeconds = histogram(
      'gateway_callback_seconds',
      'From a question to GATEWAY_AUTH_URL to its answer.',
      [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2],
      ...(['action', 'result'] as const),
    );
    this.#callSeconds = histogram(
      'gateway_rpc_seconds',
      'From a call for GATEWAY_RPC_URL to its answer.',
      [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2],
      ...(['kind', 'result'] as const),
    );
    this.#webhooks = counter('gateway_webhooks_total', 'Events for the webhook, by result.', 'result');
    for (const result of webhookResults) this.#webhooks.inc({ result }, 0);
    const inputs = 'Messages of inputs, by what became of them.';
    this.#inputs = counter('gateway_input_messages_total', inputs, 'input', 'result');
    const lag = 'Messages of an input that are not acknowledged; 0 where another node reads it.';
    measured('gateway_input_lag_messages', lag, ['input'], () =>
      [...this.#sources].map(([input, source]) => [{ input }, source.lag] as const),
    );
  }

  /** Series of these routes exist from now on, at 0. */
  expectRequests(routes: Iterable<{ route: string; statuses: readonly number[] }>): void {
    for (const { route, statuses } of routes) {
      this.requestSeconds.of(route);
      for (const status of statuses) this.#count(route, status, 0);
    }
  }

  /** Series of these questions exist from now on, at 0. */
  expectCallbacks(): void {
    for (const action of callbackActions)
      for (const result of callbackResults) this.#callbackSeconds.zero({ action, result });
  }

  /** The same of calls. */
  expectCalls(): void {
    for (const kind of callKinds) for (const result of callResults) this.#callSeconds.zero({ kind, result });
  }

  callAnswered(kind: CallKind, result: CallResult, duration: number): void {
    this.#callSeconds.observe({ kind, result }, duration);
  }

  /** Series of these inputs exist from now on, at 0. By their names in GATEWAY_INPUTS_FILE. */
  expectInputs(sources: ReadonlyMap<string, { readonly lag: number }>): void {
    this.#sources = sources;
    for (const input of sources.keys()) for (const result of inputResults) this.#inputs.inc({ input, result }, 0);
  }

  requestAnswered(route: string, status: number | 'aborted', duration: number): void {
    this.#count(route, status, 1);
    this.requestSeconds.of(route).observe(duration);
  }

  callbackAnswered(action: CallbackAction, result: CallbackResult, duration: number): void {
    this.#callbackSeconds.observe({ action, result }, duration);
  }

  webhooks(result: WebhookResult, events: number): void {
    this.#webhooks.inc({ result }, events);
  }

  inputTaken(input: string, result: InputResult): void {
    this.#inputs.inc({ input, result }, 1);
  }

  #count(route: string, status: number | string, times: number): void {
    let byStatus = this.#requests.get(route);
    if (byStatus === undefined) {
      byStatus = new Map();
      this.#requests.set(route, byStatus);
    }
    byStatus.set(status, (byStatus.get(status) ?? 0) + times);
  }
}
