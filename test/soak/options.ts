/** The options of `npm run soak`: main.mjs passes them to the worker by the environment. */

export interface Options {
  /** Until all has been used once: pools of rooms, compiled code, the heap's size. */
  warmUpMs: number;
  /** Warm-up included. */
  runMs: number;
  /** Largest rise of RSS under load, from the first fifth of the samples to the last: 0.02 is 2 %. */
  mostRise: number;
}

const quick: Options = { warmUpMs: 20_000, runMs: 50_000, mostRise: 0.2 };
const longWarmUpMs = 120_000;
const longRise = 0.02;

/** Throws a TypeError that names the option. */
export function readOptions(env: NodeJS.ProcessEnv): Options {
  if (env.SOAK_QUICK === 'true' && env.SOAK_MINUTES === undefined) return quick;
  const minutes = Number(env.SOAK_MINUTES ?? 10);
  if (!(minutes >= 4 && minutes <= 24 * 60)) {
    throw new TypeError('--minutes must be a number from 4 to 1440, or use --quick instead');
  }
  return { warmUpMs: longWarmUpMs, runMs: minutes * 60_000, mostRise: longRise };
}
