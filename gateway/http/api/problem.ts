/** What ends a call of the HTTP API without its result: a problem (gateway/http/problem.ts), thrown from anywhere in it. */
import { type FieldError, type ProblemCode, problems, problemText } from '../problem.ts';

interface Options {
  /** Instead of the usual one of the code. */
  status?: number;
  errors?: FieldError[];
  headers?: Record<string, string>;
}

/** Seconds. What is `unavailable` is retried by the nodes themselves a few times a second. */
const retryAfterSeconds = '1';

export class Problem extends Error {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly #code: ProblemCode;
  readonly #errors: FieldError[] | undefined;

  /** `detail` is a sentence for the caller, which says what to do. */
  constructor(code: ProblemCode, detail: string, { status, errors, headers = {} }: Options = {}) {
    super(detail);
    this.name = 'Problem';
    this.#code = code;
    this.#errors = errors;
    this.status = status ?? problems[code][0];
    this.headers = code === 'unavailable' ? { 'retry-after': retryAfterSeconds, ...headers } : headers;
  }

  /** The body of the answer. */
  get text(): string {
    return problemText(this.#code, this.status, this.message, this.#errors);
  }
}
