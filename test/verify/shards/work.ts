/**
 * How the shards share the work of messages: what each primary was asked to publish and to keep, as Redis counts it.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { RedisCluster } from '../../support/redis-cluster.ts';
import { until } from '../../support/until.ts';
import type { Crowd } from '../crowd.ts';

const deadlineMs = 60_000;
/** Between two clients. */
const spreadMs = 20;
const paddingCharacters = 100;

export interface Work {
  /** Of each primary: SPUBLISH and XADD. */
  calls: number[];
  /** The largest difference from the mean, as a share of it. */
  unevenness: number;
}

/** Every client publishes once in each of its rooms. Call it while nothing else is published. */
export async function workOfAllRooms(redis: RedisCluster, { clients }: Crowd): Promise<Work> {
  const before = await callsOf(redis);
  for (const client of clients) {
    for (const room of client.rooms) client.publish(room, paddingCharacters);
    await pause(spreadMs);
  }
  await until(() => clients.every(({ unsettled }) => unsettled === 0), deadlineMs, 'all of it is answered');
  const calls = (await callsOf(redis)).map((count, index) => count - (before[index] ?? 0));
  const mean = calls.reduce((sum, count) => sum + count, 0) / calls.length;
  return { calls, unevenness: Math.max(...calls.map((count) => Math.abs(count - mean) / mean)) };
}

async function callsOf(redis: RedisCluster): Promise<number[]> {
  const primaries = await redis.primaries();
  return Promise.all(
    primaries.map(async (server) => {
      const stats = await redis.ask(server, 'INFO', 'commandstats');
      return ['spublish', 'xadd'].reduce((sum, name) => sum + callsIn(stats, name), 0);
    }),
  );
}

function callsIn(stats: string, name: string): number {
  return Number(new RegExp(`^cmdstat_${name}:calls=(\\d+)`, 'm').exec(stats)?.[1] ?? 0);
}
