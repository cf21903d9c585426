/**
 * A Redis for one test (or one file) that kills, stops or flushes it, so that no other test notices. It is never the
 * one of TEST_REDIS_URL. Ended with the test, or with the file when it was started outside of a test.
 */
import { onCleanup } from './cleanup.ts';
import { launchRedis } from './redis-ladder.ts';
import type { OwnRedis } from './redis-process.ts';

export async function ownRedis(): Promise<OwnRedis> {
  const { redis } = await launchRedis();
  onCleanup(() => redis.stop());
  return redis;
}
