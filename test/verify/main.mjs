/**
 * `npm run verify -- [--minutes 1] [--seed <number>] [--slow-readers]`: starts the verify project of vitest with these options.
 *
 * Exit code 0: no promise was broken, and the broken builds were caught. 1: something is wrong. 2: nothing was found, but
 * the run does not count.
 */
import { parseArgs } from 'node:util';
import { startVitest } from 'vitest/node';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string' },
    seed: { type: 'string' },
    'slow-readers': { type: 'boolean', default: false },
  },
});
if (values.minutes !== undefined) process.env.VERIFY_MINUTES = values.minutes;
if (values.seed !== undefined) process.env.VERIFY_SEED = values.seed;
const slowReaders = values['slow-readers'];
process.env.VERIFY_SLOW_READERS = String(slowReaders);
const files = slowReaders ? ['slow-readers'] : [];

const vitest = await startVitest('test', files, { project: 'verify', run: true, watch: false, fileParallelism: false });
const failed = vitest.state.getTestModules().flatMap((file) => [...file.children.allTests('failed')]);
await vitest.close();
if (failed.length > 0 && failed.every((test) => test.meta().verdict === 'uncounted')) process.exitCode = 2;
