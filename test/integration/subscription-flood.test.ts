/**
 * Subscriptions by the thousand: what one connection may cost Redis and the metrics, and that nothing of it stays.
 *
 * Redis itself is asked what is subscribed (PUBSUB), under a prefix that only this file uses.
 */
import { Redis } from 'ioredis';
import { expect, inject, test } from 'vitest';
import { onCleanup } from '../support/cleanup.ts';
import { okOf } from '../support/client.ts';
import { startNode, type TestNode } from '../support/node.ts';
import { until } from '../support/until.ts';
import { metric, scrape } from './admin.ts';
import { carrying, dataOf, enter, join, names, randomRoom } from './people.ts';

const prefix = `${inject('redisPrefix')}-flood`;
const settings = { REDIS_URL: inject('redisUrl'), REDIS_PREFIX: prefix, PUBLISH_RATE: 0, REQUEST_RATE: 0 };
const nodes = [await startNode(settings), await startNode(settings)];
const [node = await startNode(settings)] = nodes;
const roomy = await startNode({ ...settings, MAX_ROOMS_PER_CONNECTION: 0 });
const redis = new Redis(settings.REDIS_URL);
onCleanup(() => redis.disconnect());

/** Channels of rooms whose names begin like this. */
async function channels(room: string): Promise<string[]> {
  const all = (await redis.pubsub('CHANNELS', `${prefix}*`)) as string[];
  return all.filter((channel) => channel.includes(room));
}

/** Subscribers of the one channel of a room, over all nodes. */
async function subscribers(room: string): Promise<number> {
  const [channel] = await channels(room);
  if (channel === undefined) return 0;
  const [, count] = (await redis.pubsub('NUMSUB', channel)) as [string, number];
  return Number(count);
}

/** Those of the gateway; what prom-client says of Node comes and goes with the garbage collector. */
async function ownSeries(node: TestNode): Promise<string[]> {
  return [...(await scrape(node)).keys()].filter((name) => name.startsWith('gateway_')).sort();
}

test('a hundred thousand rooms asked for on one socket: as many as allowed, each other one is refused', async () => {
  const [room, elsewhere] = [randomRoom(), randomRoom()];
  const [client, other] = [await enter(node, 'user'), await join(node, 'other', elsewhere)];
  let [joined, refused] = [0, 0];
  client.socket.on('message', (text) => {
    if (String(text).includes('"limit_exceeded"')) refused++;
    else if (String(text).includes('"ok"')) joined++;
  });
  for (let index = 0; index < 100_000; index++) {
    client.send(`{"type":"subscribe","id":${index},"room":"${room}${index}"}`);
    // As fast as the answers are read: this is no test of slow readers.
    if (index % 2_000 === 0) await until(() => joined + refused === index + 1, 10_000, 'the answers so far');
  }
  await until(() => joined + refused === 100_000, 20_000, 'all answers');
  expect([joined, refused]).toEqual([128, 99_872]);
  expect(await channels(room)).toHaveLength(128);
  expect(await metric(node, 'gateway_subscriptions')).toBe(129);

  await other.publish(elsewhere, 'undisturbed');
  await other.next(carrying(elsewhere, 'undisturbed'));
}, 60_000);

test('subscribing and leaving over and over, on two nodes, ends as it was last said', async () => {
  const room = randomRoom();
  const members = await Promise.all(nodes.map((each, index) => enter(each, `member${index}`)));
  for (let round = 0; round < 500; round++) {
    for (const member of members) {
      member.send({ type: 'subscribe', id: round, room });
      if (round % 3 === 0) member.send({ type: 'subscribe', id: round, room });
      member.send({ type: 'unsubscribe', id: round, room });
      // Frames may wait for a subscription, but not without end.
      if (round % 50 === 0) await member.subscribe(room);
    }
  }
  for (const member of members) await member.subscribe(room);
  expect(await subscribers(room)).toBe(2);
  await members[0]?.publish(room, 'hello');
  for (const member of members) {
    await member.next(carrying(room, 'hello'));
    expect(dataOf(member, room)).toEqual(['hello']);
  }
  for (const member of members) okOf(await member.request({ type: 'unsubscribe', room }));
});

test('a room is one subscription of its node, however many members it has, as long as one is left', async () => {
  const room = randomRoom();
  const members = await Promise.all(names('member', 30).map((user) => join(node, user, room)));
  expect(await subscribers(room)).toBe(1);
  const [last, ...others] = members;
  for (const member of others) member.socket.terminate();
  await until(async () => (await metric(node, 'gateway_subscriptions')) === 1, 5_000, 'one member is left');
  await last?.publish(room, 'still here');
  await last?.next(carrying(room, 'still here'));
  expect(await subscribers(room)).toBe(1);
});

test('ten thousand rooms, users and refusals add not one series to the metrics', async () => {
  const go = async (user: string, rooms: string[]) => {
    const client = await enter(roomy, user);
    for (let start = 0; start < rooms.length; start += 50) {
      await Promise.all(
        rooms.slice(start, start + 50).map(async (room) => {
          client.send({ type: 'publish', room: `@${room}`, data: 'forbidden' });
          await client.subscribe(room);
          await client.publish(room, 1, { key: room });
          await client.next(carrying(room, 1));
        }),
      );
    }
    client.socket.terminate();
  };
  await go('first', [randomRoom()]);
  await until(async () => (await metric(roomy, 'gateway_connections')) === 0, 5_000, 'the first is gone');
  const before = await ownSeries(roomy);
  expect(before.length).toBeGreaterThan(50);
  await Promise.all(names(randomRoom('user'), 20).map((user) => go(user, names(`${user}:room`, 500))));
  expect(await metric(roomy, 'gateway_messages_published_total{source="client"}')).toBe(10_001);
  expect(await ownSeries(roomy)).toEqual(before);
}, 60_000);

test('when all members are gone, so are all subscriptions in Redis and all rooms of the nodes', async () => {
  // The tests above have left rooms in every way: unsubscribed, closed, cut off.
  await until(async () => (await channels('room')).length === 0, 10_000, 'Redis holds no room');
  for (const each of [...nodes, roomy]) {
    expect(await metric(each, 'gateway_rooms')).toBe(0);
    expect(await metric(each, 'gateway_subscriptions')).toBe(0);
  }
});
