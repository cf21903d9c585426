/**
 * What an application sees of a room through the client library, written down; and a publisher that counts.
 *
 * Owns no state.
 */
import { expect, vi } from 'vitest';
import type { Client, Room } from '../../shared/client/client.ts';
import { until } from '../support/until.ts';

export interface Told {
  room: Room;
  /** The data of all messages, in their order. */
  numbers: unknown[];
  /** The reasons of gaps in which a message may be missing. */
  gaps: string[];
  /** It is in the room. */
  joined: Promise<void>;
}

export function follow(client: Client, name: string): Told {
  const room = client.room(name);
  const [numbers, gaps]: [unknown[], string[]] = [[], []];
  room.on('message', ({ data }) => numbers.push(data));
  // Without a message missing, `join` and `leave` may be (count 0).
  room.on('gap', ({ reason, count }) => count === 0 || gaps.push(reason));
  return { room, numbers, gaps, joined: room.subscribe() };
}

/** The numbers that were told, in their order. */
export function numbersOf({ numbers }: Told): unknown[] {
  return numbers.filter((data) => typeof data === 'number');
}

/** Publishes 1, 2, 3, ..., each after the `ok` of the one before, until `stop`; which resolves with all numbers. */
export function publishing(room: Room) {
  let [isOver, last] = [false, 0];
  const done = (async () => {
    while (!isOver) await room.publish(++last);
  })();
  return {
    reached: (count: number) => until(() => last >= count, 15_000, `${count} messages are published`),
    get last() {
      return last;
    },
    async stop() {
      isOver = true;
      await done;
      return Array.from({ length: last }, (_, index) => index + 1);
    },
  };
}

/** Everything was told, once and in order. */
export async function expectWhole(told: Told, numbers: number[]): Promise<void> {
  await vi.waitFor(() => expect(told.numbers.at(-1)).toBe(numbers.at(-1)), 10_000);
  expect(told.numbers).toEqual(numbers);
}
