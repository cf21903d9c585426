/**
 * Keys of leases that somebody deletes or replaces, and then a node dies: within 10 s its members have left, each once, and
 * nobody else has. With a Redis of its own for each test. Keys of a room: test/contract/presence-repair.test.ts.
 */
import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { Present } from '../../gateway/backplane/presence.ts';
import { beatMs, leaseMs } from '../../gateway/redis/presence/lease.ts';
import { type PresenceNode, redisNode } from '../contract/presence-node.ts';
import { redisClient } from '../contract/redis-node.ts';
import { capturedLog } from '../support/captured-log.ts';
import { faultProxy } from '../support/fault-proxy.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until } from '../support/until.ts';

const reapedMs = 10_000;

/** A node that can die, and two others. Each has members in rooms `a` and `b`, and syncs them when it is told to. */
async function cluster() {
  const redis = await ownRedis();
  const admin = redisClient(redis.url);
  const proxy = await faultProxy(redis.url);
  const prefix = `rct:${randomBytes(6).toString('hex')}`;
  // One log for all of them.
  const { log, lines } = capturedLog();
  const dying = redisNode(proxy.url, prefix, { listenUrl: redis.url, log });
  const others = [redisNode(redis.url, prefix, { log }), redisNode(redis.url, prefix, { log })] as const;
  const nodes = [dying, ...others];
  for (const node of nodes) {
    const mine = [`${nodes.indexOf(node)}a`, `${nodes.indexOf(node)}b`].map((user) => node.present(user));
    await node.start('a', 'b');
    await inRooms(node, mine);
  }
  const die = async () => {
    await dying.die(() => proxy.cut());
    await proxy.close();
  };
  const index = async (node: PresenceNode) => (await admin.keys(`${prefix}:node:${node.instance}*`))[0] ?? '';
  const untilLeft = async () => {
    for (const room of ['a', 'b']) {
      // Not by asking who is there: that would find it out.
      const gone = async () => (await admin.zcard(`${prefix}:{${room}}:members`)) === 4;
      await until(gone, reapedMs, `the members of the dead node have left ${room}`);
    }
  };
  return { redis, admin, prefix, dying, others, nodes, die, index, untilLeft, lines, nodesKey: `${prefix}:nodes` };
}

/** The node has these members in both rooms, now and whenever Redis may lack them. */
async function inRooms(node: PresenceNode, members: Present[]): Promise<void> {
  node.onDoubt = () => {
    for (const room of ['a', 'b']) node.store.sync(room, () => members).catch(() => undefined);
  };
  for (const room of ['a', 'b']) await node.store.change(room, members, []);
}

const leavesOf = (node: PresenceNode, room: string) =>
  node
    .story(room)
    .filter((line) => line.startsWith('leave'))
    .toSorted();

async function expectOnlyTheDeadHaveLeft(others: readonly PresenceNode[]): Promise<void> {
  for (const node of others) {
    await node.fence();
    for (const room of ['a', 'b']) expect(leavesOf(node, room)).toEqual(['leave 0a', 'leave 0b']);
  }
}

type Cluster = Awaited<ReturnType<typeof cluster>>;

const faults: [what: string, fault: (cluster: Cluster) => Promise<unknown>][] = [
  ['the rooms of its lease are deleted', async ({ admin, index, dying }) => admin.del(await index(dying))],
  [
    'the rooms of its lease are replaced by text',
    async ({ admin, index, dying }) => admin.set(await index(dying), 'text'),
  ],
  ['the leases of all are replaced by text', async ({ admin, nodesKey }) => admin.set(nodesKey, 'text')],
  ['the leases of all are deleted', async ({ admin, nodesKey }) => admin.del(nodesKey)],
  [
    'all keys of all leases are deleted',
    async ({ admin, nodesKey, nodes, index }) => admin.del(nodesKey, ...(await Promise.all(nodes.map(index)))),
  ],
];

