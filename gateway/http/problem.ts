/**
 * Problems: errors of HTTP answers in the form of RFC 9457 (`application/problem+json`), thrown from anywhere in a request.
 *
 * The type of a problem is a code of the wire protocol, or `not_found`. Its detail says what to do.
 */
import type { ErrorCode } from '../../shared/codes.ts';

export type ProblemCode = ErrorCode | 'not_found';

/** A field of the request that is wrong: its path in the body, or the name of a parameter. */
export interface FieldError {
  path: string;
  message: string;
}

export const problemContentType = 'application/problem+json';
const typePrefix = 'https://roomcast.dev/problems/';

/** The usual status of a code, and its title. */
export const problems: Record<ProblemCode, readonly [status: number, title: string]> = {
  bad_request: [400, 'Bad request'],
  unsupported: [415, 'Not supported'],
  unauthorized: [401, 'Unauthorized'],
  forbidden: [403, 'Forbidden'],
  not_found: [404, 'Not found'],
  too_large: [413, 'Too large'],
  rate_limited: [429, 'Rate limited'],
  limit_exceeded: [429, 'Limit exceeded'],
  unavailable: [503, 'Unavailable for now'],
  timeout: [504, 'No answer in time'],
  internal: [500, 'Fault of the gateway'],
};

interface Options {
  /** Instead of the usual one of the code. */
  status?: number;
  errors?: FieldError[];
  headers?: Record<string, string>;
  /** Of 503, 1 unless told otherwise: what is `unavailable` is retried by the nodes themselves a few times a second. */
  retryAfterSeconds?: number | undefined;
}

export class Problem extends Error {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly retryAfterSeconds: number | undefined;
  readonly #code: ProblemCode;
  readonly #errors: FieldError[] | undefined;

  /** `detail` is a sentence for the client, which says what to do. */
  constructor(code: ProblemCode, detail: string, { status, errors, headers = {}, retryAfterSeconds }: Options = {}) {
    super(detail);
    this.name = 'Problem';
    this.#code = code;
    this.#errors = errors;
    this.status = status ?? problems[code][0];
    this.headers = headers;
    this.retryAfterSeconds = retryAfterSeconds ?? (this.status === 503 ? 1 : undefined);
  }

  /** The body of the answer. */
  get body(): string {
    const [, title] = problems[this.#code];
    const { status, message: detail } = this;
    return JSON.stringify({ type: typePrefix + this.#code, title, status, detail, errors: this.#errors });
  }
}
