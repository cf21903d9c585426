/**
 * The options of `npm run verify -- --minutes 10 --seed 7 --faults "slow script,memory full"`: main.mjs passes them to the
 * worker by the environment. The verdict comes back in the test's `meta` and becomes the exit code.
 */
import { type FaultKind, faultKinds } from './nemesis.ts';

export interface Options<Kind extends string> {
  minutes: number;
  seed: number;
  /** Only these kinds of faults, and no broken builds. */
  faults: Kind[] | undefined;
  /** Only the slow-readers run, at full length, with its effect on other clients measured. */
  slowReaders: boolean;
  /** Only the run of all kinds of readers, at full size. */
  fallback: boolean;
  /** Only the run of the client library, at full size. */
  library: boolean;
  /** Only the runs with a Redis Cluster, at full size. */
  cluster: boolean;
}

/** `uncounted`: no violation was found, but too little happened. */
export type Verdict = 'clean' | 'violations' | 'uncounted';

declare module 'vitest' {
  interface TaskMeta {
    verdict?: Verdict;
  }
}

export function readOptions(env: NodeJS.ProcessEnv): Options<FaultKind> {
  return readOptionsFor(faultKinds, env);
}

/** `kinds`: the faults of the run. Throws a TypeError that names the option. */
export function readOptionsFor<Kind extends string>(kinds: readonly Kind[], env: NodeJS.ProcessEnv): Options<Kind> {
  const library = env.VERIFY_LIBRARY === 'true';
  const cluster = env.VERIFY_CLUSTER === 'true';
  const minutes = Number(env.VERIFY_MINUTES ?? (library || cluster ? 2 : 1));
  const seed = Number(env.VERIFY_SEED ?? Math.floor(Math.random() * 2 ** 31));
  if (!(minutes > 0 && minutes <= 24 * 60)) throw new TypeError('--minutes must be a number above 0, at most 1440');
  if (!Number.isSafeInteger(seed)) throw new TypeError('--seed must be a whole number');
  const faults = env.VERIFY_FAULTS?.split(',').map((name) => kindOf(name.trim(), kinds));
  return {
    ...{ minutes, seed, faults },
    slowReaders: env.VERIFY_SLOW_READERS === 'true',
    fallback: env.VERIFY_FALLBACK === 'true',
    ...{ library, cluster },
  };
}

function kindOf<Kind extends string>(name: string, kinds: readonly Kind[]): Kind {
  const kind = kinds.find((each) => each === name);
  if (kind !== undefined) return kind;
  throw new TypeError(`--faults: "${name}" is none of: ${kinds.join(' | ')}`);
}
