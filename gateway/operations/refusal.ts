/**
 * The one error of all operations: what was asked for is not done, and why.
 *
 * Its code is one of the wire protocol's and its message a sentence for whoever asked, so every transport can hand it on as it
 * is. An unknown error is a fault of the gateway: it is reported here, and told as `internal` without its text.
 */
import type { ErrorCode } from '../../shared/codes.ts';
import { BackplaneError } from '../backplane/backplane.ts';
import type { Faults } from '../telemetry/faults.ts';

export class Refusal extends Error {
  readonly code: ErrorCode;

  /** `message` says what to do. */
  constructor(code: ErrorCode, message: string) {
    super(message);
    this.name = 'Refusal';
    this.code = code;
  }
}

/** What can be done again after an operation failed. */
export interface Retry {
  /** As in `publish again`. */
  again: string;
  /** How, where the outcome is unknown (`timeout`, `internal`). */
  uncertain?: string;
}

/** Turns any error into a refusal. `what` failed, in words for the log. */
export function refusalOf(faults: Faults, what: string, error: unknown, retry: Retry): Refusal {
  if (error instanceof Refusal) return error;
  const { again, uncertain = 'in a moment' } = retry;
  if (error instanceof BackplaneError) {
    const { code, message } = error;
    return new Refusal(code, `${message}; ${again} ${code === 'unavailable' ? 'in a moment' : uncertain}.`);
  }
  faults.report(what, error);
  return new Refusal('internal', `a fault of the gateway, which is in its log; ${again} ${uncertain}.`);
}
