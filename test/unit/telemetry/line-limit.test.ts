/**
 * gateway/telemetry/line-limit.ts, through gateway/telemetry/log.ts: an event that occurs a thousand times a second is
 * logged once at once, then once a minute.
 */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Logger } from '../../../gateway/telemetry/log.ts';
import { capturedLog } from '../../support/captured-log.ts';

interface Line {
  level: string;
  msg: string;
  error?: string;
  times?: number;
  connection?: number;
}

let texts: string[];
let log: Logger;

beforeEach(() => {
  vi.useFakeTimers();
  ({ log, lines: texts } = capturedLog());
});

afterEach(() => {
  vi.useRealTimers();
});

const lines = () => texts.map((text): Line => JSON.parse(text));

test('the first line is written at once, later ones of a minute as one line with their count and the last fields', () => {
  log.error({ error: 'OOM', connection: 1 }, 'refused');
  expect(lines()).toEqual([expect.objectContaining({ level: 'error', msg: 'refused', error: 'OOM', connection: 1 })]);
  expect(lines()[0]).not.toHaveProperty('times');
  for (let connection = 2; connection <= 2_000; connection++) log.error({ error: 'OOM', connection }, 'refused');
  vi.advanceTimersByTime(59_999);
  expect(lines()).toHaveLength(1);
  vi.advanceTimersByTime(1);
  expect(lines()[1]).toMatchObject({ level: 'error', msg: 'refused', error: 'OOM', connection: 2_000, times: 1_999 });
  log.error({ error: 'OOM' }, 'refused');
  vi.advanceTimersByTime(60_000);
  expect(lines()[2]).toMatchObject({ times: 1 });
});

test('after a minute without such a line the next one is written at once again', () => {
  log.warn('a warning');
  vi.advanceTimersByTime(60_000);
  log.warn('a warning');
  expect(lines().map(({ times }) => times)).toEqual([undefined, undefined]);
});

test('kinds differ by message, role, and reason or error, up to ten; further kinds share one line', () => {
  log.warn({ role: 'one', error: 'away' }, 'failed');
  log.warn({ role: 'other', error: 'away' }, 'failed');
  log.warn({ role: 'one', reason: 'away', error: 'made up' }, 'again');
  log.warn({ role: 'one', reason: 'away', error: 'made up, too' }, 'again');
  expect(lines()).toHaveLength(3);
  texts.length = 0;
  for (let index = 0; index < 1_000; index++) log.info({ reason: `kind ${index}` }, 'refused token');
  expect(lines()).toHaveLength(11);
  vi.advanceTimersByTime(60_000);
  expect(lines().filter(({ msg }) => msg === 'refused token')).toHaveLength(12);
  expect(lines().at(-1)).toMatchObject({ times: 989 });
});

test('lines of level info are not bounded, nor is the last line of a process', () => {
  for (let time = 0; time < 20; time++) {
    log.info({ port: time }, 'listening');
    log.fatal({ error: 'the end' }, 'uncaught exception');
  }
  expect(lines()).toHaveLength(40);
});
