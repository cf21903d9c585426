/** Replies of a type that a command does not answer with (gateway/redis/connection/answer.ts): the outcome is unknown, and no exception. */
import { expect, test } from 'vitest';
import { BackplaneError } from '../../../gateway/backplane/backplane.ts';
import { integerIn, integerOf, listOf, textOf, textsOf } from '../../../gateway/redis/connection/answer.ts';
import { type Reply, ReplyError } from '../../../gateway/redis/connection/resp.ts';
import { AppendBatch } from '../../../gateway/redis/history/commands.ts';

const wrong: [string, Reply][] = [
  ['null', null],
  ['an integer', 3],
  ['a simple string', 'OK'],
  ['an empty list', []],
  ['a list that is too long', [Buffer.from('e 1'), Buffer.from('e 2')]],
  ['a list of null', [null]],
  ['a position without an offset', [Buffer.from('epoch')]],
  ['a position with an offset that is none', [Buffer.from('e 9e99')]],
];

test.each(wrong)('a message that is kept by a script which answers %s is of unknown outcome', (_, reply) => {
  const outcomes: unknown[] = [];
  const batch = new AppendBatch();
  batch.add({
    publication: { room: 'a', prefix: '', suffix: '', at: 0 },
    rule: { size: 1, maxBytes: 1, ttlSeconds: 1 },
    ...{ header: '', room: 'a', line: 'l', channel: 'a', dedupeKey: undefined },
    settle: (error, published) => outcomes.push(published ?? error?.code),
  });
  batch.settle(undefined, reply, (error) => new BackplaneError('unavailable', error.message));
  expect(outcomes).toEqual(['timeout']);
});

test.each<[string, (reply: Reply) => unknown, Reply]>([
  ['an integer', integerOf, 7],
  ['an integer as text', integerIn, Buffer.from('7')],
  ['a text', textOf, Buffer.from('a')],
  ['a list', listOf, [1]],
  ['texts', textsOf, [Buffer.from('a')]],
])('%s is taken for what it is, and nothing else is', (_, read, good) => {
  expect(() => read(good)).not.toThrow();
  const others = [null, 1, 'a', Buffer.from('x'), Buffer.from('1e9'), [null], new ReplyError('ERR')];
  const taken = others.filter((other) => {
    try {
      read(other);
      return true;
    } catch (error) {
      expect(error).toBeInstanceOf(BackplaneError);
      return false;
    }
  });
  for (const reply of taken) expect(Array.isArray(reply)).toBe(Array.isArray(good));
  expect(taken.length).toBeLessThanOrEqual(2);
});
