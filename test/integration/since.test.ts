/**
 * Resuming in a plain room, which has no history.
 */
import { expect, test } from 'vitest';
import { errorOf, okOf } from '../support/client.ts';
import { startNode } from '../support/node.ts';
import { enter, randomRoom } from './people.ts';

test('subscribe with since to a plain room is recovered: false, without a position; without since it has no `recovered`', async () => {
  const client = await enter(await startNode(), 'ann');
  const [one, other] = [randomRoom(), randomRoom()];
  const since = { epoch: 'e', offset: 7 };
  const ask = (room: string, more: object) => client.request({ type: 'subscribe', room, ...more });
  expect(okOf(await ask(one, { since }))).toEqual({ type: 'ok', id: expect.anything(), room: one, recovered: false });
  expect(okOf(await ask(one, { since }))).toEqual({ type: 'ok', id: expect.anything(), room: one, recovered: false });
  expect(okOf(await ask(other, {}))).toEqual({ type: 'ok', id: expect.anything(), room: other });
});

test.each([
  ['no object', 7],
  ['no epoch', { offset: 1 }],
  ['a fraction', { epoch: 'e', offset: 1.5 }],
  ['a negative offset', { epoch: 'e', offset: -1 }],
  ['an offset of 2^53', { epoch: 'e', offset: 2 ** 53 }],
  ['an offset that is text', { epoch: 'e', offset: '1e3' }],
])('since with %s is bad_request, and the room is not joined', async (_, since) => {
  const client = await enter(await startNode(), 'ann');
  const room = randomRoom();
  expect(errorOf(await client.request({ type: 'subscribe', room, since })).code).toBe('bad_request');
  await client.publish(room, 'unheard');
  await client.subscribe(room);
  await client.publish(room, 'heard');
  await client.next((frame) => frame.type === 'message' && frame.data === 'heard');
  expect(client.frames.filter(({ type }) => type === 'message')).toHaveLength(1);
});
