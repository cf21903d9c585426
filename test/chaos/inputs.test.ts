/**
 * Redis Streams as inputs while nodes and Redis are killed: of 10,000 messages none is lost, none comes twice, and each room has its
 * own in order.
 */
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { type Entry, entries, saysThatItReads, startFlood, total } from '../inputs/flood.ts';
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

// What fails fails between two halves: the first is under way, and the second is not there yet, however fast the machine is.
const half = total / 2;

/** The first half is added, and has begun to come. */
async function begun(redisUrl: string, streamUrl = redisUrl) {
  const { all, rooms } = entries();
  const flood = await startFlood(redisUrl, { ...input, url: streamUrl }, rooms, saysThatItReads);
  const client = backend(streamUrl);
  await addAll(client, all.slice(0, half));
  await flood.untilCame(1_000);
  return { flood, client, addRest: () => addAll(client, all.slice(half)) };
}

const reader = (client: Redis) => client.get('orders:roomcast:reader');

test('the node that reads is killed: another one takes over', async () => {
  const redis = await ownRedisOnDisk();
  const { addRest, client, flood } = await begun(redis.url);
  flood.first.kill('SIGKILL');
  await addRest();
  await until(async () => /^(second|last)-/.test((await reader(client)) ?? ''), 15_000, 'another one reads');
  await flood.untilWhole();
}, 180_000);

test('the Redis of the rooms and of the stream is killed, and starts again', async () => {
  const redis = await ownRedisOnDisk();
  const { addRest, flood } = await begun(redis.url);
  await redis.kill();
  await redis.start();
  await addRest();
  await flood.untilCame(half + 1_000);
  await redis.kill();
  await redis.start();
  await flood.untilWhole();
}, 180_000);

test('the Redis of the rooms is away: the consumer waits, seldom tries, keeps its place, and loses nothing', async () => {
  const [redis, source] = [await ownRedisOnDisk(), await ownRedisOnDisk()];
  const { addRest, client, flood } = await begun(redis.url, source.url);
  await redis.kill();
  await addRest();
  const retried = () => metric(flood.first, 'gateway_input_messages_total{input="orders",result="retried"}');
  await until(async () => (await retried()) > 0, 10_000, 'it tries again');
  const [from, before] = [performance.now(), await retried()];
  await until(() => performance.now() - from > 5_000, 10_000, '5 s are over');
  // One message of each of 20 rooms at a time, in the end 1 to 2 s apart.
  expect((await retried()) - before).toBeLessThan(20 * 10);
  expect(await reader(client)).toMatch(/^first-/);
  expect(await metric(flood.first, 'gateway_input_lag_messages{input="orders"}')).toBeGreaterThanOrEqual(half);
  await redis.start();
  await flood.untilWhole();
}, 180_000);

test('the node that reads stands still longer than its place lasts, and goes on: nothing comes twice or out of order', async () => {
  const redis = await ownRedisOnDisk();
  const { addRest, client, flood } = await begun(redis.url);
  flood.first.kill('SIGSTOP');
  await addRest();
  await until(async () => /^(second|last)-/.test((await reader(client)) ?? ''), 20_000, 'another one reads');
  flood.first.kill('SIGCONT');
  await flood.untilWhole();
}, 180_000);
