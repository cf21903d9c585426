/**
 * `npm run verify:roll`: a deploy under load, from the last released version to this one and back. One node after the other
 * is drained and started as the other version, so that both versions serve the same rooms for a while.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { builtProgram } from '../support/node.ts';
import { ownRedisOnDisk } from '../support/own-redis.ts';
import type { OwnRedis } from '../support/redis-process.ts';
import { administer } from './administrator.ts';
import { check } from './checker.ts';
import { startCluster } from './cluster.ts';
import { follow } from './failover-faults.ts';
import type { World } from './fault.ts';
import { buildLanded, isLandedHere, landedCommit } from './landed.ts';
import type { Entry } from './log.ts';
import { drain } from './node-faults.ts';
import { nodeCount } from './nodes.ts';
import { readOptions } from './options.ts';
import { play } from './run.ts';
import { evidence, summarize, table } from './summary.ts';

const { seed } = readOptions(process.env);
const clients = 100;
const patienceMs = 50_000;
const runTimeoutMs = 240_000;
/** Time that both versions run after each step. */
const besideMs = 1_000;

const isHere = await isLandedHere();
if (!isHere) {
  process.stdout.write(
    `verify:roll SKIPPED: the commit ${landedCommit} is not in this clone; \`git fetch --unshallow\` brings it.\n`,
  );
}

/** As after a failover: the master was a replica before. */
async function promoted(redis: OwnRedis): Promise<void> {
  const former = await ownRedisOnDisk('--repl-diskless-sync-delay', '0');
  await follow(redis, former);
  await administer(redis, (tell) => tell('REPLICAOF', 'NO', 'ONE'));
  await former.stop();
}

async function roll({ cluster, log }: World, program: string, kind: string): Promise<void> {
  for (let node = 0; node < nodeCount; node++) {
    log.push({ t: performance.now(), event: 'fault', kind, node, room: '' });
    await drain(cluster, node);
    await cluster.restartNode(node, { program });
    await cluster.untilHealthy();
    await pause(besideMs);
  }
}

/** Publishes that failed, except those whose client lost its connection, as clients of the crowd do. */
const isFailure = (entry: Entry) =>
  entry.event === 'nack' || (entry.event === 'unknown' && entry.code !== 'connection ended');
/** Gaps in messages; rooms with a small history also report trimmed ones. */
const isGap = (entry: Entry) => entry.event === 'gap' && entry.count !== 0 && entry.reason !== 'trimmed';

describe.skipIf(!isHere)('nodes of the last version and of this one take turns under load', () => {
  let landed = '';
  beforeAll(async () => {
    landed = await buildLanded();
  });

  test.each([
    ['Redis has always been the master', undefined],
    ['Redis was promoted', promoted],
  ])(
    'there and back, while %s: nothing is lost, doubled or refused, and nobody is told a gap',
    async (_, prepare) => {
      process.stdout.write(`roll: seed ${seed}, from ${landedCommit} to this version and back\n`);
      const { log, latencies } = await play({
        // A drain cuts the others; the native dialect moves without a word of it.
        ...{ seed, clients, dialects: ['native'], patienceMs, minutes: 0, faults: {}, schedule: [] },
        // The last version has no setting for the other dialects.
        start: () => startCluster(landed, prepare, {}),
        async disturb(world) {
          await pause(besideMs);
          await roll(world, builtProgram, 'to this version');
          await roll(world, landed, 'to the last version');
        },
      });
      const violations = check(log);
      const summary = summarize(log, latencies);
      process.stdout.write(`\n${table(summary, violations)}\n${evidence(violations)}\n`);
      expect(violations.length, 'violations').toBe(0);
      expect(log.filter(isFailure)).toEqual([]);
      expect(log.filter(isGap)).toEqual([]);
      expect(summary.recovered, 'resumes').toBeGreaterThan(clients);
    },
    runTimeoutMs,
  );
});
