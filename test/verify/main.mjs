/**
 * `npm run verify -- [--minutes 1] [--seed <number>] [--faults "slow script,memory full"] [--slow-readers] [--fallback] [--library]
 * [--cluster] [--roll]`: starts the verify project of vitest with these options. `--faults` inflicts only these faults, and skips
 * the broken builds. `--slow-readers`, `--fallback`, `--library`, `--cluster` and `--roll` (`npm run verify:roll`) start another
 * test instead; `--cluster` has faults of its own.
 *
 * Exit code 0: no promise was broken, and the broken builds were caught. 1: something is wrong. 2: no violation was found,
 * but too little happened for the run to count.
 */
import { parseArgs } from 'node:util';
import { startVitest } from 'vitest/node';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string' },
    seed: { type: 'string' },
    faults: { type: 'string' },
    roll: { type: 'boolean', default: false },
    'slow-readers': { type: 'boolean', default: false },
    fallback: { type: 'boolean', default: false },
    library: { type: 'boolean', default: false },
    cluster: { type: 'boolean', default: false },
  },
});
if (values.minutes !== undefined) process.env.VERIFY_MINUTES = values.minutes;
if (values.seed !== undefined) process.env.VERIFY_SEED = values.seed;
if (values.faults !== undefined) process.env.VERIFY_FAULTS = values.faults;
const slowReaders = values['slow-readers'];
process.env.VERIFY_SLOW_READERS = String(slowReaders);
process.env.VERIFY_FALLBACK = String(values.fallback);
process.env.VERIFY_LIBRARY = String(values.library);
process.env.VERIFY_CLUSTER = String(values.cluster);

function filesOf() {
  if (values.roll) return ['roll.test'];
  if (slowReaders) return ['slow-readers.test'];
  if (values.fallback) return ['fallback.test'];
  if (values.library) return ['library.test'];
  if (values.cluster) return ['shards.test'];
  if (values.faults !== undefined) return ['verify.test'];
  return ['verify.test', 'slow-readers.test', 'fallback.test', 'library.test', 'shards.test'];
}

const vitest = await startVitest('test', filesOf(), {
  project: 'verify',
  run: true,
  watch: false,
  fileParallelism: false,
});
const failed = vitest.state.getTestModules().flatMap((file) => [...file.children.allTests('failed')]);
await vitest.close();
if (failed.length > 0 && failed.every((test) => test.meta().verdict === 'uncounted')) process.exitCode = 2;
