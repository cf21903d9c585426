/**
 * What gateway/backplane/presence.ts promises while nodes die and Redis fails, with a Redis of its own for each test: the dead
 * leave, once; the living stay, and a node that was taken for dead enters again.
 */
import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { Present } from '../../gateway/backplane/presence.ts';
import { leaseMs } from '../../gateway/redis/presence/lease.ts';
import { type PresenceNode, redisNode } from '../contract/presence-node.ts';
import { outcome } from '../contract/recorder.ts';
import { redisClient } from '../contract/redis-node.ts';
import { faultProxy } from '../support/fault-proxy.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until, within } from '../support/until.ts';

/** From a death to the last leave. */
const reapedMs = 10_000;

/** A Redis, a node on it behind a proxy of its own, and others that reach it directly. */
async function cluster(others: number, ...rooms: string[]) {
  const redis = await ownRedis();
  const proxy = await faultProxy(redis.url);
  const prefix = `rct:${randomBytes(6).toString('hex')}`;
  const node = await redisNode(proxy.url, prefix, { listenUrl: redis.url }).start(...rooms);
  const rest = Array.from({ length: others }, () => redisNode(redis.url, prefix));
  await Promise.all(rest.map((each) => each.start(...rooms)));
  const [watcher] = rest;
  if (watcher === undefined) throw new Error('there is no other node');
  return { redis, proxy, prefix, node, rest, watcher };
}

function users(node: PresenceNode, count: number): Present[] {
  return Array.from({ length: count }, (_, index) => node.present(`u${index}`));
}

