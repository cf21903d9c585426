/**
 * Faults of the gateway itself: what is thrown or rejected and is none of the errors that were meant.
 *
 * Each place of the program that fails is logged with its stack, which the log bounds (gateway/telemetry/line-limit.ts).
 * What clients are told of it is never the error's own text: gateway/operations/refusal.ts.
 */
import type { Logger } from './log.ts';

const longestStack = 2_000;

export class Faults {
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** `what` failed, in words of ours; `fields` say for whom. */
  report(what: string, error: unknown, fields: Record<string, string> = {}): void {
    const stack = error instanceof Error && error.stack !== undefined ? error.stack : String(error);
    this.#log.error({ ...fields, reason: placeOf(stack), error: stack.slice(0, longestStack) }, what);
  }
}

/** The line of the stack that names the innermost call, by which the log counts; of what has no stack, nothing. */
function placeOf(stack: string): string {
  return /^\s+at .*$/m.exec(stack)?.[0].trim() ?? '';
}
