/**
 * Users whose clients move from one node to another, because theirs drains or stands still: for everybody else they never
 * went, they are counted once as users all the while, and nothing of them is left behind.
 *
 * Nodes are processes; each test has a Redis of its own. Members that do not move: presence.test.ts.
 */
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import type { OkFrame, Position } from '../../shared/protocol.ts';
import { metric } from '../integration/admin.ts';
import { range } from '../integration/counting-member.ts';
import { roomsFile } from '../integration/files.ts';
import { enter, join, joinAll, messagesOf, names, randomRoom } from '../integration/people.ts';
import { presenceOf, story, untilTold, usersIn } from '../integration/presence-members.ts';
import { SteadyPublisher } from '../integration/steady-publisher.ts';
import { onCleanup } from '../support/cleanup.ts';
import { type Client, HandshakeRefusedError, okOf } from '../support/client.ts';
import { type NodeSettings, type SpawnedNode, spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until, within } from '../support/until.ts';
import { startBalancer } from '../verify/balancer.ts';

const reaped = 'gateway_members_reaped_total';
const users = names('u', 12);
const everybody = [...users, 'watcher'].sort();

/** Two nodes on a Redis of their own, all users in one room on the first, and a watcher on the other. */
async function party(settings: NodeSettings = {}) {
  const redis = await ownRedis();
  const rooms = roomsFile({ match: 'team:*', presence: true, joinLeave: true, history: { size: 100_000 } });
  const common = { REDIS_URL: redis.url, ROOMS_FILE: rooms, PUBLISH_RATE: 0, REQUEST_RATE: 0, ...settings };
  const [left, kept] = (await Promise.all([0, 1].map(() => spawnNode(common)))) as [SpawnedNode, SpawnedNode];
  const room = randomRoom('team');
  const clients = await joinAll(left, users, room);
  const watcher = await join(kept, 'watcher', room);
  await until(async () => (await presenceOf(watcher, room)).count === everybody.length, 5_000, 'all are there');
  return { redis, left, kept, room, clients, watcher };
}

/** Comes back to the room where `old` is; `recovered` or not is the caller's to check. */
async function follow(to: { url: string }, user: string, room: string, old: Client, start: Position) {
  const client = await enter(to, user);
  const since = { ...start, offset: messagesOf(old, room).at(-1)?.offset ?? start.offset };
  const answer: OkFrame = okOf(await client.request({ type: 'subscribe', room, since }, 15_000));
  return { client, answer };
}

/** Asks without end who is there; `stop` resolves with the numbers that were answered. */
function census(asking: Client, room: string) {
  const seen = { users: new Set<number>(), count: new Set<number>() };
  let going = true;
  const asked = (async () => {
    while (going) {
      const { count = 0, users = 0 } = await presenceOf(asking, room, { limit: 1 });
      seen.users.add(users);
      seen.count.add(count);
    }
  })();
  return {
    async stop() {
      going = false;
      await asked;
      return { users: [...seen.users], most: Math.max(...seen.count), least: Math.min(...seen.count) };
    },
  };
}

test('a drain: users that move before they leave never left, are one user each all the while, and nobody has to be reaped', async () => {
  const { redis, left, kept, room, clients, watcher } = await party({ DRAIN_NOTICE_MS: 300, DRAIN_MS: 3_000 });
  const publisher = new SteadyPublisher(await enter(kept, 'publisher'), room);
  const start = await watcher.publish(room, 'start');
  const position = { epoch: start.epoch ?? '', offset: start.offset ?? 0 };
  const told = story(watcher, room).length;
  const counting = census(watcher, room);
  const moves = clients.map(async (old, index) => {
    await old.next('reconnect', 10_000);
    const { client, answer } = await follow(kept, `u${index}`, room, old, position);
    expect(answer.recovered).toBe(true);
    await old.close();
    return [old, client] as const;
  });
  left.kill('SIGTERM');
  const moved = await Promise.all(moves);
  expect(await within(left.exited, 10_000, 'the node ends')).toEqual({ code: 0, signal: null });
  await until(
    async () => (await presenceOf(watcher, room)).count === everybody.length,
    5_000,
    'each has one connection',
  );
  const counted = await counting.stop();
  expect(counted.users).toEqual([everybody.length]);
  expect(counted.least).toBeGreaterThanOrEqual(everybody.length);
  expect(counted.most).toBeLessThanOrEqual(2 * users.length + 1);
  expect(await usersIn(watcher, room)).toEqual(everybody);
  expect(story(watcher, room).slice(told)).toEqual([]);
  for (const [, client] of moved) expect(story(client, room)).toEqual([]);

  // What another node would reap later: a lease that is not its own, and the rooms of one.
  const admin = new Redis(redis.url);
  onCleanup(() => admin.disconnect());
  expect(await admin.hlen('rc:nodes')).toBe(1);
  expect(await admin.keys('rc:node:*')).toHaveLength(1);
  expect(await metric(kept, reaped)).toBe(0);

  await publisher.stop();
  const last = publisher.outcomes.at(-1)?.position?.offset ?? 0;
  for (const [old, client] of moved) {
    await until(() => (messagesOf(client, room).at(-1)?.offset ?? 0) >= last, 10_000, 'the last message');
    const before = messagesOf(old, room).map(({ offset = 0 }) => offset);
    const after = messagesOf(client, room).map(({ offset = 0 }) => offset);
    expect(after).toEqual(range(after[0] ?? 0, (after[0] ?? 0) + after.length));
    expect([...new Set([...before, ...after])]).toEqual(range(before[0] ?? 0, (after.at(-1) ?? 0) + 1));
  }
}, 40_000);

