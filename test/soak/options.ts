/** The options of `npm run soak`: main.mjs passes them to the worker by the environment. */
import type { Bounds } from './judge.ts';

export interface Options {
  /**
   * Before the first sample: until the program has the memory that it works with. While it rests V8 gives memory back, and takes it
   * again in the minute after. Before the first rest half of this time.
   */
  warmUpMs: number;
  /** Of the samples. */
  sampledMs: number;
  mostRise: Bounds;
}

const quick: Options = { warmUpMs: 15_000, sampledMs: 30_000, mostRise: { rss: 0.2, others: 0.1 } };
const longWarmUpMs = 120_000;
const longRise: Bounds = { rss: 0.02, others: 0.02 };

/** Throws a TypeError that names the option. */
export function readOptions(env: NodeJS.ProcessEnv): Options {
  if (env.SOAK_QUICK === 'true' && env.SOAK_MINUTES === undefined) return quick;
  const minutes = Number(env.SOAK_MINUTES ?? 10);
  if (!(minutes >= 2 && minutes <= 24 * 60)) {
    throw new TypeError('--minutes must be a number from 2 to 1440, or use --quick instead');
  }
  return { warmUpMs: longWarmUpMs, sampledMs: minutes * 60_000, mostRise: longRise };
}
