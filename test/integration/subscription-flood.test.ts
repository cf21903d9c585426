/**
 * Thousands of subscriptions: the bounds on what one connection costs Redis and the metrics, and that nothing is left.
 *
 * PUBSUB of Redis lists the subscriptions, under a prefix that only this file uses.
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

/** Channels of rooms with this prefix. */
async function channels(room: string): Promise<string[]> {
  const all = (await redis.pubsub('CHANNELS', `${prefix}*`)) as string[];
  return all.filter((channel) => channel.includes(room));
}

/** Subscribers of the channel of a room, on all nodes. */
async function subscribers(room: string): Promise<number> {
  const [channel] = await channels(room);
  if (channel === undefined) return 0;
  const [, count] = (await redis.pubsub('NUMSUB', channel)) as [string, number];
  return Number(count);
}

/** Only the gateway's own series; prom-client's series of Node change with the garbage collector. */
async function ownSeries(node: TestNode): Promise<string[]> {
  return [...(await scrape(node)).keys()].filter((name) => name.startsWith('gateway_')).sort();
}

test('a hundred thousand subscribes on one socket: as many as allowed succeed, each other one is refused', async () => {
  const [room, elsewhere] = [randomRoom(), randomRoom()];
  const [client, other] = [await enter(node, 'user'), await join(node, 'other', elsewhere)];
  let [joined, refused] = [0, 0];
  client.socket.on('message', (text) => {
    if (String(text).includes('"limit_exceeded"')) refused++;
    else if (String(text).includes('"ok"')) joined++;
  });
  for (let index = 0; index < 100_000; index++) {
    client.send(`{"type":"subscribe","id":${index},"room":"${room}${index}"}`);
    // Waits for the answers: this is not a test of slow readers.
    if (index % 2_000 === 0) await until(() => joined + refused === index + 1, 10_000, 'the answers so far');
  }
  await until(() => joined + refused === 100_000, 20_000, 'all answers');
  expect([joined, refused]).toEqual([128, 99_872]);
  expect(await channels(room)).toHaveLength(128);
  expect(await metric(node, 'gateway_subscriptions')).toBe(129);

  await other.publish(elsewhere, 'undisturbed');
  await other.next(carrying(elsewhere, 'undisturbed'));
}, 60_000);

test('repeated subscribes and unsubscribes on two nodes end in the state of the last one', async () => {
  const room = randomRoom();
  const members = await Promise.all(nodes.map((each, index) => enter(each, `member${index}`)));
  for (let round = 0; round < 500; round++) {
    for (const member of members) {
      member.send({ type: 'subscribe', id: round, room });
      if (round % 3 === 0) member.send({ type: 'subscribe', id: round, room });
      member.send({ type: 'unsubscribe', id: round, room });
      // The number of frames that may wait for a subscription is bounded.
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

test('a room is one subscription of its node, with any number of members, until the last one leaves', async () => {
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

test('ten thousand rooms, users and refusals add no series to the metrics', async () => {
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

test('when all members have left, Redis has no subscriptions and the nodes have no rooms', async () => {
  // The tests above have left rooms in every way: unsubscribed, closed, disconnected.
  await until(async () => (await channels('room')).length === 0, 10_000, 'Redis holds no room');
  for (const each of [...nodes, roomy]) {
    expect(await metric(each, 'gateway_rooms')).toBe(0);
    expect(await metric(each, 'gateway_subscriptions')).toBe(0);
  }
});
