/**
 * Webhooks while nodes, Redis and the receiver fail, with nodes as processes and a Redis of each test's own: in the end the
 * receiver knows what is, it was told of everything, and nothing else was delayed.
 */
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { metric } from '../integration/admin.ts';
import { carrying, join, names, randomRoom } from '../integration/people.ts';
import { presenceRooms } from '../integration/presence-members.ts';
import { onCleanup } from '../support/cleanup.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { ownRedis, ownRedisOnDisk } from '../support/own-redis.ts';
import { until } from '../support/until.ts';
import { type WebhookEvent, WebhookReceiver } from '../support/webhook-receiver.ts';

/** The promise for a dead node: 10 s for its members, and a second for the batch. */
const convergedMs = 12_000;
/** Longer than a lease and the place of a sender, in which nothing more may come. */
const leaseAndMoreMs = 7_000;

async function cluster(count: number, url: string, more: Record<string, string> = {}) {
  const receiver = await new WebhookReceiver().start();
  const settings = { ROOMS_FILE: presenceRooms(), REDIS_URL: url, ...receiver.settings, ...more };
  const nodes = await Promise.all(
    Array.from({ length: count }, (_, index) => spawnNode({ ...settings, NODE_ID: `node${index}` })),
  );
  return { receiver, nodes: nodes as [SpawnedNode, SpawnedNode, ...SpawnedNode[]], settings };
}

function wait(ms: number): Promise<unknown> {
  const from = performance.now();
  return until(() => performance.now() - from > ms, ms + 5_000, `${ms} ms are over`);
}

/** Without repetitions: at least once is the promise. */
function once(events: WebhookEvent[]): WebhookEvent[] {
  return [...new Map(events.map((event) => [event.id, event])).values()];
}

test.each(['the sender', 'not the sender'])(
  'kill -9 of the last node with members, which is %s: one vacated for the room, one left for each user',
  async (which) => {
    const redis = await ownRedis();
    const { receiver, nodes, settings } = await cluster(1, redis.url);
    const first = nodes[0];
    const client = new Redis(redis.url);
    onCleanup(() => client.disconnect());
    await until(() => client.get('rc:outbox:sender'), 5_000, 'the first node sends');
    const rest = await Promise.all([spawnNode(settings), spawnNode(settings)]);
    const dying = which === 'the sender' ? first : rest[0];
    const survivors = [first, ...rest].filter((node) => node !== dying);
    const room = randomRoom('team');
    const watched = randomRoom('team');
    const users = names('u', 20);
    await Promise.all(users.map((user) => join(dying, user, room, watched)));
    const watcher = await join(survivors[0] as SpawnedNode, 'watcher', watched);
    await until(() => receiver.story(watched).length === 22, 5_000, 'all are told');
    const before = receiver.taken.length;

    dying.kill('SIGKILL');
    await until(() => once(receiver.taken.slice(before)).length >= 41, convergedMs, 'the end of all is told');
    await wait(leaseAndMoreMs);
    const told = once(receiver.taken).slice(once(receiver.taken.slice(0, before)).length);
    const of = (name: string) =>
      told.filter((event) => event.room === name).map(({ type, user }) => `${type} ${user ?? ''}`);
    expect(of(room).toSorted()).toEqual([...users.map((user) => `member.left ${user}`), 'room.vacated '].toSorted());
    expect(of(watched).toSorted()).toEqual(users.map((user) => `member.left ${user}`).toSorted());
    await watcher.close();
    await until(() => receiver.story(watched).at(-1) === 'room.vacated', 10_000, 'the other room is vacated');
  },
  60_000,
);