describe.each(faults)('%s', (_, fault) => {
  test('and it dies in the same moment: its members leave, once', async () => {
    const world = await cluster();
    await fault(world);
    await world.die();
    await world.untilLeft();
    await expectOnlyTheDeadHaveLeft(world.others);
    const keys = () => world.admin.keys(`${world.prefix}:node:${world.dying.instance}*`);
    await until(async () => (await keys()).length === 0, 2 * leaseMs, 'no key of it remains');
  }, 60_000);

  test('and it lives on: nobody is told anything, and when it dies later its members leave, once', async () => {
    const world = await cluster();
    const { admin, dying, others, nodesKey } = world;
    const before = dying.doubts;
    await fault(world);
    await until(() => dying.doubts > before, 10 * beatMs, 'it has found that out');
    const rooms = async () => (await admin.smembers(await world.index(dying))).toSorted();
    await until(async () => (await rooms()).join() === ',a,b', 10 * beatMs, 'its rooms are known again');
    const beats = async () => Object.keys(await admin.hgetall(nodesKey));
    await until(async () => (await beats()).length === 3, 10 * beatMs, 'all have their leases');
    const from = performance.now();
    await until(() => performance.now() - from > leaseMs + 2 * beatMs, 20_000, 'a lease is over');
    for (const node of others) {
      await node.fence();
      for (const room of ['a', 'b']) expect(leavesOf(node, room)).toEqual([]);
    }
    await world.die();
    await world.untilLeft();
    await expectOnlyTheDeadHaveLeft(others);
  }, 60_000);
});

test('all keys of all leases are deleted and one dies, while the others are slow to look into its second room: it leaves both', async () => {
  const { admin, prefix, others, die, untilLeft } = await cluster();
  for (const node of others) {
    const { members } = await node.page('a');
    const mine = members.filter(({ connection }) => connection.startsWith(node.instance));
    const sync = (room: string) => void node.store.sync(room, () => mine).catch(() => undefined);
    node.onDoubt = () => {
      sync('a');
      setTimeout(sync, 2 * beatMs, 'b');
    };
  }
  await admin.del(`${prefix}:nodes`, ...(await admin.keys(`${prefix}:node:*`)));
  await die();
  await untilLeft();
  await expectOnlyTheDeadHaveLeft(others);
}, 60_000);

test('the leases of all are deleted again and again: nobody leaves who lives, and no lease remains beside theirs', async () => {
  const { admin, nodes, others, nodesKey } = await cluster();
  for (let round = 0; round < 12; round++) {
    const from = performance.now();
    await until(() => performance.now() - from > 0.7 * beatMs, 20_000, 'a beat is over, mostly');
    await admin.del(nodesKey);
  }
  const settled = async () => (await admin.hlen(nodesKey)) === nodes.length;
  await until(settled, 3 * leaseMs, 'only those who live have a lease');
  for (const node of others) {
    await node.fence();
    for (const room of ['a', 'b']) {
      expect(leavesOf(node, room)).toEqual([]);
      expect(await node.page(room)).toMatchObject({ count: 6, users: 6 });
    }
  }
}, 60_000);

test('the leases of all are replaced by text: the key is deleted, the log says so once, and nobody has left', async () => {
  const { admin, nodes, others, nodesKey, lines } = await cluster();
  await admin.set(nodesKey, 'text');
  const hasLeases = async () =>
    (await admin.type(nodesKey)) === 'hash' && (await admin.hlen(nodesKey)) === nodes.length;
  await until(hasLeases, 3 * leaseMs, 'all have a lease');
  expect(
    lines.filter((line) => line.includes('a key of another type was deleted') && line.includes(nodesKey)),
  ).toHaveLength(1);
  const complete = async () =>
    (await Promise.all(['a', 'b'].map((room) => others[0].page(room)))).every(({ count }) => count === 6);
  await until(complete, 2 * leaseMs, 'everybody is there');
  for (const node of others) {
    await node.fence();
    for (const room of ['a', 'b']) expect(leavesOf(node, room)).toEqual([]);
  }
}, 60_000);

test('members of a lease that nobody knows, in a room that no node is in: whoever asks finds them gone in 10 s', async () => {
  const { admin, prefix, nodes, others } = await cluster();
  const members = Array.from({ length: 30 }, (_, index) => `gone-0123456789-${index}\n1\n"u${index}"\n`);
  await admin.zadd(`${prefix}:{empty}:members`, ...members.flatMap((member) => [0, member]));
  expect((await others[0].page('empty')).count).toBe(30);
  // Nobody is called dead at first sight.
  const from = performance.now();
  await until(async () => (await others[1].page('empty')).count === 0, reapedMs, 'they are gone');
  expect(performance.now() - from).toBeGreaterThan(leaseMs - beatMs);
  expect(nodes.reduce((sum, { reapedMembers }) => sum + reapedMembers, 0)).toBe(30);
  await until(async () => (await admin.keys(`${prefix}:*gone*`)).length === 0, leaseMs, 'no key remains');
  expect(await admin.keys(`${prefix}:{empty}*`)).toEqual([]);
}, 30_000);
