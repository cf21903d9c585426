/**
 * What gateway/backplane/backplane.ts promises about rooms with history while Redis fails, each test with a Redis of its own: an
 * offset never stands for two messages, nothing acknowledged is lost without a new epoch, and what was refused was not
 * taken. A Redis that became the master: test/contract/history-failover.test.ts.
 */
import { describe, expect, test } from 'vitest';
import { positionTtlMs, unusedPositionTtlMs } from '../../gateway/backplane/backplane.ts';
import type { Position } from '../../shared/protocol.ts';
import { faultProxy } from '../support/fault-proxy.ts';
import { ownRedis, ownRedisOnDisk } from '../support/own-redis.ts';
import { monitorRedis } from '../support/redis-monitor.ts';
import { until } from '../support/until.ts';
import { keptWhenBack, offsetsOf, pageOf, publishKept, readAll, span } from './kept-room.ts';
import { keptPublication, outcome, publication } from './recorder.ts';
import { channelOf, deadlineMs, redisClient, redisNode, started, untilBack } from './redis-node.ts';

const dedupe = { by: 'ann', key: 'k' };

describe('Redis lost what it had', () => {
  test('all of it, by FLUSHALL: a new epoch from 1, which is told with the next message', async () => {
    const redis = await ownRedis();
    const [one, other] = [await started(redis.url, 'a'), await started(redis.url, 'a')];
    const [{ position }] = await publishKept(one, 'a', 3);
    await redisClient(redis.url).flushall();
    const [next] = await publishKept(other, 'a', 1);
    expect(next.position?.offset).toBe(1);
    expect(next.position?.epoch).not.toBe(position?.epoch);
    await one.untilFrames('a', 4);
    expect(one.events.at(-1)).toMatchObject({ kind: 'message', position: next.position });
    expect(await pageOf(one, 'a')).toMatchObject({ epoch: next.position?.epoch, top: 1, first: 1 });
  });

  test('nothing, killed and restarted with its append-only file: the epoch goes on, and so do offsets and keys', async () => {
    const redis = await ownRedisOnDisk();
    const [one, other] = [await started(redis.url, 'a'), await started(redis.url, 'a')];
    const [first] = await publishKept(one, 'a', 1, { dedupe });
    await publishKept(other, 'a', 4);
    const before = await pageOf(one, 'a');
    await redis.kill();
    await redis.start();
    expect(await keptWhenBack(one, 'a', { dedupe })).toEqual({ duplicate: true, position: first.position });
    const next = await keptWhenBack(other, 'a');
    expect(next.position).toEqual({ epoch: first.position?.epoch, offset: 6 });
    const after = await pageOf(one, 'a');
    expect(after).toMatchObject({ epoch: before.epoch, top: 6, first: 1 });
    expect(after.messages.slice(0, 5)).toEqual(before.messages);
  });

  test('what came after it was saved, restarted from that without an append-only file: a new epoch behind what is left, whoever asks first', async () => {
    const redis = await ownRedisOnDisk('--appendonly', 'no');
    const one = await started(redis.url);
    const rooms = ['read', 'published', 'not used later'];
    const epochs = new Map<string, string | undefined>();
    for (const room of rooms) epochs.set(room, (await publishKept(one, room, 3))[0].position?.epoch);
    await redisClient(redis.url).save();
    for (const room of rooms.slice(0, 2)) await publishKept(one, room, 4);
    await redis.kill();
    await redis.start();
    // A node that knows no position of before.
    const other = await started(redis.url);
    const page = await pageOf(other, 'read');
    expect(page).toMatchObject({ top: 3, base: 3, first: 1, messages: { length: 3 } });
    expect(page.epoch).not.toBe(epochs.get('read'));
    expect((await publishKept(other, 'read', 1))[0].position).toEqual({ epoch: page.epoch, offset: 4 });
    const [next] = await publishKept(other, 'published', 2);
    expect(next.position?.offset).toBe(4);
    expect(next.position?.epoch).not.toBe(epochs.get('published'));
    expect((await pageOf(other, 'not used later')).epoch).not.toBe(epochs.get('not used later'));
  });

  test('the messages of a room, evicted: its offsets go on, and the page says what is gone', async () => {
    const redis = await ownRedis();
    const one = await started(redis.url, 'a');
    const [{ position }] = await publishKept(one, 'a', 5);
    const epoch = position?.epoch;
    await redisClient(redis.url).del(`${channelOf('a')}:messages`);
    expect(await pageOf(one, 'a')).toEqual({ epoch, top: 5, base: 0, first: 6, messages: [] });
    const [next] = await publishKept(one, 'a', 1);
    expect(next.position).toEqual({ epoch, offset: 6 });
    expect(await pageOf(one, 'a')).toMatchObject({ epoch, top: 6, first: 6, messages: [{ offset: 6 }] });
  });

  test('the position of a room, evicted: a new epoch, in which no message of the old one is', async () => {
    const redis = await ownRedis();
    const one = await started(redis.url, 'a');
    for (const first of ['read', 'publish']) {
      const before = (await publishKept(one, 'a', 3))[0].position;
      await redisClient(redis.url).del(`${channelOf('a')}:position`);
      if (first === 'read') expect(await pageOf(one, 'a')).toMatchObject({ top: 0, first: 1, messages: [] });
      const [next] = await publishKept(one, 'a', 1);
      expect(next.position?.offset).toBe(1);
      expect(next.position?.epoch).not.toBe(before?.epoch);
      expect(await pageOf(one, 'a')).toMatchObject({ top: 1, first: 1, messages: [{ offset: 1 }] });
    }
  });

  test('messages that a node has seen: that node begins a new epoch, by publishing as by reading', async () => {
    const redis = await ownRedis();
    const one = await started(redis.url);
    for (const room of ['read', 'published']) {
      const [{ position }] = await publishKept(one, room, 3);
      const epoch = position?.epoch ?? '';
      // Not ahead, or of an epoch that is over: nothing was lost.
      for (const lastSeen of [
        { epoch, offset: 3 },
        { epoch: 'over', offset: 9 },
      ]) {
        expect(await pageOf(one, room, { lastSeen })).toMatchObject({ epoch, top: 3, messages: { length: 3 } });
      }
      const lastSeen = { epoch, offset: 4 };
      const next =
        room === 'read'
          ? (await pageOf(one, room, { lastSeen })).epoch
          : (await publishKept(one, room, 1, { lastSeen }))[0].position?.epoch;
      expect(next).not.toBe(epoch);
      const [last] = await publishKept(one, room, 1, { lastSeen });
      expect(last.position).toEqual({ epoch: next, offset: room === 'read' ? 4 : 5 });
      // Who comes from the epoch before goes on where this one began; who asks for all gets what was left, too.
      const from = async (after: Position) => (await pageOf(one, room, { after })).messages.map(({ offset }) => offset);
      expect(await from({ epoch, offset: 4 })).toEqual(room === 'read' ? [4] : [4, 5]);
      expect(await from({ epoch: next ?? '', offset: 0 })).toEqual(span(1, room === 'read' ? 4 : 5));
    }
  });
});

