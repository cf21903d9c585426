/** gateway/redis/control/messages.ts: what one node writes another reads, and nothing else passes for it. */
import { describe, expect, test } from 'vitest';
import { readAnswer, readCommand, writeAnswer, writeCommand } from '../../../gateway/redis/control/messages.ts';
import { Random } from '../random.ts';
import { randomJsonText } from '../random-json.ts';

const from = 'gateway-1.eu-0123456789';

describe('what a node writes', () => {
  test.each([
    ['to all', undefined],
    ['to one', 'other-0123456789'],
  ])('a command %s is read as it was', (_, to) => {
    const command = { kind: 'disconnect user', arguments: { user: 'é"\n', list: [1, null] } };
    expect(readCommand(writeCommand('7', from, { ...command, to }))).toEqual({ id: '7', from, to, command });
  });

  test('an answer is read as it was, a value or an error', () => {
    const value = { entries: ['"}', 1.5, null] };
    expect(readAnswer(writeAnswer('7', from, { value: JSON.stringify(value) }))).toEqual({
      ...{ id: '7', from, outcome: { value } },
    });
    expect(readAnswer(writeAnswer('8', from, { error: 'busy' }))).toEqual({
      id: '8',
      from,
      outcome: { error: 'busy' },
    });
  });

  test('an error of a later version is an error', () => {
    const text = writeAnswer('7', from, { error: 'busy' }).replace('busy', 'of a later version');
    expect(readAnswer(text)).toEqual({ id: '7', from, outcome: { error: 'failed' } });
  });
});

test('a command is no answer, and an answer no command', () => {
  expect(readAnswer(writeCommand('7', from, { kind: 'k', arguments: {} }))).toBeUndefined();
  expect(readCommand(writeAnswer('7', from, { value: '1' }))).toBeUndefined();
});

test('random JSON, and texts that lack a piece, are read without an exception, and hardly ever as a message (20,000)', () => {
  const random = new Random(9);
  const good = writeCommand('7', from, { kind: 'k', arguments: {} });
  for (let round = 0; round < 20_000; round++) {
    const cut = random.integer(0, good.length - 1);
    const text = random.chance(0.5)
      ? randomJsonText(random)
      : good.slice(0, cut) + good.slice(cut + random.integer(1, 5));
    for (const message of [readCommand(text), readAnswer(text)]) {
      if (message !== undefined) expect(message.from).toMatch(/^[\w.-]+-\w+$/);
    }
  }
});
