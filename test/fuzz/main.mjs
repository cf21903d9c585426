/**
 * `npm run fuzz -- [--cases 1000000] [--seed <number>] [<part of a file name>…]`: the fuzz project of vitest with these options.
 * A failure prints the input, made as small as it gets, and the seed. Put the input into test/fuzz/corpus.
 */
import { parseArgs } from 'node:util';
import { startVitest } from 'vitest/node';

const { values, positionals } = parseArgs({
  options: { cases: { type: 'string' }, seed: { type: 'string' } },
  allowPositionals: true,
});
for (const [name, text] of Object.entries(values)) {
  if (!/^[1-9]\d{0,8}$/.test(text)) {
    process.stderr.write(`--${name} takes a whole number from 1 to 999999999, not ${text}\n`);
    process.exit(2);
  }
}
if (values.cases !== undefined) process.env.FUZZ_CASES = values.cases;
if (values.seed !== undefined) process.env.FUZZ_SEED = values.seed;

const vitest = await startVitest('test', positionals, { project: 'fuzz', run: true, watch: false });
await vitest.close();
