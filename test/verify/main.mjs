/**
 * `npm run verify -- [--minutes 1] [--seed <number>]`: starts the verify project of vitest with these options.
 *
 * Exit code 0: no promise was broken, and the broken builds were caught. 1: something is wrong. 2: nothing was found, but
 * the run does not count.
 */
import { parseArgs } from 'node:util';
import { startVitest } from 'vitest/node';

const { values } = parseArgs({ options: { minutes: { type: 'string' }, seed: { type: 'string' } } });
if (values.minutes !== undefined) process.env.VERIFY_MINUTES = values.minutes;
if (values.seed !== undefined) process.env.VERIFY_SEED = values.seed;

const vitest = await startVitest('test', [], { project: 'verify', run: true, watch: false });
const failed = vitest.state.getTestModules().flatMap((file) => [...file.children.allTests('failed')]);
await vitest.close();
if (failed.length > 0 && failed.every((test) => test.meta().verdict === 'uncounted')) process.exitCode = 2;
