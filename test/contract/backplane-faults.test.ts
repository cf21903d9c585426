/**
 * What gateway/backplane/backplane.ts promises while Redis fails, with a Redis of its own for each test that is killed, refuses, or
 * is fed with foreign bytes. Nothing here waits for a fixed time: each test waits for what the node is told. A Redis that
 * hangs: test/chaos/backplane-hangs.test.ts.
 */
import { describe, expect, test } from 'vitest';
import { capturedLog } from '../support/captured-log.ts';
import { faultProxy } from '../support/fault-proxy.ts';
import { ownRedis, ownRedisOnDisk } from '../support/own-redis.ts';
import { until } from '../support/until.ts';
import { outcome, publication } from './recorder.ts';
import {
  channelOf,
  deadlineMs,
  prefix,
  publishWhenBack,
  redisClient,
  redisNode,
  started,
  untilBack,
} from './redis-node.ts';

describe('Redis is killed and comes back', () => {
  test('each subscribed room is told once that it missed something, before its next message, and others are not', async () => {
    const redis = await ownRedis();
    const one = await started(redis.url, 'a', 'b', 'left', 'left later');
    const other = await started(redis.url, 'a');
    const before = publication('a');
    await one.backplane.publish(before);
    await one.untilFrames('a', 1);
    one.backplane.unsubscribe('left');
    await redis.kill();
    await one.untilUp(false);
    one.backplane.unsubscribe('left later');
    await redis.start();
    await untilBack(one, 'a', 'b');
    const next = await publishWhenBack(other, 'a');
    await one.untilFrames('a', 2);
    await one.fence(other);
    expect(one.story('a')).toEqual([before.frame, 'interrupted', next]);
    expect(one.roomsWithGap().sort()).toEqual(['a', 'b']);
    expect(one.reconnects).toBeGreaterThan(0);
    for (const room of ['left', 'left later']) await other.backplane.publish(publication(room));
    await one.fence(other);
    expect([...one.story('left'), ...one.story('left later')]).toEqual([]);
  });

  test('the notice comes first also when others publish all the while', async () => {
    const redis = await ownRedis();
    const rooms = Array.from({ length: 50 }, (_, index) => `r${index}`);
    const one = await started(redis.url, ...rooms);
    await redis.kill();
    await redis.start();
    const busy = redisClient(redis.url);
    const caughtUp = () => rooms.every((room) => one.frames(room).length > 0);
    let at = 0;
    const publishAll = async () => {
      at += 1;
      await Promise.all(rooms.map((room) => busy.publish(channelOf(room), `1m${String(at).padStart(13, '0')}\n{}`)));
      return caughtUp();
    };
    await until(publishAll, deadlineMs, 'every room has messages again');
    for (const room of rooms) {
      const [first, ...rest] = one.story(room);
      expect(first, room).toBe('interrupted');
      expect(rest, room).not.toContain('interrupted');
    }
  });

  test('while it is away publications are refused at once, and the node is not up', async () => {
    const redis = await ownRedis();
    const one = await started(redis.url, 'a');
    await redis.kill();
    await one.untilUp(false);
    const startedAt = performance.now();
    const keyed = publication('a', { dedupe: { by: 'ann', key: 'k' } });
    for (const each of [publication('a'), keyed])
      expect(await outcome(one.backplane.publish(each))).toBe('unavailable');
    expect(performance.now() - startedAt).toBeLessThan(1_000);
    await redis.start();
    await publishWhenBack(one, 'a');
    expect(await one.backplane.publish(keyed)).toEqual({ duplicate: false });
  });

  test('publications under way at the kill have an unknown outcome, and are told so at once', async () => {
    const redis = await ownRedis();
    const one = await started(redis.url, 'a');
    await redis.pause();
    const under = [publication('a'), publication('a', { dedupe: { by: 'ann', key: 'k' } })];
    const outcomes = under.map((each) => outcome(one.backplane.publish(each)));
    const startedAt = performance.now();
    await redis.kill();
    expect(await Promise.all(outcomes)).toEqual(['timeout', 'timeout']);
    expect(performance.now() - startedAt).toBeLessThan(1_400);
  });

  test('a room asked for meanwhile is refused as unavailable, and works afterwards without being asked for again', async () => {
    const redis = await ownRedis();
    const one = await started(redis.url);
    const other = await started(redis.url);
    await redis.kill();
    await one.untilUp(false);
    expect(await outcome(one.backplane.subscribe('a'))).toBe('unavailable');
    expect(await outcome(one.backplane.subscribe('given up'))).toBe('unavailable');
    one.backplane.unsubscribe('given up');
    await redis.start();
    await untilBack(one, 'a');
    const next = await publishWhenBack(other, 'a');
    await other.backplane.publish(publication('given up'));
    await one.fence(other);
    expect(one.story('a')).toEqual([next]);
    expect(one.story('given up')).toEqual([]);
  });

  test('several times, every time is told', async () => {
    const redis = await ownRedis();
    const one = await started(redis.url, 'a');
    for (let round = 1; round <= 3; round++) {
      await redis.kill();
      await one.untilUp(false);
      await redis.start();
      await untilBack(one, 'a');
      await publishWhenBack(one, 'a');
      await one.untilFrames('a', round);
      expect(one.roomsWithGap()).toHaveLength(round);
    }
  });
});