test('a node that stands still: users that moved meanwhile never left, and do not come back as ghosts when it goes on', async () => {
  const { left, kept, room, clients, watcher } = await party();
  const { epoch = '', offset = 0 } = await watcher.publish(room, 'start');
  for (const client of clients) await client.next('message');
  const told = story(watcher, room).length;
  const counting = census(watcher, room);
  left.kill('SIGSTOP');
  const moved = await Promise.all(clients.map((old, index) => follow(kept, `u${index}`, room, old, { epoch, offset })));
  for (const client of clients) client.socket.terminate();
  await until(async () => (await metric(kept, reaped)) === users.length, 20_000, 'the old connections are reaped');
  const { users: counted } = await counting.stop();
  expect(counted).toEqual([everybody.length]);
  const afterwards = census(watcher, room);
  left.kill('SIGCONT');
  await until(async () => (await metric(left, 'gateway_freezes_total')) === 1, 10_000, 'it notices');
  // With its new lease it writes again; what it still held of before would be there by then, too.
  const late = await until(() => join(left, 'late', room), 10_000, 'it serves again');
  await untilTold(watcher, room, [...story(watcher, room).slice(0, told), 'join late'], 10_000);
  await until(async () => (await presenceOf(late, room)).count === everybody.length + 1, 10_000, 'both nodes agree');
  const { least, most } = await afterwards.stop();
  expect([least, most]).toEqual([everybody.length, everybody.length + 1]);
  for (const client of [watcher, late]) expect(await usersIn(client, room)).toEqual(['late', ...everybody].sort());
  for (const { client } of moved) expect(story(client, room)).toEqual(['join late']);
}, 60_000);

test('clients that come back to a node that drains are refused there, and behind a balancer land on the other, once', async () => {
  const { left, kept, room, clients, watcher } = await party({ DRAIN_NOTICE_MS: 2_000, DRAIN_MS: 600_000 });
  const balancer = await startBalancer();
  balancer.targets.push(left, kept);
  await until(() => balancer.ready[0] && balancer.ready[1], 5_000, 'the balancer has both');
  const { epoch = '', offset = 0 } = await watcher.publish(room, 'start');
  for (const client of clients) await client.next('message');
  const told = story(watcher, room).length;
  left.kill('SIGTERM');
  await until(() => left.logs.some(({ msg }) => msg === 'draining'), 5_000, 'the node drains');
  // The balancer may not have noticed yet; that makes no difference.
  const comingBack = clients.map(async (old, index) => {
    const refused = await enter(left, `u${index}`).catch((error: Error) => error);
    expect(refused).toBeInstanceOf(Error);
    if (refused instanceof HandshakeRefusedError) expect(refused.status).toBe(503);
    const back = () => follow(balancer, `u${index}`, room, old, { epoch, offset });
    const { client, answer } = await until(back, 10_000, 'a node takes it');
    expect(answer).toMatchObject({ epoch, offset, recovered: true });
    return client;
  });
  const back = await Promise.all(comingBack);
  for (const client of back) expect(client.frames[0]).toMatchObject({ type: 'welcome' });
  expect(await metric(kept, 'gateway_connections')).toBe(everybody.length);
  await until(
    async () => (await presenceOf(watcher, room)).count === 2 * users.length + 1,
    5_000,
    'all are there twice',
  );
  expect((await presenceOf(watcher, room)).users).toBe(everybody.length);
  for (const old of clients) await old.close();
  expect(await within(left.exited, 10_000, 'the node ends')).toEqual({ code: 0, signal: null });
  await until(async () => (await presenceOf(watcher, room)).count === everybody.length, 5_000, 'all are there once');
  expect(await usersIn(watcher, room)).toEqual(everybody);
  expect(story(watcher, room).slice(told)).toEqual([]);
}, 40_000);
