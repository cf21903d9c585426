/** gateway/redis/connection/health.ts: when Redis is asked how it is, what its answer means, when that is forgotten. */
import { expect, test } from 'vitest';
import { BackplaneError } from '../../../gateway/backplane/backplane.ts';
import { RedisHealthProbe } from '../../../gateway/redis/connection/health.ts';
import { readHealth } from '../../../gateway/redis/connection/server-info.ts';

type Settle = (error: BackplaneError | undefined, reply: string | null) => void;

const info = (fields: Record<string, string | number>) =>
  Object.entries(fields)
    .map(([name, value]) => `${name}:${value}\r\n`)
    .join('');

/** A connection that keeps its questions. */
function connection() {
  const asked: Settle[] = [];
  return { asked, send: (_: unknown, settle: Settle) => void asked.push(settle) };
}

test('it asks at once, then every 15 s, and never twice without an answer', () => {
  const probe = new RedisHealthProbe();
  const redis = connection();
  for (let tick = 0; tick < 1_000; tick++) probe.tick(redis);
  expect(redis.asked).toHaveLength(1);
  redis.asked[0]?.(undefined, info({ used_memory: 5 }));
  expect(probe.health).toMatchObject({ gateway_redis_memory_used_bytes: 5 });
  probe.tick(redis);
  expect(redis.asked).toHaveLength(2);
  redis.asked[1]?.(undefined, info({ used_memory: 6 }));
  for (let tick = 0; tick < 60; tick++) probe.tick(redis);
  expect(redis.asked).toHaveLength(2);
  probe.tick(redis);
  expect(redis.asked).toHaveLength(3);
});

test('what is known is forgotten while Redis is away or refuses, and asked for at once when it is back', () => {
  const probe = new RedisHealthProbe();
  const redis = connection();
  probe.tick(redis);
  redis.asked[0]?.(undefined, info({ used_memory: 5 }));
  probe.tick(undefined);
  expect(probe.health).toBeUndefined();
  probe.tick(redis);
  expect(redis.asked).toHaveLength(2);
  redis.asked[1]?.(undefined, info({ used_memory: 5 }));
  expect(probe.health).toBeDefined();
  for (let tick = 0; tick < 61; tick++) probe.tick(redis);
  redis.asked[2]?.(new BackplaneError('unavailable', 'Redis refused it'), null);
  expect(probe.health).toBeUndefined();
});

test('no maxmemory is no limit, a failed write or rewrite of the append-only file is not ok, what is not told is left out', () => {
  const good = { aof_last_write_status: 'ok', aof_last_bgrewrite_status: 'ok' };
  const read = (fields: Record<string, string | number>) => readHealth(info(fields), undefined);
  expect(read({ maxmemory: 0 }).gateway_redis_memory_limit_bytes).toBe(Number.POSITIVE_INFINITY);
  expect(read({ maxmemory: 7 }).gateway_redis_memory_limit_bytes).toBe(7);
  expect(read(good).gateway_redis_aof_ok).toBe(1);
  expect(read({ ...good, aof_last_write_status: 'err' }).gateway_redis_aof_ok).toBe(0);
  expect(read({ ...good, aof_last_bgrewrite_status: 'err' }).gateway_redis_aof_ok).toBe(0);
  expect(read({ used_cpu_sys_main_thread: 1.5, used_cpu_user_main_thread: 2 }).gateway_redis_cpu_seconds_total).toBe(
    3.5,
  );
  expect(Object.keys(read({ connected_clients: 3 }))).not.toContain('gateway_redis_clients_limit');
});

test('the start of one process is one value, though its two clocks differ by a second; a restart is another', () => {
  const at = (second: number, uptime: number) => info({ server_time_usec: second * 1e6, uptime_in_seconds: uptime });
  const first = readHealth(at(1_000, 100), undefined);
  const second = readHealth(at(1_016, 115), first);
  const restarted = readHealth(at(1_030, 4), second);
  const starts = [first, second, restarted].map((health) => health.gateway_redis_start_time_seconds);
  expect(starts).toEqual([900, 900, 1_026]);
});
