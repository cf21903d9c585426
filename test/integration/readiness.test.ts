/**
 * What an operator sees while Redis refuses: /readyz says why in a sentence, numbers move, and the log stays short and in
 * JSON. Each test has a Redis of its own.
 */
import { Redis } from 'ioredis';
import { describe, expect, test } from 'vitest';
import { onCleanup } from '../support/cleanup.ts';
import { spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import type { OwnRedis } from '../support/redis-process.ts';
import { testSecret } from '../support/token.ts';
import { until } from '../support/until.ts';
import { get, metric, readiness } from './admin.ts';
import { roomsFile } from './files.ts';
import { enter } from './people.ts';
import { run } from './program.ts';

const deadlineMs = 10_000;
const keeping = { ROOMS_FILE: roomsFile({ match: 'kept:*', publish: 'user', history: {} }) };

function adminOf(redis: OwnRedis): Redis {
  const admin = new Redis(redis.url);
  onCleanup(() => admin.disconnect());
  return admin;
}

test.each([
  ['a right is missing', /Redis refuses writes: .*\(XADD\)/, 'ACL SETUSER default -xadd', 'ACL SETUSER default +xadd'],
  ['its memory is full', /Redis refuses writes: .*OOM/, 'CONFIG SET maxmemory 1', 'CONFIG SET maxmemory 0'],
])(
  'while %s the node is not ready and says so, each publish counts as failed; then all is well',
  async (_, why, take, give) => {
    const redis = await ownRedis();
    const node = await spawnNode({ REDIS_URL: redis.url, PUBLISH_RATE: 0, ...keeping });
    const admin = adminOf(redis);
    const call = (command: string) => admin.call(...(command.split(' ') as [string, ...string[]]));
    await until(async () => (await readiness(node)) === 200, deadlineMs, 'the node is ready');
    const ann = await enter(node, 'ann');
    await call(take);
    for (let left = 50; left > 0; left--) {
      expect(await ann.request({ type: 'publish', room: 'kept:a', data: 1 })).toMatchObject({ code: 'unavailable' });
    }
    await until(async () => (await readiness(node)) === 503, deadlineMs, 'the node is not ready');
    expect(await (await get(node, '/readyz')).text()).toMatch(why);
    expect(await metric(node, 'gateway_publishes_total{source="client",outcome="unavailable"}')).toBe(50);
    expect(await metric(node, 'gateway_backplane_up')).toBe(0);
    await call(give);
    await until(async () => (await readiness(node)) === 200, deadlineMs, 'the node is ready again');
    await ann.publish('kept:a', 2);
    expect(node.logs.filter(({ msg }) => msg === 'redis refused a command').length).toBeLessThan(3);
  },
);

test('without the right to ask what Redis is, the node says which one it misses, and every line it writes is JSON', async () => {
  const redis = await ownRedis();
  await adminOf(redis).call('ACL', 'SETUSER', 'default', '-info');
  const node = await spawnNode({ REDIS_URL: redis.url });
  expect(await (await get(node, '/readyz')).text()).toMatch(/Redis cannot be used: NOPERM.*info/);
  expect(node.logs.filter(({ level }) => level === undefined)).toEqual([]);
  expect(node.errors()).toBe('');
});

describe('in production without a Redis', () => {
  test('a node says loudly that it is alone, in the log, in /readyz and in a metric', async () => {
    const program = run({
      GATEWAY_PORT: '0',
      GATEWAY_ADMIN_PORT: '0',
      GATEWAY_JWT_SECRET: testSecret,
      NODE_ENV: 'production',
    });
    const listening = () => /.*"listening".*/.exec(program.output())?.[0] ?? '';
    const line = await until(listening, deadlineMs, 'it listens');
    expect(program.output()).toContain('THIS NODE IS alone: without GATEWAY_REDIS_URL');
    const node = JSON.parse(line) as { adminPort: number };
    const ready = await get(node, '/readyz');
    expect(ready.status).toBe(200);
    expect(await ready.text()).toContain('alone: without GATEWAY_REDIS_URL');
    expect(await metric(node, 'gateway_backplane_shared')).toBe(0);
  });
});
