/**
 * What gateway/backplane/backplane.ts promises while Redis is there and does not answer: stopped, behind a route that is gone
 * without a word, or on one connection of several. The hardest fault to see, since nothing ends and nothing fails.
 */
import { describe, expect, test } from 'vitest';
import { hangingProxy } from '../contract/hanging-proxy.ts';
import { keptWhenBack } from '../contract/kept-room.ts';
import { keptPublication, outcome, publication } from '../contract/recorder.ts';
import { deadlineMs, publishWhenBack, redisNode, started, untilBack } from '../contract/redis-node.ts';
import { faultProxy } from '../support/fault-proxy.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until } from '../support/until.ts';

describe('Redis hangs', () => {
  test('publications time out, then are unavailable; when it goes on, so does everything, and rooms are told', async () => {
    const redis = await ownRedis();
    const one = await started(redis.url, 'a');
    const other = await started(redis.url, 'a');
    await redis.pause();
    const startedAt = performance.now();
    expect(await outcome(one.backplane.publish(publication('a')))).toBe('timeout');
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    const refused = async () => (await outcome(one.backplane.publish(publication('a')))) === 'unavailable';
    await until(refused, deadlineMs, 'publications are unavailable');
    await one.untilUp(false);
    await redis.resume();
    await untilBack(other, 'a');
    const next = await publishWhenBack(one, 'a');
    await until(() => other.frames('a').includes(next), deadlineMs, 'the next message arrives');
    // Whether it hung long enough for the subscription to be made anew is a matter of timing; told once is enough.
    expect(other.missedRooms().length).toBeLessThanOrEqual(1);
    expect(other.story('a').at(-1)).toBe(next);
  });

  test('a subscribed connection that hears nothing any more is found out and made anew', async () => {
    const redis = await ownRedis();
    const proxy = await faultProxy(redis.url);
    const one = await started(proxy.url, 'a');
    const other = await started(redis.url);
    proxy.mode = 'blackhole';
    await one.untilUp(false);
    const lost = publication('a');
    await other.backplane.publish(lost);
    proxy.cut();
    proxy.mode = 'pass';
    await untilBack(one, 'a');
    const next = await publishWhenBack(other, 'a');
    await one.untilFrames('a', 1);
    expect(one.story('a')).toEqual(['interrupted', next]);
  });

  test('only the subscribed connection hangs: that is found out too, and what passed by is told', async () => {
    const redis = await ownRedis();
    const proxy = await hangingProxy(redis.url);
    const one = await started(proxy.url, 'a');
    const other = await started(redis.url);
    proxy.hang('roomcast:pubsub');
    expect(proxy.hanging).toBe(1);
    await other.backplane.publish(publication('a'));
    await until(() => one.missedRooms().length > 0, deadlineMs, 'the room is told');
    const next = await publishWhenBack(other, 'a');
    await one.untilFrames('a', 1);
    expect(one.story('a')).toEqual(['interrupted', next]);
    expect(proxy.hanging).toBe(0);
  });

  test('only the connection for history hangs: what is kept times out, then is taken again; all else goes on', async () => {
    const redis = await ownRedis();
    const proxy = await hangingProxy(redis.url);
    const one = await started(proxy.url, 'plain', 'kept');
    proxy.hang('roomcast:history');
    const kept = outcome(one.backplane.publish(keptPublication('kept')));
    const sent = publication('plain');
    expect(await outcome(one.backplane.publish(sent))).toBe('taken');
    expect(await kept).toBe('timeout');
    await keptWhenBack(one, 'kept');
    for (const room of ['plain', 'kept']) await one.untilFrames(room, 1);
    expect(one.story('plain')).toEqual([sent.frame]);
    expect(one.missedRooms()).toEqual([]);
    expect(proxy.hanging).toBe(0);
  });

  test('new connections that are taken and never answered are given up for others', async () => {
    const redis = await ownRedis();
    const proxy = await hangingProxy(redis.url, 4);
    const one = redisNode(proxy.url);
    await one.start();
    await one.untilUp(true);
    expect(proxy.hanging).toBe(0);
    await publishWhenBack(one, 'a');
    expect(one.missedRooms()).toEqual([]);
  });

  test('a node that starts meanwhile does not wait for it without bound, and is up when it goes on', async () => {
    const redis = await ownRedis();
    await redis.pause();
    const one = redisNode(redis.url);
    const startedAt = performance.now();
    await one.start();
    expect(performance.now() - startedAt).toBeLessThan(6_000);
    expect(one.backplane.up).toBe(false);
    await redis.resume();
    await one.untilUp(true);
    expect(one.missedRooms()).toEqual([]);
  });
});
