/**
 * Numbers for those who run a cluster: what became of each publish, how Redis is, how full a node is. Read from /metrics, as
 * Prometheus does.
 */
import { expect, test } from 'vitest';
import { connectWelcomed } from '../support/client.ts';
import { spawnNode, startNode } from '../support/node.ts';
import { ownRedisOnDisk } from '../support/own-redis.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { metric, scrape } from './admin.ts';
import { enter, randomRoom } from './people.ts';

const deadlineMs = 10_000;

test('each publish counts once, by what its sender was answered', async () => {
  const node = await startNode({ PUBLISH_RATE: 1, PUBLISH_BURST: 3 });
  const room = randomRoom();
  const ann = await enter(node, 'ann');
  await ann.publish(room, 1);
  for (const duplicate of [undefined, true]) {
    expect((await ann.request({ type: 'publish', room, key: 'k', data: 2 })) as object).toMatchObject(
      duplicate === undefined ? { type: 'ok' } : { type: 'ok', duplicate },
    );
  }
  expect(await ann.request({ type: 'publish', room, data: 3 })).toMatchObject({ code: 'rate_limited' });
  const guest = await connectWelcomed(node.url, await mintToken({ sub: 'guest', rooms: {} }));
  expect(await guest.request({ type: 'publish', room, data: 4 })).toMatchObject({ code: 'forbidden' });

  const series = await scrape(node);
  const counted = [...series].filter(([name, value]) => name.startsWith('gateway_publishes_total') && value > 0);
  expect(Object.fromEntries(counted)).toEqual({
    'gateway_publishes_total{source="client",outcome="ok"}': 2,
    'gateway_publishes_total{source="client",outcome="duplicate"}': 1,
    'gateway_publishes_total{source="client",outcome="rate_limited"}': 1,
    'gateway_publishes_total{source="client",outcome="forbidden"}': 1,
  });
  expect(series.get('gateway_publish_seconds_count')).toBe(3);
  expect(series.get('gateway_publish_seconds_sum')).toBeLessThan(5);
});

test('a publish by POST counts like one of a connection', async () => {
  const node = await startNode({ PUBLISH_RATE: 1, PUBLISH_BURST: 1 });
  const room = randomRoom();
  const authorization = `Bearer ${await mintToken({ sub: 'ann', rooms: { '*': ['publish'] } })}`;
  const post = async () => {
    const url = `${node.url.replace('ws:', 'http:').replace('/ws', '')}/rooms/${room}/messages`;
    const headers = { authorization, 'content-type': 'application/json' };
    return (await fetch(url, { method: 'POST', headers, body: '{"data":1}' })).status;
  };
  expect([await post(), await post()]).toEqual([200, 429]);
  const counted = (outcome: string) => metric(node, `gateway_publishes_total{source="client",outcome="${outcome}"}`);
  expect([await counted('ok'), await counted('rate_limited')]).toEqual([1, 1]);
});

test('a node tells how Redis is, by what Redis itself says; while it is away the node tells nothing', async () => {
  const redis = await ownRedisOnDisk('--maxmemory', '200mb', '--maxclients', '500');
  const node = await startNode({ REDIS_URL: redis.url });
  const ofRedis = async () => [...(await scrape(node))].filter(([name]) => name.startsWith('gateway_redis_'));
  await until(async () => (await ofRedis()).length > 0, deadlineMs, 'the node has asked');
  const told = Object.fromEntries(await ofRedis());
  expect(told).toMatchObject({
    gateway_redis_memory_limit_bytes: 200 * 2 ** 20,
    gateway_redis_clients: 3,
    gateway_redis_clients_limit: 500,
    gateway_redis_aof_enabled: 1,
    gateway_redis_aof_ok: 1,
    gateway_redis_replicas: 0,
    gateway_redis_evicted_keys_total: 0,
  });
  const now = Date.now() / 1000;
  expect(Math.abs(now - (told.gateway_redis_start_time_seconds ?? 0))).toBeLessThan(60);
  for (const name of [
    'memory_used_bytes',
    'commands_total',
    'received_bytes_total',
    'sent_bytes_total',
    'cpu_seconds_total',
  ]) {
    expect(told[`gateway_redis_${name}`], name).toBeGreaterThan(0);
  }
  expect(Object.keys(told)).toHaveLength(19);

  await redis.kill();
  await until(async () => (await ofRedis()).length === 0, deadlineMs, 'nothing is told of a Redis that is away');
  await redis.start();
  const isBack = async () => ((await metric(node, 'gateway_redis_clients')) > 0 ? true : undefined);
  await until(isBack, deadlineMs, 'it is told again');
});

test('a node says what it takes at most, and for how much of its life it was busy', async () => {
  const node = await spawnNode({ MAX_CONNECTIONS: 7, MAX_BUFFERED_TOTAL_BYTES: 2 ** 24 });
  const series = await scrape(node);
  expect(series.get('gateway_connections_limit')).toBe(7);
  expect(series.get('gateway_buffered_bytes_limit')).toBe(2 ** 24);
  const busy = series.get('gateway_event_loop_busy_seconds_total') ?? 0;
  expect(busy).toBeGreaterThan(0);
  // The start is told in whole seconds.
  expect(busy).toBeLessThan(1 + Date.now() / 1_000 - (series.get('process_start_time_seconds') ?? 0));
});