test('the sender is killed while the receiver hangs: another node sends all of it, and messages were never delayed', async () => {
  const redis = await ownRedis();
  const { receiver, nodes } = await cluster(2, redis.url);
  const client = new Redis(redis.url);
  onCleanup(() => client.disconnect());
  const sender = await until(() => client.get('rc:outbox:sender'), 5_000, 'a node sends');
  receiver.answer = () => 'never';
  const rooms = names(`${randomRoom('many')}:`, 60);
  const ann = await join(nodes[0], 'ann', ...rooms);
  const bob = await join(nodes[1], 'bob', ...rooms);
  await until(() => receiver.requests.length > 0, 5_000, 'a request hangs');
  const tooks: number[] = [];
  for (let number = 0; number < 90; number++) {
    const from = performance.now();
    const heard = bob.next(carrying(rooms[0] ?? '', number));
    await ann.publish(rooms[0] ?? '', number);
    await heard;
    tooks.push(performance.now() - from);
  }
  // Far below the time limit of a request, whatever else the machine does.
  expect(Math.max(...tooks)).toBeLessThan(2_000);
  const dying = sender?.startsWith('node0-') ? nodes[0] : nodes[1];
  dying.kill('SIGKILL');
  receiver.answer = () => 200;
  const isTold = (room: string) => receiver.story(room).includes('room.occupied');
  await until(() => rooms.every(isTold), convergedMs, 'all are told');
  expect(receiver.complaints).toEqual([]);
}, 60_000);

test('a receiver that hangs is tried again after 10 s, in order', async () => {
  const redis = await ownRedis();
  const { receiver, nodes } = await cluster(1, redis.url);
  const room = randomRoom('team');
  receiver.answer = (_, number) => (number === 1 ? 'never' : 200);
  const ann = await join(nodes[0], 'ann', room);
  await until(() => receiver.requests.length === 1, 5_000, 'a request hangs');
  await ann.close();
  await until(() => receiver.story(room).length === 4, 20_000, 'all are told');
  expect(receiver.story(room)).toEqual(['room.occupied', 'member.joined ann', 'member.left ann', 'room.vacated']);
  const [first, second] = receiver.requests;
  expect(second?.headers['webhook-id']).toBe(first?.headers['webhook-id']);
  expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThan(9_900);
  expect(receiver.mostUnderWay).toBe(1);
}, 60_000);

test('Redis forgets the last writes, among them the end of a room and of its members: both are told in the end', async () => {
  // It starts again from its last save.
  const redis = await ownRedisOnDisk('--appendonly', 'no');
  const { receiver, nodes } = await cluster(2, redis.url);
  const client = new Redis(redis.url);
  onCleanup(() => client.disconnect());
  client.on('error', () => undefined);
  const [gone, stays] = [randomRoom('team'), randomRoom('team')];
  await join(nodes[1], 'bob', stays);
  const ann = await join(nodes[0], 'ann', gone);
  await until(() => receiver.story(gone).length === 2 && receiver.story(stays).length === 2, 5_000, 'all are told');
  await client.save();
  receiver.answer = () => 500;
  await ann.close();
  await until(
    async () => (await client.keys(`rc:{${gone}}:*`)).every((key) => /:(position|ended)$/.test(key)),
    10_000,
    'ann is gone',
  );
  await redis.kill();
  await redis.start();
  receiver.answer = () => 200;
  await until(() => receiver.story(gone).includes('room.vacated'), 20_000, 'the end of the room is told');
  await until(() => receiver.story(gone).includes('member.left ann'), 20_000, 'the end of the member is told');
  await wait(leaseAndMoreMs);
  expect(receiver.story(stays).filter((line) => line !== 'room.occupied' && line !== 'member.joined bob')).toEqual([]);
  expect(await client.srandmember(`rc:{${stays}}:nodes`, 10)).toHaveLength(1);
}, 90_000);

test('Redis starts again empty: what is occupied is told again, and a room that was left meanwhile is vacated', async () => {
  const redis = await ownRedis();
  const { receiver, nodes } = await cluster(2, redis.url);
  const [gone, stays] = [randomRoom('room'), randomRoom('room')];
  const ann = await join(nodes[0], 'ann', gone);
  await join(nodes[1], 'bob', stays);
  await until(() => receiver.story(gone).length + receiver.story(stays).length === 2, 5_000, 'both are told');
  await redis.kill();
  await ann.close();
  await until(async () => (await metric(nodes[0], 'gateway_connections')) === 0, 5_000, 'ann is gone');
  await wait(3_000);
  await redis.start();
  await until(() => receiver.story(gone).at(-1) === 'room.vacated', 20_000, 'the end of the room is told');
  await until(() => receiver.story(stays).length === 2, 20_000, 'the other one is told again');
  await wait(leaseAndMoreMs);
  expect(receiver.story(stays)).toEqual(['room.occupied', 'room.occupied']);
}, 60_000);
