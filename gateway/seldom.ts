/**
 * Lines of the log that somebody outside can cause as often as he likes: each is written once, then at most once a minute,
 * with how often it would have been written since.
 *
 * Which lines are the same is up to whoever writes them. It knows no words.
 */
import type { Logger } from './log.ts';

const againMs = 60_000;
/** Beyond, all that is known is forgotten, and lines may come again. */
const maxKinds = 1_000;

export class Seldom {
  readonly #log: Logger;
  /** When each was written last, and how often it was not since. */
  readonly #kinds = new Map<string, { writtenAt: number; since: number }>();

  constructor(log: Logger) {
    this.#log = log;
  }

  write(level: 'error' | 'warn', kind: string, fields: Record<string, unknown>, message: string): void {
    const now = performance.now();
    const known = this.#kinds.get(kind);
    if (known !== undefined && now - known.writtenAt < againMs) {
      known.since++;
      return;
    }
    if (known === undefined && this.#kinds.size >= maxKinds) this.#kinds.clear();
    this.#kinds.set(kind, { writtenAt: now, since: 0 });
    const before = known === undefined || known.since === 0 ? {} : { timesSince: known.since };
    this.#log[level]({ ...fields, ...before }, message);
  }
}
