/**
 * The contract of gateway/backplane/backplane.ts over memory, and over the Redis of this test run with two nodes. These write
 * different envelopes, as nodes of two releases do that run beside each other.
 */
import { randomBytes } from 'node:crypto';
import { inject } from 'vitest';
import { MemoryBackplane } from '../../gateway/backplane/memory/backplane.ts';
import { RedisBackplane } from '../../gateway/redis/backplane.ts';
import type { EnvelopeVersion } from '../../gateway/redis/envelope.ts';
import { createLog } from '../../gateway/telemetry/log.ts';
import { redisConnections } from '../support/redis-connections.ts';
import { backplaneSuite } from './backplane-suite.ts';
import { historySuite } from './history-suite.ts';
import type { CreateBackplanes } from './recorder.ts';

const memory: CreateBackplanes = (dedupeMs) => [new MemoryBackplane(dedupeMs)];

const redis: CreateBackplanes = (dedupeMs) => {
  const prefix = `${inject('redisPrefix')}:${randomBytes(6).toString('hex')}`;
  const versions: EnvelopeVersion[] = [1, 2];
  return versions.map((envelopeVersion) => {
    const connections = redisConnections(inject('redisUrl'));
    const node = `node-${envelopeVersion}`;
    const options = { redis: connections, prefix, node, dedupeMs, replicated: false, envelopeVersion };
    return new RedisBackplane(options, createLog('silent'));
  });
};

for (const suite of [backplaneSuite, historySuite]) {
  suite('the memory backplane', memory);
  suite('the Redis backplane, two nodes that write different envelopes', redis);
}
