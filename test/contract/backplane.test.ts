/** The contract of gateway/backplane/backplane.ts over memory, and over the Redis of this test run with two nodes. */
import { randomBytes } from 'node:crypto';
import { inject } from 'vitest';
import { MemoryBackplane } from '../../gateway/backplane/memory/backplane.ts';
import { RedisBackplane } from '../../gateway/redis/backplane.ts';
import { createLog } from '../../gateway/telemetry/log.ts';
import { redisConnections } from '../support/redis-connections.ts';
import { backplaneSuite } from './backplane-suite.ts';
import { historySuite } from './history-suite.ts';
import type { CreateBackplanes } from './recorder.ts';

const memory: CreateBackplanes = (dedupeMs) => [new MemoryBackplane(dedupeMs)];

const redis: CreateBackplanes = (dedupeMs) => {
  const prefix = `${inject('redisPrefix')}:${randomBytes(6).toString('hex')}`;
  return ['one', 'two'].map(
    (node) =>
      new RedisBackplane(
        { redis: redisConnections(inject('redisUrl')), prefix, node, dedupeMs, replicated: false },
        createLog('silent'),
      ),
  );
};

for (const suite of [backplaneSuite, historySuite]) {
  suite('the memory backplane', memory);
  suite('the Redis backplane, two nodes', redis);
}