test('a position outlives its messages by far, one that was never used does not, and both are kept longer by use', async () => {
  const redis = await ownRedis();
  const one = await started(redis.url);
  const admin = redisClient(redis.url);
  const ttlOf = (room: string, key: string) => admin.pttl(`${channelOf(room)}:${key}`);
  // What is asked one after the other may differ by what Redis takes to answer.
  const [second, minute] = [1_000, 60_000];
  await publishKept(one, 'a', 1);
  expect(await ttlOf('a', 'messages')).toBeLessThanOrEqual(minute);
  expect(await ttlOf('a', 'messages')).toBeGreaterThan(0);
  expect(await ttlOf('a', 'position')).toBeGreaterThan(positionTtlMs - minute);
  await admin.pexpire(`${channelOf('a')}:position`, minute);
  await pageOf(one, 'a');
  expect(await ttlOf('a', 'position')).toBeGreaterThan(positionTtlMs - minute);
  const year = { size: 10, maxBytes: 10_000, ttlSeconds: 31_536_000 };
  await publishKept(one, 'long', 1, { history: year });
  expect(await ttlOf('long', 'position')).toBeGreaterThan((await ttlOf('long', 'messages')) - second);
  await pageOf(one, 'long');
  expect(await ttlOf('long', 'position')).toBeGreaterThan((await ttlOf('long', 'messages')) - second);
  await pageOf(one, 'unused');
  expect(await ttlOf('unused', 'position')).toBeLessThanOrEqual(unusedPositionTtlMs);
  expect(await ttlOf('unused', 'position')).toBeGreaterThan(unusedPositionTtlMs - minute);
});

