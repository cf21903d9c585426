/**
 * A separate Redis for a test (or a file) that kills, stops or flushes it, so that no other test notices. It is never the
 * one of TEST_REDIS_URL. It ends with the test, or with the file if it was started outside of a test.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onCleanup } from './cleanup.ts';
import { launchRedis } from './redis-ladder.ts';
import { launchRedisProcess, type OwnRedis } from './redis-process.ts';

export async function ownRedis(): Promise<OwnRedis> {
  const { redis } = await launchRedis();
  onCleanup(() => redis.stop());
  return redis;
}

/**
 * Keeps an append-only file, unless the settings (further arguments of `redis-server`) say otherwise: everything answered
 * before `kill` is there again after `start`. Always a process of this machine.
 */
export async function ownRedisOnDisk(...settings: string[]): Promise<OwnRedis> {
  const folder = await mkdtemp(join(tmpdir(), 'roomcast-redis-'));
  onCleanup(() => rm(folder, { recursive: true, force: true }));
  const redis = await launchRedisProcess(folder, ['--dir', folder, ...settings]);
  onCleanup(() => redis.stop());
  return redis;
}
