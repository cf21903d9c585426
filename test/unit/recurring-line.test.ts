/** gateway/recurring-line.ts: what may happen a thousand times a second is one line, then one a minute with a count. */
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { RecurringLine } from '../../gateway/recurring-line.ts';

let lines: { level: number; msg: string; error: string; times?: number }[];
let line: RecurringLine;

beforeEach(() => {
  vi.useFakeTimers();
  lines = [];
  line = new RecurringLine(pino({}, { write: (text) => void lines.push(JSON.parse(text)) }), 'error', 'refused');
});

afterEach(() => {
  vi.useRealTimers();
});

const write = (kind: string, times: number) => {
  for (let left = times; left > 0; left--) line.write(kind, { error: kind });
};

test('the first is written at once, all others of a minute as one line with their number', () => {
  write('OOM', 1);
  expect(lines).toEqual([expect.objectContaining({ level: 50, msg: 'refused', error: 'OOM' })]);
  expect(lines[0]).not.toHaveProperty('times');
  write('OOM', 1_999);
  vi.advanceTimersByTime(59_999);
  expect(lines).toHaveLength(1);
  vi.advanceTimersByTime(1);
  expect(lines[1]).toMatchObject({ error: 'OOM', times: 1_999 });
  write('OOM', 3);
  vi.advanceTimersByTime(60_000);
  expect(lines[2]).toMatchObject({ times: 3 });
});

test('after a minute without one the next is written at once again', () => {
  write('OOM', 1);
  vi.advanceTimersByTime(60_000);
  write('OOM', 1);
  expect(lines.map(({ times }) => times)).toEqual([undefined, undefined]);
});

test('kinds are told apart, up to ten; those beyond share a line, whoever makes them up', () => {
  for (let index = 0; index < 1_000; index++) write(`kind ${index}`, 1);
  expect(lines).toHaveLength(11);
  vi.advanceTimersByTime(60_000);
  expect(lines).toHaveLength(12);
  expect(lines.at(-1)).toMatchObject({ times: 989 });
});
