/**
 * Finds the Redis of a test run: it takes the first rung that works, and prints which. Vitest runs this file once per
 * project that names it as its global setup; tests read the result by `inject('redisUrl')` and `inject('redisPrefix')`.
 *
 *   1. TEST_REDIS_URL          a Redis that others may share: all keys of the run begin with its prefix
 *   2. process                 `redis-server` on the PATH
 *   3. docker                  the image redis:7-bookworm, there or pulled
 *   4. apt                     as root on Debian or Ubuntu: installs redis-server, then as 2
 *
 * TEST_REDIS_RUNG=process|docker|apt forces one of the last three. No rung: the run fails, it never skips.
 */
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import type { TestProject } from 'vitest/node';
import { installPackage, succeeds } from './command.ts';
import { launchRedisProcess, type OwnRedis, untilRedisAnswers } from './redis-process.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    redisUrl: string;
    /** For GATEWAY_REDIS_PREFIX. No two runs share it. */
    redisPrefix: string;
  }
}

interface Rung {
  name: string;
  /** True if `launch` can work; may install what it needs. */
  reach(): Promise<boolean>;
  launch(): Promise<OwnRedis>;
}

const commandTimeoutMs = 10_000;
const hasRedisServer = () => succeeds('redis-server', ['--version'], commandTimeoutMs);

// testcontainers loads slowly, and most runs never need it.
const rungs: Rung[] = [
  { name: 'process', reach: hasRedisServer, launch: () => launchRedisProcess() },
  {
    name: 'docker',
    reach: async () => (await import('./redis-container.ts')).dockerHasRedis(),
    launch: async () => (await import('./redis-container.ts')).launchRedisContainer(),
  },
  {
    name: 'apt',
    reach: async () => (await installPackage('redis-server')) && (await hasRedisServer()),
    launch: () => launchRedisProcess(),
  },
];

/** Starts a Redis by the first of the rungs 2 to 4 that works. */
export async function launchRedis(): Promise<{ rung: string; redis: OwnRedis }> {
  const { TEST_REDIS_RUNG: forced } = process.env;
  for (const rung of rungs) {
    if (forced && forced !== rung.name) continue;
    if (await rung.reach()) return { rung: rung.name, redis: await rung.launch() };
  }
  throw new Error(
    'The tests need a Redis: set TEST_REDIS_URL, or put redis-server on the PATH, or run a Docker engine that has or ' +
      'can pull redis:7-bookworm, or run as root on Debian or Ubuntu so that redis-server can be installed by apt' +
      (forced ? ` (TEST_REDIS_RUNG=${forced} allows only that rung).` : '.'),
  );
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const prefix = `rct-${randomBytes(6).toString('hex')}`;
  const { TEST_REDIS_RUNG: forced, TEST_REDIS_URL: shared } = process.env;
  project.provide('redisPrefix', prefix);
  if (shared && !forced) {
    await untilRedisAnswers(shared, 'the Redis of TEST_REDIS_URL');
    project.provide('redisUrl', shared);
    say(project, `TEST_REDIS_URL, keys begin with ${prefix}`);
    return () => removeKeys(shared, prefix);
  }
  const { rung, redis } = await launchRedis();
  project.provide('redisUrl', redis.url);
  say(project, `${rung}, port ${redis.port}`);
  return () => redis.stop();
}

function say(project: TestProject, what: string): void {
  process.stdout.write(`Redis for the ${project.name} tests: ${what}\n`);
}

/** Removes the keys of this run from a shared Redis. */
async function removeKeys(url: string, prefix: string): Promise<void> {
  const redis = new Redis(url);
  for await (const keys of redis.scanStream({ match: `${prefix}*`, count: 1000 })) {
    if (keys.length > 0) await redis.unlink(...keys);
  }
  redis.disconnect();
}
