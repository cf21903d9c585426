/**
 * What gateway/backplane/presence.ts promises of a Redis store whose keys somebody deletes or replaces, or whose user loses a
 * right in the middle of a write: the next sync that Redis allows makes counts exact again, and whoever may have missed a
 * `join` or `leave` is told so. Each test has a Redis of its own. What nodes that die leave behind: test/chaos.
 */
import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import type { Present } from '../../gateway/backplane/presence.ts';
import { faultProxy } from '../support/fault-proxy.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until } from '../support/until.ts';
import { Random } from '../unit/random.ts';
import { type PresenceNode, quiet, redisNode } from './presence-node.ts';
import { outcome } from './recorder.ts';
import { redisClient } from './redis-node.ts';

/** Two nodes that listen in room `a`, and a client beside them. */
async function cluster() {
  const redis = await ownRedis();
  const prefix = `rct:${randomBytes(6).toString('hex')}`;
  const lines: string[] = [];
  const log = pino({}, { write: (line: string) => void lines.push(line) });
  const nodes = [redisNode(redis.url, prefix, { log }), redisNode(redis.url, prefix, { log })] as const;
  await Promise.all(nodes.map((node) => node.start('a')));
  const [one, other] = nodes;
  const admin = redisClient(redis.url);
  const key = (name: string) => `${prefix}:{a}:${name}`;
  return { redis, prefix, admin, nodes, one, other, key, lines };
}

const users = (node: PresenceNode, count: number): Present[] =>
  Array.from({ length: count }, (_, index) => node.present(`u${index % 5}`));
const counts = async (node: PresenceNode) => {
  const { count, users: number } = await node.page('a');
  return [count, number];
};

describe('a key is deleted', () => {
  test('that of connections by user: a sync of any node counts anew, and tells that frames may be missing', async () => {
    const { admin, nodes, one, other, key } = await cluster();
    const mine = users(one, 24);
    await one.store.change('a', mine, []);
    await admin.del(key('users'));
    await one.store.change('a', [], mine.slice(20));
    await other.store.sync('a', () => []);
    expect(await counts(one)).toEqual([20, 5]);
    // What comes and goes then is told as ever: the last of four connections of each, and no sooner.
    for (const from of [0, 5, 10]) await one.store.change('a', [], mine.slice(from, from + 5));
    await one.fence();
    const before = one.story('a');
    expect(before.filter((line) => line.startsWith('leave'))).toEqual([]);
    await one.store.change('a', [], mine.slice(15, 20));
    await Promise.all(nodes.map((node) => node.fence()));
    for (const node of nodes) {
      expect(node.recounts('a')).toBe(1);
      expect(node.story('a').slice(before.length).toSorted()).toEqual([0, 1, 2, 3, 4].map((user) => `leave u${user}`));
    }
    expect(await admin.keys(key('*'))).toEqual([]);
  });

  test('that of members: each node enters its own again', async () => {
    const { admin, one, other, key } = await cluster();
    const [mine, others] = [users(one, 7), users(other, 3)];
    await one.store.change('a', mine, []);
    await other.store.change('a', others, []);
    await admin.del(key('members'));
    await one.store.sync('a', () => mine);
    expect(await counts(one)).toEqual([7, 5]);
    await other.store.sync('a', () => others);
    expect(await counts(one)).toEqual([10, 5]);
    await one.fence();
    expect(one.recounts('a')).toBe(1);
  });

  test('that of members, in a room that announces nobody: the nodes are told all the same', async () => {
    const { admin, prefix, redis } = await cluster();
    const node = await redisNode(redis.url, prefix).start(quiet);
    const mine = users(node, 7);
    await node.store.change(quiet, mine, []);
    await admin.del(`${prefix}:{${quiet}}:members`);
    await node.page(quiet);
    await until(() => node.recounts(quiet) === 1, 5_000, 'the node is told');
    expect(node.story(quiet)).toEqual([]);
  });

  test('that of how many are counted, or it has expired: nobody is told anything, as nothing is wrong', async () => {
    const { admin, one, key } = await cluster();
    const mine = users(one, 7);
    await one.store.change('a', mine, []);
    expect(await admin.pttl(key('counted'))).toBeGreaterThan(3_500_000);
    await admin.del(key('counted'));
    await one.store.sync('a', () => mine);
    expect(await admin.get(key('counted'))).toBe('7 5');
    await one.fence();
    expect(one.recounts('a')).toBe(0);
    // A sync that changes nothing keeps it.
    await admin.pexpire(key('counted'), 60_000);
    await one.store.sync('a', () => mine);
    expect(await admin.pttl(key('counted'))).toBeGreaterThan(3_500_000);
  });
});

test.each(['members', 'users', 'counted'])(
  'the key of %s is of another type: one change is refused, the log names it, and a sync makes all right',
  async (name) => {
    const { admin, one, other, key, lines } = await cluster();
    const [mine, others] = [users(one, 7), users(other, 3)];
    await one.store.change('a', mine, []);
    await other.store.change('a', others, []);
    await admin.del(key(name));
    await admin.lpush(key(name), 'not ours');
    expect(await outcome(one.store.change('a', [one.present('new')], []))).toBe('unavailable');
    const isDeleted = () => lines.some((line) => line.includes('a key of another type was deleted'));
    await until(isDeleted, 5_000, 'it is deleted');
    expect(lines.some((line) => line.includes(`WRONGTYPE ${key(name)} is of another type`))).toBe(true);
    await one.store.sync('a', () => mine);
    await other.store.sync('a', () => others);
    expect(await counts(one)).toEqual([10, 5]);
  },
);