describe('Redis refuses', () => {
  test.each([
    ['that has messages', 2],
    ['that is new', 0],
  ])('for want of memory, in a room %s: unavailable, nothing stored, delivered or remembered', async (_, before) => {
    const redis = await ownRedis();
    const one = await started(redis.url, 'a');
    if (before > 0) await publishKept(one, 'a', before);
    const admin = redisClient(redis.url);
    await admin.config('SET', 'maxmemory', '1');
    expect(await outcome(one.backplane.publish(keptPublication('a', { dedupe })))).toBe('unavailable');
    await admin.config('SET', 'maxmemory', '0');
    expect(await pageOf(one, 'a')).toMatchObject({ top: before, messages: { length: before } });
    const retried = await one.backplane.publish(keptPublication('a', { dedupe }));
    expect(retried).toMatchObject({ duplicate: false, position: { offset: before + 1 } });
    await one.fence();
    expect(one.frames('a')).toHaveLength(before + 1);
  });

  test('one of many that are published at once: unavailable, and all others are stored and delivered, in their order', async () => {
    const redis = await ownRedis();
    const one = await started(redis.url, 'a', 'b', 'bad');
    const admin = redisClient(redis.url);
    await publishKept(one, 'bad', 1);
    await admin.set(`${channelOf('bad')}:messages`, 'no stream');
    const rooms = span(1, 60).map((number) => (number % 10 === 5 ? 'bad' : number % 2 === 0 ? 'a' : 'b'));
    const outcomes = await Promise.all(rooms.map((room) => outcome(one.backplane.publish(keptPublication(room)))));
    expect(outcomes).toEqual(rooms.map((room) => (room === 'bad' ? 'unavailable' : 'taken')));
    for (const room of ['a', 'b']) {
      const count = rooms.filter((each) => each === room).length;
      expect(await readAll(one, room)).toHaveLength(count);
      await one.untilFrames(room, count);
      expect(one.frames(room)).toEqual(await readAll(one, room));
    }
    await admin.del(`${channelOf('bad')}:messages`);
    expect(offsetsOf(await publishKept(one, 'bad', 1))).toEqual([2]);
    await one.fence();
    expect(one.frames('bad')).toHaveLength(2);
    expect(one.backplane.up).toBe(true);
  });

  test('because it has forgotten the scripts: one refusal, then they are there again; reads alike', async () => {
    const redis = await ownRedis();
    const one = await started(redis.url, 'a');
    const [{ position }] = await publishKept(one, 'a', 1);
    const admin = redisClient(redis.url);
    await admin.script('FLUSH');
    expect(await outcome(one.backplane.publish(keptPublication('a')))).toBe('unavailable');
    expect((await keptWhenBack(one, 'a')).position).toEqual({ epoch: position?.epoch, offset: 2 });
    await admin.script('FLUSH');
    expect(await outcome(pageOf(one, 'a'))).toBe('unavailable');
    const page = await until(() => pageOf(one, 'a'), deadlineMs, 'reads work again');
    expect(page).toMatchObject({ epoch: position?.epoch, top: 2, messages: { length: 2 } });
  });

  test('because it has become a replica: nothing is taken or delivered, and when it is a master again all goes on', async () => {
    const redis = await ownRedis();
    const one = await started(redis.url, 'a');
    const [{ position }] = await publishKept(one, 'a', 3);
    const admin = redisClient(redis.url);
    await admin.replicaof('127.0.0.1', '1');
    expect(await outcome(one.backplane.publish(keptPublication('a')))).toBe('unavailable');
    expect(await outcome(pageOf(one, 'a'))).toBe('unavailable');
    await admin.replicaof('NO', 'ONE');
    // All connections are made anew; what comes before the room is subscribed again is told as missed.
    await untilBack(one, 'a');
    const next = await keptWhenBack(one, 'a');
    expect(next.position?.epoch === position?.epoch ? next.position?.offset : 4).toBe(4);
    await one.untilFrames('a', 4);
    await one.fence();
    expect(one.frames('a')).toHaveLength(4);
  });
});

