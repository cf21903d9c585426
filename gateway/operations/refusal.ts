/**
 * The one error type of all operations.
 *
 * Its code is a code of the wire protocol, and its message is a sentence for the caller, so a transport can pass both
 * on unchanged. An unknown error is a fault of the gateway: it is reported here, and becomes `internal` without its
 * text.
 */
import type { ErrorCode } from '../../shared/codes.ts';
import { BackplaneError } from '../backplane/backplane.ts';
import type { FinerCode } from '../protocol/reply.ts';
import type { Faults } from '../telemetry/faults.ts';

export class Refusal extends Error {
  readonly code: ErrorCode;
  /** For dialects that tell it. */
  readonly finer: FinerCode | undefined;

  /** `message` tells the caller what to do. `cause`: the answer of the backplane, never for a client. */
  constructor(
    code: ErrorCode,
    message: string,
    { finer, cause }: { finer?: FinerCode | undefined; cause?: Error | undefined } = {},
  ) {
    super(message, cause && { cause });
    this.name = 'Refusal';
    this.code = code;
    this.finer = finer;
  }
}

/** Words that tell the caller how to retry. */
export interface Retry {
  /** The verb, for example `publish again`. */
  again: string;
  /** How to retry when the outcome is unknown (`timeout`, `internal`). */
  uncertain?: string;
}

/** Turns any error into a Refusal. `what` is the sentence for the log. */
export function refusalOf(faults: Faults, what: string, error: unknown, retry: Retry): Refusal {
  if (error instanceof Refusal) return error;
  const { again, uncertain = 'in a moment' } = retry;
  if (error instanceof BackplaneError) {
    const { cause, code, message } = error;
    return new Refusal(code, `${message}; ${again} ${code === 'unavailable' ? 'in a moment' : uncertain}.`, { cause });
  }
  faults.report(what, error);
  return new Refusal('internal', `a fault of the gateway, which is in its log; ${again} ${uncertain}.`);
}
