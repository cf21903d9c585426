/**
 * The contract of gateway/backplane/backplane.ts over a Redis in a container, by testcontainers, wherever there is a Docker engine
 * with the image; without one it says so and does not run. REQUIRE_DOCKER=1 makes that a failure.
 */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe } from 'vitest';
import { RedisBackplane } from '../../gateway/redis/backplane.ts';
import { createLog } from '../../gateway/telemetry/log.ts';
import { redisConnections } from '../support/redis-connections.ts';
import { dockerHasRedis, launchRedisContainer } from '../support/redis-container.ts';
import type { OwnRedis } from '../support/redis-process.ts';
import { backplaneSuite } from './backplane-suite.ts';

const runs = process.env.REQUIRE_DOCKER === '1' || (await dockerHasRedis());
if (!runs)
  process.stdout.write('the contract was not run over a Redis container: no Docker engine with redis:7-bookworm\n');

describe.skipIf(!runs)(`in a container${runs ? '' : ' (not run: no Docker engine with redis:7-bookworm)'}`, () => {
  let redis: OwnRedis | undefined;

  beforeAll(async () => {
    redis = await launchRedisContainer();
  });

  afterAll(() => redis?.stop());

  backplaneSuite('the Redis backplane, two nodes', (dedupeMs) => {
    if (redis === undefined) throw new Error('the container is started before the tests');
    const { url } = redis;
    const prefix = `rct:${randomBytes(6).toString('hex')}`;
    return ['one', 'two'].map(
      (node) =>
        new RedisBackplane(
          { redis: redisConnections(url), prefix, node, dedupeMs, replicated: false },
          createLog('silent'),
        ),
    );
  });
});
