/**
 * What `npm run verify -- --minutes 10 --seed 7 --faults "slow script,memory full"` asks for, handed from main.mjs to the
 * worker by the environment; and the verdict, which goes the other way in the test's `meta` and becomes the exit code.
 */
import { type FaultKind, faultKinds } from './nemesis.ts';

export interface Options {
  minutes: number;
  seed: number;
  /** Only faults of these kinds, and no broken builds. */
  faults: FaultKind[] | undefined;
  /** The readers that stop at full length, their effect on the others measured; nothing else. */
  slowReaders: boolean;
}

/** `uncounted`: nothing was found, but too little happened. */
export type Verdict = 'clean' | 'violations' | 'uncounted';

declare module 'vitest' {
  interface TaskMeta {
    verdict?: Verdict;
  }
}

/** Throws a TypeError that names the option. */
export function readOptions(env: NodeJS.ProcessEnv): Options {
  const minutes = Number(env.VERIFY_MINUTES ?? 1);
  const seed = Number(env.VERIFY_SEED ?? Math.floor(Math.random() * 2 ** 31));
  if (!(minutes > 0 && minutes <= 24 * 60)) throw new TypeError('--minutes must be a number above 0, at most 1440');
  if (!Number.isSafeInteger(seed)) throw new TypeError('--seed must be a whole number');
  const faults = env.VERIFY_FAULTS?.split(',').map((name) => kindOf(name.trim()));
  return { minutes, seed, faults, slowReaders: env.VERIFY_SLOW_READERS === 'true' };
}

function kindOf(name: string): FaultKind {
  const kind = faultKinds.find((each) => each === name);
  if (kind !== undefined) return kind;
  throw new TypeError(`--faults: "${name}" is none of: ${faultKinds.join(' | ')}`);
}
