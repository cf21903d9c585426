/**
 * `npm run verify`: nodes, Redis and the connections between them break in turn under load, and no promise may break. Then
 * come deliberately broken gateways, and the same harness must catch each of them.
 */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Random } from '../unit/random.ts';
import { brokenBuilds } from './broken-builds.ts';
import { check } from './checker.ts';
import { startCluster } from './cluster.ts';
import { writeLog } from './log.ts';
import { faults, plan, schedule } from './nemesis.ts';
import { readOptions } from './options.ts';
import { play } from './run.ts';
import { allDialects } from './speech.ts';
import { evidence, lacks, summarize, table } from './summary.ts';

const { minutes, seed, faults: chosen } = readOptions(process.env);
const alone = chosen === undefined ? '' : ` --faults "${chosen.join(',')}"`;
const clients = 200;
const aroundMs = 180_000;
const patienceMs = 50_000;
const briefly = { minutes: 0.2, clients: 60, patienceMs: 8_000 };

test('every promise holds while everything breaks', { timeout: minutes * 60_000 + aroundMs }, async ({ task }) => {
  process.stdout.write(`verify: seed ${seed}, ${minutes} min, ${clients} clients\n`);
  const planned = schedule(new Random(seed), minutes, chosen);
  const { log, latencies } = await play({
    ...{ seed, minutes, clients, faults, schedule: planned, patienceMs },
    start: () => startCluster(),
  });
  const violations = check(log);
  const summary = summarize(log, latencies);
  const missing = lacks(summary, chosen);
  task.meta.verdict = violations.length > 0 ? 'violations' : missing.length > 0 ? 'uncounted' : 'clean';
  process.stdout.write(`\n${table(summary, violations)}\n`);
  if (task.meta.verdict !== 'clean') {
    const path = join(tmpdir(), `roomcast-verify-${seed}.jsonl`);
    await writeLog(path, log);
    process.stdout.write(
      `${evidence(violations)}\nthe whole log: ${path}\nagain: npm run verify -- --seed ${seed}${alone}\n`,
    );
  }
  expect(violations.length, 'violations').toBe(0);
  expect(missing, 'what the run lacks to count').toEqual([]);
});

test.skipIf(chosen !== undefined).each(brokenBuilds)(
  'a gateway that $breaks is caught',
  { timeout: aroundMs },
  async ({ faults: kinds, dialects = allDialects, expected, make }) => {
    const random = new Random(seed);
    const planned = kinds.map((kind) => plan(kind, random));
    const { log } = await play({
      ...{ seed, ...briefly, dialects, faults, schedule: planned },
      start: () => startCluster(make()),
    });
    const found = new Set(check(log).map(({ kind }) => kind));
    process.stdout.write(`  caught by ${[...found].join(', ') || 'nothing'}\n`);
    expect([...found].filter((kind) => expected.includes(kind))).not.toEqual([]);
  },
);
