/**
 * Notices that the process stood still (SIGSTOP, a paused container or machine), before anything that waited is obeyed.
 *
 * After a thaw the event loop reads its sockets before it runs a timer. So besides a timer that marks the time, whoever
 * takes something in asks here first, and the first one to ask finds that the mark is old. It knows only the clock; what
 * a thaw means is told to it. A machine whose monotonic clock stood still as well cannot be noticed this way.
 */

const beatMs = 500;
/** No load keeps the event loop from its timers for so long; other nodes and clients have given this one up by then. */
export const frozenAfterMs = 5_000;

export class Freeze {
  readonly #onThaw: (stoodStillMs: number) => void;
  readonly #timer: NodeJS.Timeout;
  #markedAt = performance.now();

  /** `onThaw` is called from within `look`, once for each time the process stood still. */
  constructor(onThaw: (stoodStillMs: number) => void) {
    this.#onThaw = onThaw;
    this.#timer = setInterval(() => {
      const now = performance.now();
      this.check(now);
      this.#markedAt = now;
    }, beatMs);
  }

  /** To be called before anything that comes from outside is acted on. `now` is performance.now(). */
  check(now: number): void {
    const stoodStillMs = now - this.#markedAt;
    if (stoodStillMs <= frozenAfterMs) return;
    this.#markedAt = now;
    this.#onThaw(stoodStillMs);
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