describe('answers are late or lost', () => {
  test('a lost answer is a timeout; tried again with its key the message has one position and is delivered once', async () => {
    const redis = await ownRedis();
    const proxy = await faultProxy(redis.url);
    const one = await started(proxy.url);
    const other = await started(redis.url, 'a');
    await publishKept(other, 'a', 1);
    proxy.mode = 'swallow replies';
    expect(await outcome(one.backplane.publish(keptPublication('a', { dedupe })))).toBe('timeout');
    await other.untilFrames('a', 2);
    proxy.mode = 'pass';
    const again = await keptWhenBack(one, 'a', { dedupe });
    expect(again).toMatchObject({ duplicate: true, position: { offset: 2 } });
    await other.fence();
    expect(other.frames('a')).toHaveLength(2);
    expect(await pageOf(other, 'a')).toMatchObject({ top: 2, messages: { length: 2 } });
  });

  test('a Redis that is slow, but answers in time: everything is taken in the order of the calls, and nothing is told', async () => {
    const redis = await ownRedis();
    const one = await started(redis.url, 'a');
    await redis.pause();
    const pausedAt = performance.now();
    const asked = span(1, 200).map(() => one.backplane.publish(keptPublication('a')));
    const page = pageOf(one, 'a');
    await until(() => performance.now() - pausedAt > 700, deadlineMs, 'it has hung for a while');
    await redis.resume();
    expect(offsetsOf(await Promise.all(asked))).toEqual(span(1, 200));
    expect((await page).top).toBe(200);
    await one.untilFrames('a', 200);
    expect([one.roomsWithGap(), one.reconnects]).toEqual([[], 0]);
  });

  test('a Redis that is too slow: what timed out may have been taken, and has one position when tried again', async () => {
    const redis = await ownRedis();
    const one = await started(redis.url, 'a');
    await redis.pause();
    const keys = span(1, 50).map((number) => ({ by: 'ann', key: `${number}` }));
    const asked = keys.map((key) => outcome(one.backplane.publish(keptPublication('a', { dedupe: key }))));
    expect(new Set(await Promise.all(asked))).toEqual(new Set(['timeout']));
    await redis.resume();
    await untilBack(one, 'a');
    const again = [];
    for (const key of keys) again.push(await keptWhenBack(one, 'a', { dedupe: key }));
    expect(offsetsOf(again).sort((left, right) => Number(left) - Number(right))).toEqual(span(1, 50));
    expect(await pageOf(one, 'a')).toMatchObject({ top: 50, messages: { length: 50 } });
  });
});

describe('a message is acknowledged when a replica has it', () => {
  test('and is of unknown outcome without one: tried again with its key it is acknowledged, stored once', async () => {
    // A replica writes what it is given into its folder.
    const [redis, replica] = [await ownRedisOnDisk('--repl-diskless-sync-delay', '0'), await ownRedisOnDisk()];
    const one = await redisNode(redis.url, { replicated: true }).start();
    const sent = keptPublication('a', { dedupe });
    const startedAt = performance.now();
    expect(await outcome(one.backplane.publish(sent))).toBe('timeout');
    expect(await outcome(one.backplane.publish(sent))).toBe('timeout');
    expect(performance.now() - startedAt).toBeLessThan(6_000);
    const follower = redisClient(replica.url);
    await follower.replicaof('127.0.0.1', `${redis.port}`);
    expect(await keptWhenBack(one, 'a', { dedupe })).toMatchObject({ duplicate: true, position: { offset: 1 } });
    const [next] = await publishKept(one, 'a', 20);
    expect(next).toMatchObject({ duplicate: false, position: { offset: 2 } });
    expect(await follower.hget(`${channelOf('a')}:position`, 'offset')).toBe('21');
    expect(await outcome(one.backplane.publish(publication('plain')))).toBe('taken');
  });

  test('which is asked behind the message, also when that is published as the question before is answered', async () => {
    const redis = await ownRedis();
    const one = await redisNode(redis.url, { replicated: true }).start();
    const written: string[] = [];
    const rooms = ['first', 'second', 'third'];
    await monitorRedis(redis.url, (words) => {
      const room = rooms.find((each) => words.includes(channelOf(each)));
      written.push(room ?? words[0] ?? '');
    });
    const waits = () => written.filter((name) => /^wait$/i.test(name)).length;
    const publish = (room: string) => outcome(one.backplane.publish(keptPublication(room)));
    const first = publish('first');
    await until(() => waits() === 1, deadlineMs, 'a WAIT is under way');
    // There is no replica, so it is under way for a second.
    const second = publish('second');
    expect(await first).toBe('timeout');
    // Whatever follows from the answer without another turn of the event loop has been done.
    for (let times = 0; times < 20; times++) await undefined;
    const third = publish('third');
    expect(await Promise.all([second, third])).toEqual(['timeout', 'timeout']);
    expect(waits()).toBe(2);
    expect(written).toContain('third');
    expect(written.findLastIndex((name) => /^wait$/i.test(name))).toBeGreaterThan(written.indexOf('third'));
  });
});
