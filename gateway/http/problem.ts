/**
 * Problems: errors of HTTP answers in the form of RFC 9457 (`application/problem+json`).
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

/** The body of the answer. */
export function problemText(code: ProblemCode, status: number, detail: string, errors?: FieldError[]): string {
  const [, title] = problems[code];
  return JSON.stringify({ type: typePrefix + code, title, status, detail, errors });
}
