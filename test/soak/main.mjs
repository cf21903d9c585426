/**
 * `npm run soak -- [--minutes 10] [--quick]`: starts the soak project of vitest with these options. So many
 * minutes are sampled; warm-up and rests take four more. `--quick` takes about 90 s, with a wider bound on RSS.
 *
 * Exit code 0: nothing grew, and everything that the clients took was given back. 1: the reasons are printed.
 */
import { parseArgs } from 'node:util';
import { startVitest } from 'vitest/node';

const { values } = parseArgs({
  options: { minutes: { type: 'string' }, quick: { type: 'boolean', default: false } },
});
if (values.minutes !== undefined) process.env.SOAK_MINUTES = values.minutes;
process.env.SOAK_QUICK = String(values.quick);

const vitest = await startVitest('test', [], { project: 'soak', run: true, watch: false });
await vitest.close();
