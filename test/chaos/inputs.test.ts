/**
 * Redis Streams as inputs while nodes and Redis are killed: of 10,000 messages none is lost, none comes twice, and each room has its
 * own in order.
 */
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { type Entry, entries, saysThatItReads, startFlood } from '../inputs/flood.ts';
import { metric } from '../integration/admin.ts';
import { onCleanup } from '../support/cleanup.ts';
import { ownRedisOnDisk } from '../support/own-redis.ts';
import { until } from '../support/until.ts';

const input = { kind: 'redis', stream: 'orders' };

function backend(url: string): Redis {
  const redis = new Redis(url);
  redis.on('error', () => undefined);
  onCleanup(() => redis.disconnect());
  return redis;
}

async function addAll(redis: Redis, all: readonly Entry[]): Promise<void> {
  for (let from = 0; from < all.length; from += 500) {
    const pipeline = redis.pipeline();
    for (const { room, number } of all.slice(from, from + 500))
      pipeline.xadd('orders', '*', 'room', room, 'data', number);
    await pipeline.exec();
  }
}

test('the node that reads is killed: another one takes over within seconds', async () => {
  const redis = await ownRedisOnDisk();
  const { all, rooms } = entries();
  const flood = await startFlood(redis.url, input, rooms, saysThatItReads);
  const client = backend(redis.url);
  await addAll(client, all);
  await flood.untilCame(2_000);
  flood.first.kill('SIGKILL');
  const killedAt = performance.now();
  const before = await client.get('orders:roomcast:reader');
  expect(before).toMatch(/^first-/);
  await until(
    async () => ((await client.get('orders:roomcast:reader')) ?? before) !== before,
    10_000,
    'another one reads',
  );
  expect(performance.now() - killedAt).toBeLessThan(8_000);
  await flood.untilWhole();
}, 180_000);

test('the Redis of the rooms and of the stream is killed, and starts again after a while', async () => {
  const redis = await ownRedisOnDisk();
  const { all, rooms } = entries();
  const flood = await startFlood(redis.url, input, rooms, saysThatItReads);
  await addAll(backend(redis.url), all);
  await flood.untilCame(2_000);
  await redis.kill();
  await redis.start();
  await flood.untilCame(5_000);
  await redis.kill();
  await redis.start();
  await flood.untilWhole();
}, 180_000);

test('the Redis of the rooms is away: the consumer waits, seldom tries, keeps its place, and loses nothing', async () => {
  const [redis, source] = [await ownRedisOnDisk(), await ownRedisOnDisk()];
  const { all, rooms } = entries();
  const flood = await startFlood(redis.url, { ...input, url: source.url }, rooms, saysThatItReads);
  const client = backend(source.url);
  await addAll(client, all);
  await flood.untilCame(2_000);
  await redis.kill();
  const retried = () => metric(flood.first, 'gateway_input_messages_total{input="orders",result="retried"}');
  await until(async () => (await retried()) > 0, 10_000, 'it tries again');
  const [from, before] = [performance.now(), await retried()];
  await until(() => performance.now() - from > 5_000, 10_000, '5 s are over');
  // 100 messages in 20 rooms, one of each room at a time, at least a second apart on the average.
  expect((await retried()) - before).toBeLessThan(20 * 8);
  expect(await client.get('orders:roomcast:reader')).toMatch(/^first-/);
  expect(await metric(flood.first, 'gateway_input_lag_messages{input="orders"}')).toBeGreaterThan(5_000);
  await redis.start();
  await flood.untilWhole();
  expect(await client.get('orders:roomcast:reader')).toMatch(/^first-/);
}, 180_000);

test('the node that reads stands still longer than its place lasts, and goes on: nothing comes twice or out of order', async () => {
  const redis = await ownRedisOnDisk();
  const { all, rooms } = entries();
  const flood = await startFlood(redis.url, input, rooms, saysThatItReads);
  const client = backend(redis.url);
  await addAll(client, all);
  await flood.untilCame(2_000);
  flood.first.kill('SIGSTOP');
  await until(
    async () => !/^first-/.test((await client.get('orders:roomcast:reader')) ?? 'first-'),
    15_000,
    'another one reads',
  );
  flood.first.kill('SIGCONT');
  await flood.untilWhole();
}, 180_000);