function all(type: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${type} u${index}`);
}

describe('a node dies', () => {
  test('its 2,500 members of one room and one member of 300 others leave within 10 s, each once, and no key remains', async () => {
    const { redis, proxy, prefix, node, rest, watcher } = await cluster(3, 'a', 'r7');
    const many = users(node, 2_500);
    for (let from = 0; from < many.length; from += 500) {
      await node.store.change('a', many.slice(from, from + 500), []);
    }
    const single = node.present('single');
    await Promise.all(Array.from({ length: 300 }, (_, index) => node.store.change(`r${index}`, [single], [])));
    const stays = watcher.present('stays');
    await watcher.store.change('a', [stays], []);
    await watcher.store.change('r7', [watcher.present('single')], []);
    const startedAt = performance.now();
    await node.die(() => proxy.cut());
    await proxy.close();
    const gone = async () => (await watcher.page('a')).count === 1 && (await watcher.page('r299')).count === 0;
    await until(gone, reapedMs, 'all have left');
    const left = () => watcher.story('a').filter((line) => line.startsWith('leave')).length === 2_500;
    await until(left, reapedMs - (performance.now() - startedAt), 'all is told');
    const keys = () => redisClient(redis.url).keys(`${prefix}:*${node.instance}*`);
    for (const each of rest) {
      await each.fence();
      expect(each.story('a').toSorted()).toEqual(
        [...all('join', 2_500), ...all('leave', 2_500), 'join stays'].toSorted(),
      );
      expect(each.story('r7')).toEqual(['join single']);
    }
    expect(rest.reduce((sum, { reapedMembers }) => sum + reapedMembers, 0)).toBe(2_800);
    expect(await watcher.page('a')).toEqual({ count: 1, users: 1, members: [stays], more: false });
    await until(async () => (await keys()).length === 0, 5_000, 'the lease is ended');
  }, 40_000);

  test('and the one that reaps it dies too: the third goes on, and everybody leaves once', async () => {
    const { redis, proxy, prefix, node, watcher } = await cluster(1, 'a', 'b');
    const secondProxy = await faultProxy(redis.url);
    const second = await redisNode(secondProxy.url, prefix, { listenUrl: redis.url }).start('a');
    await node.store.change('a', users(node, 10), []);
    await second.store.change('b', users(second, 10), []);
    await node.die(() => proxy.cut());
    await until(() => watcher.story('a').length > 10, reapedMs + 5_000, 'the first is being reaped');
    await second.die(() => secondProxy.cut());
    await until(() => watcher.story('b').length === 20, reapedMs + 5_000, 'the second is reaped');
    await watcher.untilStory('a', [...all('join', 10), ...all('leave', 10)]);
  }, 40_000);
});

describe('a node is cut off', () => {
  test('for longer than its lease: it is reaped, is told to sync, and its members are there again', async () => {
    const { proxy, node, watcher } = await cluster(1, 'a');
    const mine = users(node, 5);
    await node.store.change('a', mine, []);
    const before = node.doubts;
    proxy.mode = 'blackhole';
    await until(() => watcher.story('a').length === 10, reapedMs + 5_000, 'its members have left');
    expect(await outcome(node.store.change('a', mine, []))).toBe('unavailable');
    proxy.mode = 'pass';
    await until(() => node.doubts > before, 10_000, 'it is told to sync');
    await node.store.sync('a', () => mine);
    await watcher.untilStory('a', [...all('join', 5), ...all('leave', 5), ...all('join', 5)]);
    expect(await watcher.page('a')).toMatchObject({ count: 5, users: 5 });
    expect(watcher.reapedMembers).toBe(5);
  }, 40_000);

  test('for a moment: nobody leaves, and it is told to sync', async () => {
    const { proxy, node, watcher } = await cluster(1, 'a');
    await node.store.change('a', users(node, 5), []);
    const before = node.doubts;
    proxy.cut();
    await until(() => node.doubts > before, 10_000, 'it is told to sync');
    await watcher.fence();
    expect(watcher.story('a')).toEqual(all('join', 5));
  }, 20_000);

  test('while answers are lost: a change of unknown outcome is made once, and telling it again tells nothing', async () => {
    const { proxy, node, watcher } = await cluster(1, 'a');
    const mine = users(node, 3);
    proxy.mode = 'swallow replies';
    expect(await outcome(node.store.change('a', mine, []))).toBe('timeout');
    const before = node.doubts;
    proxy.mode = 'pass';
    await until(() => node.doubts > before, 10_000, 'it is told to sync');
    await node.store.sync('a', () => mine);
    await node.store.change('a', mine, []);
    await watcher.untilStory('a', all('join', 3));
    await watcher.fence();
    expect(watcher.story('a').toSorted()).toEqual(all('join', 3));
  }, 20_000);
});

describe('Redis', () => {
  test('is emptied while all connections stay: every node is told to sync, and enters everybody again', async () => {
    const { redis, node, watcher } = await cluster(1, 'a');
    const mine = users(node, 5);
    await node.store.change('a', mine, []);
    const before = node.doubts;
    await redisClient(redis.url).flushall();
    await until(() => node.doubts > before, 5_000, 'it is told to sync');
    await node.store.sync('a', () => mine);
    expect(await watcher.page('a')).toMatchObject({ count: 5, users: 5 });
    await watcher.fence();
    expect(watcher.story('a').filter((line) => line.startsWith('leave'))).toEqual([]);
  }, 20_000);

  test('hangs for longer than a lease: afterwards nobody is reaped who comes back', async () => {
    const { redis, node, rest, watcher } = await cluster(2, 'a');
    const mine = users(node, 5);
    await node.store.change('a', mine, []);
    await until(() => watcher.story('a').length === 5, 5_000, 'the joins are told');
    await redis.pause();
    const refused = async () => (await outcome(node.store.change('a', [], []))) === 'unavailable';
    await until(refused, 10_000, 'the node has given it up');
    const pausedAt = performance.now();
    await until(() => performance.now() - pausedAt > leaseMs + 1_000, 20_000, 'a lease is over');
    const before = [node, ...rest].map(({ doubts }) => doubts);
    await redis.resume();
    const back = () => [node, ...rest].every(({ doubts }, index) => doubts > (before[index] ?? 0));
    await until(back, 5_000, 'all are back');
    await node.store.sync('a', () => mine);
    const backAt = performance.now();
    await until(() => performance.now() - backAt > leaseMs + 2_000, 20_000, 'one more lease is over');
    await watcher.fence();
    expect(watcher.story('a').toSorted()).toEqual(all('join', 5));
    expect(await watcher.page('a')).toMatchObject({ count: 5, users: 5 });
    expect([node, ...rest].map(({ reapedMembers }) => reapedMembers)).toEqual([0, 0, 0]);
  }, 60_000);

  test('hangs while a node ends: it ends all the same', async () => {
    const { redis, node } = await cluster(1, 'a');
    await redis.pause();
    await within(node.store.close(), 5_000, 'the store is closed');
    await redis.resume();
  }, 20_000);

  test('refuses to store: changes are unavailable, nobody is reaped for that, and then all goes on', async () => {
    const { redis, node, watcher } = await cluster(1, 'a');
    const [first, next] = [node.present('first'), node.present('next')];
    await node.store.change('a', [first], []);
    const admin = redisClient(redis.url);
    await admin.config('SET', 'maxmemory', '1');
    expect(await outcome(node.store.change('a', [next], [first]))).toBe('unavailable');
    expect(await watcher.page('a')).toMatchObject({ count: 1, users: 1, members: [first] });
    const fullAt = performance.now();
    await until(() => performance.now() - fullAt > leaseMs + 2_000, 20_000, 'a lease is over');
    await admin.config('SET', 'maxmemory', '0');
    const taken = async () => (await outcome(node.store.sync('a', () => [next]))) === 'taken';
    await until(taken, 10_000, 'changes are taken');
    await watcher.untilStory('a', ['join first', 'join next', 'leave first']);
    expect(watcher.reapedMembers + node.reapedMembers).toBe(0);
  }, 40_000);

  test('holds what no node of this version wrote: it is left out of pages, and hinders nothing', async () => {
    const { redis, prefix, node, watcher } = await cluster(1, 'a');
    const admin = redisClient(redis.url);
    const mine = node.present('ann');
    await admin.zadd(`${prefix}:{a}:members`, 0, 'x', 0, 'a\nb\nc\nd', 0, `${node.instance}-0\n\n{\n`, 0, '');
    await node.store.change('a', [mine], []);
    expect((await watcher.page('a')).members).toEqual([mine]);
    await node.store.sync('a', () => [mine]);
    expect(await admin.zcard(`${prefix}:{a}:members`)).toBe(4);
    await admin.hset(`${prefix}:nodes`, 'no-dot', 'nonsense', '', '', 'x.1', 'y');
    const ended = async () => (await admin.hlen(`${prefix}:nodes`)) === 2;
    await until(ended, 2 * reapedMs, 'what does not beat is ended');
  }, 40_000);
});
