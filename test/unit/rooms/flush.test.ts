/**
 * gateway/rooms/flush.ts: which messages pass at once, how long others are queued, and that a room keeps its order.
 */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { BackplaneListener } from '../../../gateway/backplane/backplane.ts';
import { Flush } from '../../../gateway/rooms/flush.ts';
import { Random } from '../random.ts';

const tickMs = 10;

function flushed() {
  const passed: string[] = [];
  const ignore = () => undefined;
  const listener: BackplaneListener = {
    message: (room, frame) => void passed.push(`${room} ${Buffer.from(frame).toString().trim()}`),
    gap: (room, why) => void passed.push(`${room} ${why}`),
    presence: ignore,
    roundTrip: ignore,
    reconnected: ignore,
  };
  const flush = new Flush(listener, tickMs);
  const message = (room: string, text: string | number) => flush.message(room, Buffer.from(String(text)), 0, undefined);
  return { flush, message, passed };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('a room', () => {
  test('that was idle passes a message on at once', () => {
    const { message, passed } = flushed();
    message('a', 1);
    expect(passed).toEqual(['a 1']);
    vi.advanceTimersByTime(2 * tickMs);
    message('a', 2);
    expect(passed).toEqual(['a 1', 'a 2']);
  });

  test('that is busy passes on the messages of a tick together, at the end of the tick', () => {
    const { message, passed } = flushed();
    for (const text of [1, 2, 3]) message('a', text);
    vi.advanceTimersByTime(tickMs - 1);
    expect(passed).toEqual(['a 1']);
    vi.advanceTimersByTime(1);
    expect(passed).toEqual(['a 1', 'a 2', 'a 3']);
  });

  test('delays no other room', () => {
    const { message, passed } = flushed();
    for (const text of [1, 2]) message('busy', text);
    message('quiet', 1);
    expect(passed).toEqual(['busy 1', 'quiet 1']);
  });

  test('reports missed messages after those that came before', () => {
    const { flush, message, passed } = flushed();
    for (const text of [1, 2]) message('a', text);
    flush.gap('a', 'interrupted');
    message('a', 3);
    vi.advanceTimersByTime(tickMs);
    expect(passed).toEqual(['a 1', 'a 2', 'a interrupted', 'a 3']);
  });
});

test('above the bound of queued bytes everything passes before the tick', () => {
  const { message, passed } = flushed();
  const large = ' '.repeat(60_000);
  for (const room of ['a', 'b']) message(room, 0);
  for (const text of [1, 2, 3, 4]) message('a', text + large);
  expect(passed).toHaveLength(2);
  message('b', 1 + large);
  expect(passed).toEqual(['a 0', 'b 0', 'a 1', 'a 2', 'a 3', 'a 4', 'b 1']);
});

test('no timer is left when all rooms are idle', () => {
  const { message } = flushed();
  for (const text of [1, 2]) message('a', text);
  vi.advanceTimersByTime(3 * tickMs);
  expect(vi.getTimerCount()).toBe(0);
});

test('random traffic comes out complete and in the order of each room', () => {
  const random = new Random(7);
  const { flush, message, passed } = flushed();
  const sent = new Map<string, string[]>();
  for (let index = 0; index < 2_000; index++) {
    const room = `r${random.integer(0, 4)}`;
    const missed = random.chance(1 / 50);
    if (missed) flush.gap(room, 'unreadable');
    else message(room, index);
    sent.set(room, [...(sent.get(room) ?? []), `${room} ${missed ? 'unreadable' : index}`]);
    if (random.chance(1 / 10)) vi.advanceTimersByTime(random.integer(0, 2 * tickMs));
  }
  vi.advanceTimersByTime(2 * tickMs);
  for (const [room, lines] of sent) expect(passed.filter((line) => line.startsWith(`${room} `))).toEqual(lines);
});
