/**
 * Rooms with history: positions, the `history` frame, and coming back with `since`, on any node.
 */
import { describe, expect, inject, test } from 'vitest';
import { errorOf, okOf } from '../support/client.ts';
import { startNode } from '../support/node.ts';
import { roomsFile } from './files.ts';
import { enter, randomRoom } from './people.ts';

const rules = roomsFile(
  { match: 'kept:*', subscribe: 'user', publish: 'user', history: { size: 10 } },
  { match: 'long:*', subscribe: 'user', publish: 'user', history: { size: 100_000, maxBytes: 1_073_741_824 } },
);
const redis = () => ({
  REDIS_URL: inject('redisUrl'),
  REDIS_PREFIX: inject('redisPrefix'),
  ROOMS_FILE: rules,
  PUBLISH_RATE: 0,
});

describe.each([
  ['memory', () => ({ ROOMS_FILE: rules, PUBLISH_RATE: 0 })],
  ['Redis', redis],
])('over %s', (_, settings) => {
  test('offsets rise by one from 1, in the answers and in the messages alike', async () => {
    const node = await startNode(settings());
    const room = randomRoom('kept');
    const [ann, bob] = [await enter(node, 'ann'), await enter(node, 'bob')];
    const { epoch, offset } = await bob.subscribe(room);
    expect(offset).toBe(0);
    expect(epoch).toMatch(/^\S{1,64}$/);
    for (const data of [1, 2, 3]) expect(await ann.publish(room, data)).toMatchObject({ epoch, offset: data });
    for (const data of [1, 2, 3])
      expect(await bob.next('message')).toMatchObject({ room, offset: data, data, from: 'ann' });
    expect(bob.frames.filter(({ type }) => type === 'message').every((frame) => !('id' in frame))).toBe(true);
  });

  test('resume', async () => {
    const node = await startNode(settings());
    const room = randomRoom('kept');
    const ann = await enter(node, 'ann');
    const { epoch } = await ann.publish(room, 1);
    for (let data = 2; data <= 8; data++) await ann.publish(room, data);
    const bob = await enter(node, 'bob');
    expect(okOf(await bob.request({ type: 'subscribe', room, since: { epoch, offset: 3 } }))).toMatchObject({
      epoch,
      offset: 3,
      recovered: true,
    });
    for (let data = 4; data <= 8; data++) expect(await bob.next('message')).toMatchObject({ offset: data, data });
    await ann.publish(room, 9);
    expect(await bob.next('message')).toMatchObject({ offset: 9 });
    const carl = await enter(node, 'carl');
    expect(okOf(await carl.request({ type: 'subscribe', room, since: { epoch, offset: 10 } }))).toMatchObject({
      epoch,
      offset: 9,
      recovered: false,
    });
    const dora = await enter(node, 'dora');
    expect(okOf(await dora.request({ type: 'subscribe', room, since: { epoch: 'x', offset: 9 } }))).toMatchObject({
      epoch,
      offset: 9,
      recovered: false,
    });
    for (let data = 10; data <= 20; data++) await ann.publish(room, data);
    const eve = await enter(node, 'eve');
    expect(okOf(await eve.request({ type: 'subscribe', room, since: { epoch, offset: 9 } }))).toMatchObject({
      epoch,
      offset: 20,
      recovered: false,
    });
    expect(okOf(await eve.request({ type: 'history', room, limit: 3 }))).toMatchObject({
      epoch,
      offset: 20,
      first: 11,
      more: true,
      messages: [{ offset: 18 }, { offset: 19 }, { offset: 20 }],
    });
    expect(okOf(await eve.request({ type: 'history', room, after: 0 }))).toMatchObject({
      first: 11,
      messages: { length: 10 },
    });
    expect(errorOf(await (await enter(node, 'fay')).request({ type: 'history', room }))).toMatchObject({
      code: 'forbidden',
    });
  });
});
