/**
 * Publishing with a `key`: a retry on any node is delivered once.
 *
 * These tests show the scope of a key (room and user). For outages see redis-network.test.ts.
 */
import { describe, expect, inject, test } from 'vitest';
import { errorOf, okOf } from '../support/client.ts';
import { startNode } from '../support/node.ts';
import { until } from '../support/until.ts';
import { carrying, dataOf, enter, join, names, randomRoom } from './people.ts';

const redis = { REDIS_URL: inject('redisUrl'), REDIS_PREFIX: inject('redisPrefix'), DEDUPE_MS: 1000 };
const memoryNode = await startNode({ DEDUPE_MS: 1000 });
const [one, other] = [await startNode(redis), await startNode({ ...redis, DEDUPE_MS: 60_000 })];

describe.each([
  ['memory, same node', memoryNode, memoryNode],
  ['Redis, another node', one, other],
])('%s', (_name, here, there) => {
  test('a retry with the same key is a duplicate and delivered once, and members see the key', async () => {
    const room = randomRoom();
    const member = await join(there, 'member', room);
    const [first, again] = [await enter(here, 'user'), await enter(there, 'user')];
    expect(await first.publish(room, 'once', { key: 'k' })).not.toHaveProperty('duplicate');
    expect(await again.publish(room, 'changed in the retry', { key: 'k' })).toMatchObject({ duplicate: true });
    await again.publish(room, 'end');
    await member.next(carrying(room, 'end'));
    expect(dataOf(member, room)).toEqual(['once', 'end']);
    expect(member.frames.find(({ type }) => type === 'message')).toMatchObject({ key: 'k', data: 'once' });
  });

  test('of fifty simultaneous attempts with one key exactly one is delivered', async () => {
    const room = randomRoom();
    const member = await join(here, 'member', room);
    const [left, right] = [await enter(here, 'user'), await enter(there, 'user')];
    const attempts = names('', 50).map((data, index) => (index % 2 ? left : right).publish(room, data, { key: 'k' }));
    const answers = await Promise.all(attempts);
    expect(answers.filter(({ duplicate }) => !duplicate)).toHaveLength(1);
    await left.publish(room, 'end');
    await member.next(carrying(room, 'end'));
    expect(dataOf(member, room)).toHaveLength(2);
  });

  test('the same key of another user or in another room is another message', async () => {
    const [room, next] = [randomRoom(), randomRoom()];
    const member = await join(here, 'member', room, next);
    const [user, stranger] = [await enter(here, 'user'), await enter(there, 'stranger')];
    for (const answer of [
      await user.publish(room, 1, { key: 'k' }),
      await stranger.publish(room, 2, { key: 'k' }),
      await user.publish(next, 3, { key: 'k' }),
      await user.publish(room, 4, { key: 'K' }),
    ]) {
      expect(answer).not.toHaveProperty('duplicate');
    }
    await until(() => dataOf(member, room).length + dataOf(member, next).length === 4, 5_000, 'four messages');
  });

  test('a key that holds every kind of character is a key like any other', async () => {
    const room = randomRoom();
    const member = await join(there, 'member', room);
    const user = await enter(here, 'user');
    for (const key of ['"]', '\r\nFLUSHALL\r\n', '{tag}', '\u0000', '__proto__', '💥'.repeat(32)]) {
      await user.publish(room, key, { key });
      expect(await user.publish(room, key, { key })).toMatchObject({ duplicate: true });
      expect(await member.next('message')).toMatchObject({ data: key, key });
    }
  });

  test('a key that is empty, too long or no string is refused, and nothing is delivered', async () => {
    const room = randomRoom();
    const user = await join(here, 'user', room);
    for (const key of ['', 'x'.repeat(129), 'ü'.repeat(65), 1, null, {}, '\ud800']) {
      expect(errorOf(await user.request({ type: 'publish', room, data: 'bad', key })).code).toBe('bad_request');
    }
    await user.publish(room, 'end');
    await user.next(carrying(room, 'end'));
    expect(dataOf(user, room)).toEqual(['end']);
  });

  test('a key is forgotten after GATEWAY_DEDUPE_MS', async () => {
    const room = randomRoom();
    const user = await enter(here, 'user');
    await user.publish(room, 'first', { key: 'k' });
    await until(async () => !(await user.publish(room, 'again', { key: 'k' })).duplicate, 5_000, 'the key is free');
    expect(okOf(await user.request({ type: 'publish', room, data: 'third', key: 'k' }))).toMatchObject({
      duplicate: true,
    });
  });
});
