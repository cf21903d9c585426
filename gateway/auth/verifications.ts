/**
 * Verifications of signatures that take longer than a turn of the event loop: so many at once, the others wait in their order.
 *
 * They share the four threads of the process with files and names. It knows neither tokens nor keys.
 */

const mostUnderWay = 64;
/** Each is for another connection. */
const mostWaiting = 10_000;

/** As many wait as may. */
export class VerificationsFullError extends Error {
  constructor() {
    super(`${mostWaiting} tokens wait to be verified`);
    this.name = 'VerificationsFullError';
  }
}

export class Verifications {
  #underWay = 0;
  readonly #waiting: (() => void)[] = [];

  /** Those that have not begun. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Calls `verify` in its turn. Rejects as it does, or with a VerificationsFullError. */
  async run<Result>(verify: () => Promise<Result>): Promise<Result> {
    if (this.#underWay < mostUnderWay) this.#underWay++;
    else await this.#wait();
    try {
      return await verify();
    } finally {
      // The next one takes over the place.
      const next = this.#waiting.shift();
      if (next === undefined) this.#underWay--;
      else next();
    }
  }

  #wait(): Promise<void> {
    if (this.#waiting.length >= mostWaiting) return Promise.reject(new VerificationsFullError());
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}
