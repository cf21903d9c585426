/**
 * The clients that were refused and will come back: when each should, so that they come as fast as they can be let in.
 *
 * It counts, and keeps none of them. A client is expected to come back once, so the backlog shrinks by as many clients a
 * second as were let in lately.
 */

/** Assumed before anything was measured. */
const firstRate = 2_000;
const slowestRate = 500;
/** The rate is measured over so long. */
const windowMs = 500;
/** Nobody is sent away for longer. */
const longestSeconds = 30;

export class Backlog {
  readonly #random: () => number;
  #waiting = 0;
  #drainedAt = 0;
  /** Clients let in, a second, while others were refused. */
  #rate = firstRate;
  #windowAt = 0;
  #admitted = 0;
  #refused = 0;

  /** `random`: from 0 to 1. */
  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** `now` is performance.now(), here and below. */
  admitted(now: number): void {
    this.#measure(now);
    this.#admitted++;
  }

  /** One more client is refused. Returns after how many seconds it should come back, at least 1. */
  add(now: number): number {
    this.#measure(now);
    this.#refused++;
    const drained = ((now - this.#drainedAt) / 1_000) * this.#rate;
    this.#waiting = Math.max(0, this.#waiting - drained) + 1;
    this.#drainedAt = now;
    const spreadSeconds = this.#waiting / this.#rate;
    return Math.min(longestSeconds, 1 + Math.floor(this.#random() * spreadSeconds));
  }

  #measure(now: number): void {
    const ms = now - this.#windowAt;
    if (ms < windowMs) return;
    // After a pause nothing is known of the time between.
    if (this.#refused > 0 && this.#admitted > 0 && ms < 2 * windowMs) {
      this.#rate = Math.max(slowestRate, (this.#rate + (this.#admitted * 1_000) / ms) / 2);
    }
    this.#windowAt = now;
    this.#admitted = 0;
    this.#refused = 0;
  }
}