test('a node that starts while Redis is away serves without it, and is up when it comes', async () => {
  const redis = await ownRedis();
  await redis.kill();
  const one = await redisNode(redis.url).start();
  expect(one.backplane.up).toBe(false);
  expect(await outcome(one.backplane.publish(publication('a')))).toBe('unavailable');
  expect(await outcome(one.backplane.subscribe('a'))).toBe('unavailable');
  await redis.start();
  await untilBack(one, 'a');
  await publishWhenBack(one, 'a');
  await one.untilFrames('a', 1);
  expect(one.roomsWithGap()).toEqual([]);
});

describe('answers are lost on the way', () => {
  test('a publication is not sent a second time behind the back: at most one message, and the outcome is unknown', async () => {
    const redis = await ownRedis();
    const proxy = await faultProxy(redis.url);
    const one = await started(proxy.url);
    const other = await started(redis.url, 'a');
    proxy.mode = 'swallow replies';
    const plain = publication('a');
    const keyed = publication('a', { dedupe: { by: 'ann', key: 'k' } });
    const outcomes = [plain, keyed].map((each) => outcome(one.backplane.publish(each)));
    expect(await Promise.all(outcomes)).toEqual(['timeout', 'timeout']);
    await other.untilFrames('a', 2);
    proxy.mode = 'pass';
    await one.untilUp(true);
    const again = publication('a', { dedupe: { by: 'ann', key: 'k' } });
    expect(await one.backplane.publish(again)).toEqual({ duplicate: true });
    await other.fence(one);
    expect(other.frames('a')).toEqual([plain.frame, keyed.frame]);
  });
});

describe('Redis refuses', () => {
  test('a keyed message it has no memory for is not taken, not delivered, and its key is not remembered', async () => {
    const redis = await ownRedis();
    const one = await started(redis.url, 'a');
    const admin = redisClient(redis.url);
    await admin.config('SET', 'maxmemory', '1');
    const keyed = publication('a', { dedupe: { by: 'ann', key: 'k' } });
    expect(await outcome(one.backplane.publish(keyed))).toBe('unavailable');
    await admin.config('SET', 'maxmemory', '0');
    expect(await one.backplane.publish(keyed)).toEqual({ duplicate: false });
    await one.fence();
    expect(one.frames('a')).toEqual([keyed.frame]);
  });

  test('a node without the password: it starts, is not up, and publishes nothing; with it all is well', async () => {
    const redis = await ownRedis();
    const password = 'p@ss:w/rd%';
    await redisClient(redis.url).config('SET', 'requirepass', password);
    const without = await redisNode(redis.url).start();
    expect(without.backplane.up).toBe(false);
    expect(await outcome(without.backplane.publish(publication('a')))).not.toBe('taken');
    const url = new URL(redis.url);
    url.password = encodeURIComponent(password);
    const one = await started(url.href, 'a');
    expect(one.backplane.up).toBe(true);
    await one.backplane.publish(publication('a'));
    await one.untilFrames('a', 1);
  });

  test('to speak RESP3, as one does that is too old: the node starts, says why it is not up, and publishes nothing', async () => {
    const redis = await ownRedisOnDisk('--rename-command', 'HELLO', 'UNKNOWN');
    const { log, lines } = capturedLog();
    const one = await redisNode(redis.url, { log }).start();
    expect(lines.join('')).toContain('it does not speak RESP3; use Redis 6.2 or newer');
    expect(one.backplane.up).toBe(false);
    expect(await outcome(one.backplane.publish(publication('a')))).toBe('unavailable');
  });
});

