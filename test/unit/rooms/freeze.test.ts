/**
 * gateway/rooms/freeze.ts: a process that stood still detects it once, before it acts; a busy process is not mistaken
 * for one.
 */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Freeze, frozenAfterMs } from '../../../gateway/rooms/freeze.ts';

let thaws: number[];
let freeze: Freeze;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
  thaws = [];
  freeze = new Freeze((stoodStillMs) => thaws.push(stoodStillMs));
});

afterEach(() => {
  freeze.close();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

/** What a stopped process sees: the clock jumps, and no timer has run. */
function standStill(ms: number): number {
  const now = performance.now() + ms;
  vi.spyOn(performance, 'now').mockReturnValue(now);
  return now;
}

test('the first check after the thaw finds it, before any timer ran, and only once', () => {
  vi.advanceTimersByTime(60_000);
  const now = standStill(60_000);
  expect(thaws).toEqual([]);
  freeze.check(now);
  freeze.check(now);
  expect(thaws).toHaveLength(1);
  expect(thaws[0]).toBeGreaterThanOrEqual(60_000);
});

test('without any input the timer finds it', () => {
  vi.advanceTimersByTime(1_000);
  standStill(frozenAfterMs + 1);
  vi.advanceTimersByTime(500);
  expect(thaws).toHaveLength(1);
});

test('an event loop that is late by less is not taken for a process that stood still', () => {
  vi.advanceTimersByTime(1_000);
  freeze.check(standStill(frozenAfterMs - 600));
  expect(thaws).toEqual([]);
});

test('every further freeze is reported too', () => {
  for (let times = 1; times <= 3; times++) {
    freeze.check(standStill(10_000));
    expect(thaws).toHaveLength(times);
  }
});
