/** gateway/redis/unconfirmed-rooms.ts: a room is unconfirmed from its publish until a probe behind it finds the master. */
import { expect, test } from 'vitest';
import { UnconfirmedRooms } from '../../../gateway/redis/unconfirmed-rooms.ts';

test('a probe confirms what was published before it, and nothing behind it', () => {
  const unconfirmed = new UnconfirmedRooms();
  unconfirmed.add('before');
  unconfirmed.probe();
  unconfirmed.add('behind');
  unconfirmed.confirm();
  expect([...unconfirmed.take()]).toEqual(['behind']);
  expect([...unconfirmed.take()]).toEqual([]);
});

test('a probe without an answer confirms nothing; the next one that is answered confirms all', () => {
  const unconfirmed = new UnconfirmedRooms();
  unconfirmed.add('a');
  unconfirmed.probe();
  unconfirmed.add('b');
  unconfirmed.probe();
  unconfirmed.add('a');
  expect([...unconfirmed.take()].sort()).toEqual(['a', 'b']);
  unconfirmed.add('a');
  unconfirmed.probe();
  unconfirmed.probe();
  unconfirmed.confirm();
  expect([...unconfirmed.take()]).toEqual([]);
});