test('bytes that no node of this version wrote are told as unreadable, one by one and in their place', async () => {
  const redis = await ownRedis();
  const one = await started(redis.url, 'a', 'b');
  const foreign = redisClient(redis.url);
  const [first, last] = [publication('a'), publication('a')];
  await one.backplane.publish(first);
  await foreign.publish(channelOf('a'), 'hello');
  await foreign.publish(channelOf('a'), `2m${'1'.repeat(13)}\n{}`);
  await foreign.publish(channelOf('a'), '');
  await foreign.publish(channelOf('a'), Buffer.from([0xff, 0xfe, 0x00]));
  await foreign.publish(channelOf('nobody'), 'hello');
  await one.backplane.publish(last);
  await one.fence();
  expect(one.story('a')).toEqual([first.frame, 'unreadable', 'unreadable', 'unreadable', 'unreadable', last.frame]);
  expect(one.story('b')).toEqual([]);
});

test('10,000 rooms are all subscribed again after a reconnect, each told once, and all deliver', async () => {
  const redis = await ownRedis();
  const rooms = Array.from({ length: 10_000 }, (_, index) => `r${index}`);
  const one = await started(redis.url, ...rooms);
  const admin = redisClient(redis.url);
  await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
  await until(() => one.events.length >= 10_000, deadlineMs, 'all rooms were told');
  expect(one.roomsWithGap().sort()).toEqual([...rooms].sort());
  const channels = (await admin.pubsub('CHANNELS', `${prefix}:{*`)) as string[];
  expect(channels).toHaveLength(10_000);
  await Promise.all(rooms.map((room) => one.backplane.publish(publication(room))));
  await one.fence();
  const messages = one.events.filter(({ kind, room }) => kind === 'message' && room.startsWith('r'));
  expect(messages.map(({ room }) => room).sort()).toEqual([...rooms].sort());
  expect(one.roomsWithGap()).toHaveLength(10_000);
});

describe('the end', () => {
  test('publications under way are told that their outcome is unknown, at once', async () => {
    const redis = await ownRedis();
    const one = await started(redis.url, 'a');
    await redis.pause();
    const under = outcome(one.backplane.publish(publication('a')));
    const startedAt = performance.now();
    await one.backplane.close();
    expect(await under).toBe('timeout');
    expect(performance.now() - startedAt).toBeLessThan(1_000);
  });

  test('leaves no connection behind, also when Redis is away at that moment', async () => {
    const redis = await ownRedis();
    const [one, other] = [await started(redis.url, 'a'), await started(redis.url, 'a')];
    const connections = async () => {
      const list = String(await redisClient(redis.url).call('CLIENT', 'LIST'));
      return list.split('\n').filter((line) => line.includes('roomcast:')).length;
    };
    expect(await connections()).toBe(4);
    await one.backplane.close();
    await until(async () => (await connections()) === 2, deadlineMs, 'the connections of one node are gone');
    await redis.kill();
    await other.untilUp(false);
    await other.backplane.close();
    await redis.start();
    const third = await started(redis.url, 'a');
    expect(await connections()).toBe(2);
    expect([third.backplane.up, other.backplane.up]).toEqual([true, false]);
  });
});

test('renewed after the node stood still, it delivers nothing that was on its way: each room is told, then new messages come', async () => {
  const redis = await ownRedis();
  const one = await started(redis.url, 'a', 'quiet');
  const other = await started(redis.url);
  const old = Array.from({ length: 500 }, () => publication('a', { frame: `{"data":"${'x'.repeat(50_000)}"}` }));
  const taken = Promise.all(old.map((each) => other.backplane.publish(each)));
  await one.untilFrames('a', 1);
  one.backplane.renew();
  const come = one.events.length;
  expect(one.backplane.up).toBe(false);
  await taken;
  await untilBack(one, 'a', 'quiet');
  const next = await publishWhenBack(other, 'a');
  await until(() => one.frames('a').includes(next), deadlineMs, 'the new message');
  const afterwards = one.events.slice(come).filter(({ room }) => room === 'a');
  expect(afterwards[0]).toMatchObject({ kind: 'gap', why: 'interrupted' });
  expect(one.roomsWithGap().sort()).toEqual(['a', 'quiet']);
});
