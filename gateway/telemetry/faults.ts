/**
 * Faults of the gateway itself: unexpected exceptions and rejections.
 *
 * Each is logged with its stack, at most once a minute per place in the code (gateway/telemetry/line-limit.ts). Clients never
 * see the text of the error: gateway/operations/refusal.ts.
 */
import type { Logger } from './log.ts';

/** In characters. */
const longestStack = 2_000;

export class Faults {
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** `what`: the log message. `fields`: whom the fault hit. */
  report(what: string, error: unknown, fields: Record<string, string> = {}): void {
    const stack = error instanceof Error && error.stack !== undefined ? error.stack : String(error);
    this.#log.error({ ...fields, reason: placeOf(stack), error: stack.slice(0, longestStack) }, what);
  }
}

/** The innermost call in the stack, by which the log counts; '' without a stack. */
function placeOf(stack: string): string {
  return /^\s+at .*$/m.exec(stack)?.[0].trim() ?? '';
}
