/** The contract of gateway/backplane.ts over memory, and over the Redis of this test run with two nodes. */
import { randomBytes } from 'node:crypto';
import { inject } from 'vitest';
import { MemoryBackplane } from '../../gateway/backplane-memory.ts';
import { RedisBackplane } from '../../gateway/backplane-redis.ts';
import { createLog } from '../../gateway/log.ts';
import { backplaneSuite } from './backplane-suite.ts';

backplaneSuite('the memory backplane', (dedupeMs) => [new MemoryBackplane(dedupeMs)]);

backplaneSuite('the Redis backplane, two nodes', (dedupeMs) => {
  const prefix = `${inject('redisPrefix')}:${randomBytes(6).toString('hex')}`;
  return ['one', 'two'].map(
    (node) =>
      new RedisBackplane({ url: inject('redisUrl'), prefix, node, dedupeMs, replicated: false }, createLog('silent')),
  );
});
