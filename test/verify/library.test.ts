/**
 * `npm run verify`: applications with the client library, while nodes are killed, frozen and drained, and Redis is restarted.
 * Each hears every message once and in order or is told a gap, never has a second connection unasked, and holds no more
 * afterwards than before. `-- --library` runs it at full size, for two minutes.
 *
 * Broken copies of the library take part in the same run, and the same judge (checker.ts), which reads their lines apart, has
 * to find each of them.
 */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { onCleanup } from '../support/cleanup.ts';
import { Random } from '../unit/random.ts';
import { check } from './checker.ts';
import { startCluster } from './cluster.ts';
import { brokenLibraries, loadBroken, loadLibrary } from './library/builds.ts';
import { linesOf, Members } from './library/members.ts';
import { type PlannedFault, writeLog } from './log.ts';
import { type FaultKind, faults, plan } from './nemesis.ts';
import { nodeCount } from './nodes.ts';
import { readOptions } from './options.ts';
import { play } from './run.ts';
import { evidence, lacks, summarize, table } from './summary.ts';

const { library: full, minutes, seed } = readOptions(process.env);
const size = full
  ? { clients: 150, lossesPerSecond: 2, brokenClients: 6, messagesPerSecond: 70 }
  : { clients: 40, lossesPerSecond: 0.5, brokenClients: 6, messagesPerSecond: 200 };
const patienceMs = 90_000;
const aroundMs = 240_000;
/**
 * A frozen node is found within two intervals. A client has 2 s to move, also on a busy machine. The rates are the usual ones,
 * other than in runs with load clients.
 */
const settings = { PING_INTERVAL_MS: 2_000, DRAIN_MS: 6_000, PUBLISH_RATE: 50, REQUEST_RATE: 100 };

const nodeKinds: FaultKind[] = ['node killed', 'node frozen', 'node drained'];
/** Redis is restarted after so many rounds of the faults of nodes. */
const redisAfter = [2, 4];

/** In a long run, more than the time allows. A short one has no freeze. */
function schedule(random: Random): PlannedFault[] {
  const rounds = Array.from({ length: Math.ceil(minutes * 20) }, (_, index): FaultKind[] => {
    const round = random.shuffled(nodeKinds);
    return redisAfter.includes(index + 1) ? [...round, 'Redis killed'] : round;
  });
  if (full) return rounds.flat().map((kind) => plan(kind, random));
  // Two drains: while a client moves, a message has to come by both of its connections.
  const kinds: FaultKind[] = ['node killed', 'node drained', 'Redis killed', 'node drained'];
  return kinds.map((kind, index) => ({ ...plan(kind, random), node: index % nodeCount }));
}

test('applications with the client library lose nothing, and hold no more afterwards than before', {
  timeout: minutes * 60_000 + aroundMs,
}, async ({ task }) => {
  const [library, ...broken] = await Promise.all([loadLibrary(), ...brokenLibraries.map(loadBroken)]);
  const members = new Members({ ...size, library, broken });
  const rejections: unknown[] = [];
  const unhandled = (error: unknown) => void rejections.push(error);
  process.on('unhandledRejection', unhandled);
  onCleanup(() => process.off('unhandledRejection', unhandled));

  const planned = schedule(new Random(seed));
  const { log } = await play({
    ...{ seed, clients: size.clients, patienceMs, faults, schedule: planned },
    ...(full ? { minutes } : {}),
    start: () => startCluster(undefined, undefined, settings),
    async disturb() {
      // Without a network for seconds, so that each of them misses messages, on a fast machine too.
      for (const member of members.broken.flat()) member.lose(0, true);
    },
    async gather(...how) {
      const crowd = await members.gather(...how);
      return {
        ...crowd,
        async settle(deadlineMs) {
          await crowd.settle(deadlineMs);
          await members.heldAfter();
        },
      };
    },
  });
  await members.heldAtEnd();

  const lines = linesOf(log, members.good);
  const violations = check(lines);
  const summary = summarize(
    lines,
    members.good.flatMap(({ latencies }) => latencies),
  );
  const moves = members.good.reduce((sum, member) => sum + member.moves, 0);
  process.stdout.write(`library: seed ${seed}, ${size.clients} clients\n${table(summary, violations)}`);
  process.stdout.write(`  ${'moves'.padEnd(28)}${moves}\n`);
  if (violations.length > 0) {
    const path = join(tmpdir(), `roomcast-library-${seed}.jsonl`);
    await writeLog(path, log);
    process.stdout.write(`${evidence(violations)}\nthe whole log: ${path}\n`);
  }
  expect(violations.length, 'violations').toBe(0);
  expect(rejections).toEqual([]);
  const kinds = [...new Set(planned.map(({ kind }) => kind))];
  const missing = lacks(summary, kinds);
  if (full && (summary.faults.get('Redis killed') ?? 0) < redisAfter.length)
    missing.push('Redis was not restarted twice');
  if (moves === 0) missing.push('no client was asked to move');
  if (summary.recovered === 0) missing.push('no room was resumed');
  if (missing.length > 0) task.meta.verdict = 'uncounted';
  expect(missing, 'what the run lacks to count').toEqual([]);
  for (const [index, { breaks, expected }] of brokenLibraries.entries()) {
    const found = [...new Set(check(linesOf(log, members.broken[index] ?? [])).map(({ kind }) => kind))];
    process.stdout.write(`  a library that ${breaks} is caught by ${found.join(', ') || 'nothing'}\n`);
    expect(
      found.filter((kind) => expected.includes(kind)),
      breaks,
    ).not.toEqual([]);
  }
});
