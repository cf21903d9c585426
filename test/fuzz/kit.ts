/**
 * How a fuzz test runs: the corpus first, then made-up inputs of fast-check, from a seed that a failure prints.
 *
 * Owns the number of cases, the seed and the corpus: test/fuzz/corpus/<target>.json has each input that ever broke something,
 * with a line that says why. An input is therefore a JSON value; bytes are text with one character for each byte. A watchdog in
 * a thread of its own prints an input that never ends, which no time limit of a test could.
 */
import { existsSync, readFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { afterAll, describe, test } from 'vitest';

interface Entry {
  /** What it broke. */
  why: string;
  input: unknown;
}

const usualCases = 3_000;
const usualSeed = 20_261_128;
const cases = Number(process.env.FUZZ_CASES ?? usualCases);
const seed = Number(process.env.FUZZ_SEED ?? usualSeed);
const mostMsPerCase = 200;
const shownCharacters = 4_096;

/**
 * `check` throws, or rejects, if something that has to hold does not. `share`: of the cases, for what takes a socket or more
 * for each; one per cent is 30 cases in CI. `atOnce`: so many cases run at a time, for what mostly waits; `lane` says which of
 * them it is, from 0.
 */
export function fuzz<Input>(
  target: string,
  promise: string,
  inputs: fc.Arbitrary<Input>,
  check: (input: Input, lane: number) => void | Promise<void>,
  { share = 1, atOnce = 1 } = {},
): void {
  const count = Math.max(1, Math.ceil(cases * share));
  const several = fc.tuple(...Array.from({ length: atOnce }, () => inputs));
  describe(target, () => {
    const corpus = corpusOf(target);
    if (corpus.length > 0) {
      test.each(corpus)('what once broke it: $why', async ({ input }) => {
        watch(target, input);
        await check(input as Input, 0);
      });
    }
    test(`${promise} (${count} cases)`, { timeout: 120_000 + count * mostMsPerCase }, async () => {
      const property = fc.asyncProperty(several, async (all) => {
        watch(target, all);
        await Promise.all(all.map((input, lane) => check(input, lane)));
      });
      await fc.assert(property, { seed, numRuns: Math.ceil(count / atOnce) });
    });
  });
}

/** Bytes as a JSON value, one character for each. */
export function bytesOf(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

/** Any bytes; often those that mean something to what is tried. */
export function someBytes(telling: string, maxLength = 200): fc.Arbitrary<string> {
  const byte = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(...telling) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)) },
  );
  return fc.array(byte, { maxLength }).map((bytes) => bytes.join(''));
}

/** A good text with some places replaced, cut out or said twice: nearly good. */
export function nearly(good: fc.Arbitrary<string>, telling: string): fc.Arbitrary<string> {
  const change = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    length: fc.integer({ min: 0, max: 8 }),
    by: someBytes(telling, 4),
    twice: fc.boolean(),
  });
  return fc.tuple(good, fc.array(change, { maxLength: 3 })).map(([text, changes]) => {
    let changed = text;
    for (const { at, length, by, twice } of changes) {
      const from = Math.floor(at * changed.length);
      const cut = changed.slice(from, from + length);
      changed = changed.slice(0, from) + by + (twice ? cut + cut : '') + changed.slice(from + length);
    }
    return changed;
  });
}

function corpusOf(target: string): Entry[] {
  const file = new URL(`corpus/${target}.json`, import.meta.url);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Entry[]) : [];
}

/** [0]: signs of life of this thread. [1]: characters of the last input. Behind them: the input. */
const shared = new Int32Array(new SharedArrayBuffer(4 * (2 + shownCharacters)));
const hangsAfterMs = 10_000;
const watchdog = `
  const { workerData: shared } = require('node:worker_threads');
  const { writeSync } = require('node:fs');
  let before = -1;
  setInterval(() => {
    if (shared[0] === before && shared[1] > 0) {
      writeSync(2, 'fuzz: this input does not come to an end: ' + String.fromCharCode(...shared.subarray(2, 2 + shared[1])) + '\\n');
      process.kill(process.pid, 'SIGKILL');
    }
    before = shared[0];
  }, ${hangsAfterMs});
`;
// A case that waits for a socket lives, too.
setInterval(() => Atomics.add(shared, 0, 1), 1_000).unref();
const worker = new Worker(watchdog, { eval: true, workerData: shared });
worker.unref();
afterAll(() => {
  shared[1] = 0;
});

function watch(target: string, input: unknown): void {
  const text = `${target} ${JSON.stringify(input)}`.slice(0, shownCharacters);
  for (let index = 0; index < text.length; index++) shared[2 + index] = text.charCodeAt(index);
  shared[1] = text.length;
  Atomics.add(shared, 0, 1);
}
