/**
 * Detects that the process stood still (SIGSTOP, a paused container or machine), before it acts on any input that
 * waited.
 *
 * After a thaw the event loop reads its sockets before it runs a timer. So a timer alone is too late: everything that
 * takes input calls `check` first, and the first call finds the old mark. It knows only the clock; the caller of the
 * constructor decides what a thaw does. It cannot detect a pause that stops the monotonic clock too.
 */

const beatMs = 500;
/** No load blocks the event loop this long, and other nodes and clients treat this node as dead by then. */
export const frozenAfterMs = 5_000;

export class Freeze {
  readonly #onThaw: (stoodStillMs: number) => void;
  readonly #timer: NodeJS.Timeout;
  #markedAt = performance.now();
  #thawedAt = Number.NEGATIVE_INFINITY;

  /** `onThaw` is called from within `check`, once for each time the process stood still. */
  constructor(onThaw: (stoodStillMs: number) => void) {
    this.#onThaw = onThaw;
    this.#timer = setInterval(() => {
      const now = performance.now();
      this.check(now);
      this.#markedAt = now;
    }, beatMs);
  }

  /** To be called before acting on any input. `now` is performance.now(). */
  check(now: number): void {
    const stoodStillMs = now - this.#markedAt;
    if (stoodStillMs <= frozenAfterMs) return;
    this.#markedAt = now;
    this.#thawedAt = now;
    this.#onThaw(stoodStillMs);
  }

  /** When the process last went on, by performance.now(). What was sent to it before may still come in after that. */
  get thawedAt(): number {
    return this.#thawedAt;
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
