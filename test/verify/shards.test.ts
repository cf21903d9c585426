/**
 * `npm run verify`: a Redis Cluster whose slots move and whose primaries are killed, frozen, added and removed under load, and a
 * node that is killed. `-- --cluster` runs it with 10,000 rooms, for two minutes, then without confirmation by replicas, and
 * then with deliberately broken gateways, each of which has to be caught.
 */

import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, type TestContext, test } from 'vitest';
import { Random } from '../unit/random.ts';
import { check } from './checker.ts';
import { gather } from './crowd.ts';
import { type Entry, type PlannedFault, writeLog } from './log.ts';
import { readOptionsFor } from './options.ts';
import { play } from './run.ts';
import { brokenShards } from './shards/builds.ts';
import { type Sample, startBystanders } from './shards/bystanders.ts';
import { effectRows, lostOf, type Span } from './shards/effects.ts';
import { scheduleShards, shardFaultKinds, shardFaults } from './shards/faults.ts';
import { type Ack, dealt, roomPlansOf, type Size, startSite } from './shards/site.ts';
import { type Work, workOfAllRooms } from './shards/work.ts';
import { evidence, lacks, summarize, table } from './summary.ts';

const { cluster: full, minutes, seed, faults: chosen } = readOptionsFor(shardFaultKinds, process.env);
const small: Size = { rooms: 1_500, clients: 100, roomsPerClient: 30, messagesPerSecond: 150, slotsMoved: 100 };
const large: Size = { rooms: 10_000, clients: 400, roomsPerClient: 50, messagesPerSecond: 300, slotsMoved: 1_000 };
const size = full ? large : small;
const calmMs = full ? 15_000 : 5_000;
const patienceMs = 60_000;
const timeoutMs = 300_000 + (full ? minutes * 60_000 : 0);
/** More than the time allows. */
const rounds = full && chosen === undefined ? Math.ceil(2 * minutes) : 1;
const most = { unevenness: 0.15 };

interface Outcome {
  log: Entry[];
  latencies: number[];
  calm: Span;
  measured: Sample[];
  work: Work | undefined;
}

interface How {
  size: Size;
  ack: Ack;
  schedule: PlannedFault[];
  calmMs: number;
  minutes?: number;
  program?: string;
}

async function run({ size, ack, schedule, calmMs, minutes, program }: How): Promise<Outcome> {
  const rooms = roomPlansOf(size);
  let work: Work | undefined;
  let calm: Span = { from: 0, to: 0 };
  let endMeasuring: () => Promise<Sample[]> = async () => [];
  const played = await play({
    ...{ seed, clients: size.clients, faults: shardFaults, schedule, rooms, patienceMs },
    ...(minutes === undefined ? {} : { minutes }),
    start: () => startSite(size, rooms, ack, program),
    gather: (url, random, log) => {
      const { clients: count, messagesPerSecond } = size;
      const roomsOf = dealt(size, rooms, random);
      // Only the native dialect tells apart what was refused and what is unknown.
      return gather(url, { count, dialects: ['native'], messagesPerSecond, random, roomsOf }, log);
    },
    async prepare({ cluster, crowd, log }) {
      log.push({ t: performance.now(), event: 'concerns', rooms: [] });
      work = await workOfAllRooms(cluster.redis, crowd);
    },
    async disturb({ cluster }) {
      endMeasuring = await startBystanders(cluster);
      const from = performance.now();
      await pause(calmMs);
      calm = { from, to: performance.now() };
    },
  });
  return { ...played, calm, work, measured: await endMeasuring() };
}

async function judge(
  { log, latencies, calm, measured, work }: Outcome,
  task: TestContext['task'],
  ack: Ack,
): Promise<void> {
  const violations = check(log);
  const summary = summarize(log, latencies);
  const missing = lacks(summary, chosen ?? shardFaultKinds);
  const lost = lostOf(log);
  if (ack === 'stored' && lost === 0) missing.push('no acknowledged message was lost, so none had to be told');
  const share = work?.calls.join(' / ') ?? 'not counted';
  const rows: [string, string][] = [
    ['rooms', `${size.rooms}, ACK=${ack}`],
    ['work of the shards', `${share} calls, at most ${(100 * (work?.unevenness ?? 1)).toFixed(1)} % from the mean`],
    ...effectRows(log, measured, calm),
    ['acknowledged, then lost', lost === 0 ? '0' : `${lost}, told as new epochs`],
  ];
  task.meta.verdict = violations.length > 0 ? 'violations' : missing.length > 0 ? 'uncounted' : 'clean';
  process.stdout.write(`\n${table(summary, violations, rows)}\n`);
  if (task.meta.verdict !== 'clean') {
    const path = join(tmpdir(), `roomcast-verify-cluster-${ack}-${seed}.jsonl`);
    await writeLog(path, log);
    process.stdout.write(
      `${evidence(violations)}\nthe whole log: ${path}\nagain: npm run verify -- --cluster --seed ${seed}\n`,
    );
  }
  expect(violations.length, 'violations').toBe(0);
  if (ack === 'replicated') expect(lost, 'acknowledged, then lost').toBe(0);
  expect(missing, 'what the run lacks to count').toEqual([]);
  expect(work?.unevenness, 'the shards share the work').toBeLessThan(most.unevenness);
}

function planOf(ack: Ack): How {
  const schedule = scheduleShards(new Random(seed), rounds, chosen ?? shardFaultKinds);
  return { size, ack, schedule, calmMs, ...(full && chosen === undefined ? { minutes } : {}) };
}

test('while a Redis Cluster changes and fails, nothing that a replica has confirmed is lost, and rooms of other shards never notice', {
  timeout: timeoutMs,
}, async ({ task }) => {
  process.stdout.write(`verify --cluster: seed ${seed}\n`);
  await judge(await run(planOf('replicated')), task, 'replicated');
});

test.runIf(full)(
  'without confirmation by replicas, losses are told as new epochs',
  { timeout: timeoutMs },
  async ({ task }) => {
    await judge(await run(planOf('stored')), task, 'stored');
  },
);

test.runIf(full && chosen === undefined).each(brokenShards)(
  'a gateway that $breaks is caught',
  {
    timeout: timeoutMs,
  },
  async ({ fault, ack, expected, make }) => {
    const schedule = scheduleShards(new Random(seed), 1, [fault]);
    // Enough of the rooms move to be published to afterwards.
    const moving = { ...small, slotsMoved: large.slotsMoved };
    const { log } = await run({ size: moving, ack, schedule, calmMs: 0, program: make() });
    const found = new Set(check(log).map(({ kind }) => kind));
    process.stdout.write(`  caught by ${[...found].join(', ') || 'nothing'}\n`);
    expect([...found].filter((kind) => expected.includes(kind))).not.toEqual([]);
  },
);
