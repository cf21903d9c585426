/** gateway/redis/unproven.ts: a room is unproven from its publish until a question that was sent behind it is answered well. */
import { expect, test } from 'vitest';
import { Unproven } from '../../../gateway/redis/unproven.ts';

test('an answer proves what was published before its question, and nothing behind it', () => {
  const unproven = new Unproven();
  unproven.add('before');
  unproven.ask();
  unproven.add('behind');
  unproven.proven();
  expect([...unproven.take()]).toEqual(['behind']);
  expect([...unproven.take()]).toEqual([]);
});

test('a question without an answer proves nothing; the next one that is answered proves all', () => {
  const unproven = new Unproven();
  unproven.add('a');
  unproven.ask();
  unproven.add('b');
  unproven.ask();
  unproven.add('a');
  expect([...unproven.take()].sort()).toEqual(['a', 'b']);
  unproven.add('a');
  unproven.ask();
  unproven.ask();
  unproven.proven();
  expect([...unproven.take()]).toEqual([]);
});