describe('a right is taken away', () => {
  const rights = [
    'zadd',
    'zrem',
    'zrangebylex',
    'hincrby',
    'hdel',
    'publish',
    'set',
    'get',
    'zcard',
    'hlen',
    'unlink',
    'del',
    'pexpire',
  ];

  test.each(rights)(
    '%s: when it is back, a sync makes counts exact, and members have been told of everybody or of a recount',
    async (right) => {
      const { admin, nodes, one, other } = await cluster();
      const random = new Random(rights.indexOf(right));
      const there = new Map<PresenceNode, Set<Present>>(nodes.map((node) => [node, new Set()]));
      const wanted = (node: PresenceNode) => there.get(node) ?? new Set();
      for (let round = 0; round < 30; round++) {
        const node = random.pick(nodes);
        const entered = [0, 1, 2].map(() => node.present(random.chance(0.2) ? null : `u${random.integer(0, 9)}`));
        const left = [...wanted(node)].filter(() => random.chance(0.3));
        for (const each of entered) wanted(node).add(each);
        for (const each of left) wanted(node).delete(each);
        if (random.chance(0.4)) await admin.call('ACL', 'SETUSER', 'default', `-${right}`);
        const refused = (await outcome(node.store.change('a', entered, left))) !== 'taken';
        if (refused && random.chance(0.3)) await outcome(node.store.sync('a', () => wanted(node)));
        await admin.call('ACL', 'SETUSER', 'default', `+${right}`);
        if (refused) await node.store.sync('a', () => wanted(node));

        const all = nodes.flatMap((each) => [...wanted(each)]);
        const names = new Set(all.map(({ user, connection }) => user ?? connection));
        expect(await counts(other)).toEqual([all.length, names.size]);
        await one.fence();
        const told = new Set<string>();
        for (const line of one.story('a')) {
          const [type, user = ''] = line.split(' ');
          if (type === 'join') told.add(user);
          else told.delete(user);
        }
        // Who was told of a recount has asked again; here everything has to add up until the first of them.
        if (one.recounts('a') === 0) expect(told).toEqual(names);
      }
      // PUBLISH alone can be refused when all is written; the others leave what the next write makes right, and tells.
      if (right === 'publish') expect(one.recounts('a')).toBeGreaterThan(0);
    },
  );
});

describe('a large room', () => {
  const many = 3_000;

  /** Its users are being counted by a node that died after the first part. */
  async function halfCounted() {
    const room = await cluster();
    const { redis, admin, prefix, one, other, key } = room;
    const members = Array.from({ length: many }, (_, index) => one.present(`user${index % 2_000}`));
    for (let from = 0; from < many; from += 500) await one.store.change('a', members.slice(from, from + 500), []);
    const guest = other.present('guest');
    await other.store.change('a', [guest], []);
    await admin.del(key('users'));
    const proxy = await faultProxy(redis.url);
    const dying = await redisNode(proxy.url, prefix).start();
    proxy.mode = 'swallow replies';
    expect(await outcome(dying.store.sync('a', () => []))).toBe('timeout');
    expect(await admin.get(key('counted'))).toMatch(/^0 \(/);
    return { ...room, members, guest };
  }

  test('is counted in parts of 500; one that was left in the middle is counted to the end by whoever asks next', async () => {
    const { admin, one, key } = await halfCounted();
    expect(await admin.hlen(key('users'))).toBeLessThanOrEqual(500);
    await admin.config('RESETSTAT');
    const { count, users: number } = await one.page('a');
    expect([count, number]).toEqual([many + 1, 2_001]);
    expect(Number(/cmdstat_evalsha:calls=(\d+)/.exec(await admin.info('commandstats'))?.[1])).toBeGreaterThan(6);
    await one.fence();
    expect(one.recounts('a')).toBe(1);
  });

  test('is right in the end, and for whoever asks meanwhile, where others come and go', async () => {
    const { admin, nodes, one, other, key, members, guest } = await halfCounted();
    const [late, gone] = [one.present('late'), members.filter((_, index) => index % 3 === 0)];
    const names = new Set(members.filter((_, index) => index % 3 !== 0).map(({ user }) => user));
    const leaving = [gone.slice(0, 500), gone.slice(500)].map((left) => one.store.change('a', [late], left));
    const pages = Array.from({ length: 20 }, (_, index) => counts(index % 2 === 0 ? one : other));
    for (const [count, number] of await Promise.all(pages)) {
      expect(count).toBeGreaterThanOrEqual(many - gone.length);
      expect(number).toBeGreaterThanOrEqual(names.size);
    }
    await Promise.all([other.store.sync('a', () => [guest]), ...leaving]);
    expect(await counts(other)).toEqual([many - gone.length + 2, names.size + 2]);
    expect(await admin.get(key('counted'))).toBe(`${many - gone.length + 2} ${names.size + 2}`);
    await Promise.all(nodes.map((node) => node.fence()));
    for (const node of nodes) expect(node.recounts('a')).toBe(1);
  });
});

test('nodes of a version that does not count beside this one: counts stay exact, and nobody is told of a recount', async () => {
  const { admin, one, other, key } = await cluster();
  const mine = users(one, 6);
  await one.store.change('a', mine, []);
  const theirs = other.present('old');
  for (let round = 0; round < 3; round++) {
    await admin.zadd(key('members'), 0, `${theirs.connection}\n1\n"old"\n`);
    await admin.hincrby(key('users'), '"old"', 1);
    await one.store.sync('a', () => mine);
    expect(await counts(one)).toEqual([7, 6]);
    await admin.zrem(key('members'), `${theirs.connection}\n1\n"old"\n`);
    await admin.hdel(key('users'), '"old"');
    await one.store.change('a', [], [mine[round] as Present]);
    await one.store.change('a', [mine[round] as Present], []);
    expect(await counts(one)).toEqual([6, 5]);
  }
  await one.fence();
  expect(one.recounts('a')).toBe(0);
});
