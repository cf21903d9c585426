/** What a node writes of its rooms, with a clock and a store in the test's hands: no flapping, nothing lost, few writes at a time. */
import { expect, test, vi } from 'vitest';
import { BackplaneError } from '../../../gateway/backplane/backplane.ts';
import { Faults } from '../../../gateway/telemetry/faults.ts';
import { createLog } from '../../../gateway/telemetry/log.ts';
import { OccupiedRooms } from '../../../gateway/webhooks/occupied-rooms.ts';
import { useFakeClock } from '../fake-clock.ts';

useFakeClock();

function begin() {
  const writes: string[] = [];
  const store = {
    outcome: async (): Promise<void> => undefined,
    async occupy(room: string): Promise<void> {
      writes.push(`+${room}`);
      await store.outcome();
    },
    async vacate(room: string, inDoubt: boolean): Promise<void> {
      writes.push(`${inDoubt ? '?' : '-'}${room}`);
      await store.outcome();
    },
  };
  return { rooms: new OccupiedRooms(store, new Faults(createLog('silent'))), store, writes };
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const failed = async (): Promise<void> => {
  throw new BackplaneError('timeout', 'Redis is away');
};

test('the first member is written at once, the last one when the room was empty for 2 s', async () => {
  const { rooms, writes } = begin();
  rooms.roomOccupied('a');
  await pass(0);
  expect(writes).toEqual(['+a']);
  rooms.roomVacated('a');
  await pass(1_900);
  expect(writes).toEqual(['+a']);
  await pass(600);
  expect(writes).toEqual(['+a', '-a']);
});

test('of a client that flaps nothing is written', async () => {
  const { rooms, writes } = begin();
  for (let round = 0; round < 20; round++) {
    rooms.roomOccupied('a');
    await pass(100);
    rooms.roomVacated('a');
    await pass(1_000);
  }
  expect(writes).toEqual(['+a']);
  await pass(3_000);
  expect(writes).toEqual(['+a', '-a']);
});

test('a room that is empty again before it could be written is not written', async () => {
  const { rooms, writes } = begin();
  rooms.roomOccupied('a');
  rooms.roomVacated('a');
  await pass(10_000);
  expect(writes).toEqual([]);
});

test('a write that failed is made again after 5 s; what the room is then counts', async () => {
  const { rooms, store, writes } = begin();
  store.outcome = failed;
  rooms.roomOccupied('a');
  rooms.roomOccupied('b');
  await pass(4_000);
  expect(writes).toEqual(['+a', '+b']);
  store.outcome = async () => undefined;
  rooms.roomVacated('b');
  await pass(4_000);
  // Whether the store has b is not known.
  expect(writes).toEqual(['+a', '+b', '+a', '?b']);
});

test('when the store may have lost something, all rooms are written again, with doubt about those that were left', async () => {
  const { rooms, store, writes } = begin();
  for (const room of ['a', 'b', 'c']) rooms.roomOccupied(room);
  await pass(0);
  store.outcome = failed;
  rooms.roomVacated('c');
  await pass(2_600);
  store.outcome = async () => undefined;
  writes.length = 0;
  rooms.outOfSync();
  await pass(300);
  expect(writes.toSorted()).toEqual(['+a', '+b', '?c']);
  await pass(5_000);
  rooms.roomVacated('a');
  await pass(3_000);
  expect(writes.at(-1)).toBe('-a');
});

test('at most 100 writes are under way, and all rooms get their turn', async () => {
  const { rooms, store, writes } = begin();
  let underWay = 0;
  let most = 0;
  store.outcome = async () => {
    most = Math.max(most, ++underWay);
    await new Promise((resolve) => setTimeout(resolve, 20));
    underWay--;
  };
  for (let room = 0; room < 1_000; room++) rooms.roomOccupied(`r${room}`);
  await pass(10_000);
  expect(new Set(writes).size).toBe(1_000);
  expect(most).toBe(100);
});

test('each occupied room is written again about once a minute', async () => {
  const { rooms, writes } = begin();
  for (let room = 0; room < 50; room++) rooms.roomOccupied(`r${room}`);
  await pass(1_000);
  writes.length = 0;
  await pass(120_000);
  expect(new Set(writes).size).toBe(50);
  expect(writes.length).toBeLessThanOrEqual(150);
});

test('at the end of the node its rooms are written as empty once they were empty for a second', async () => {
  const { rooms, writes } = begin();
  rooms.roomOccupied('a');
  await pass(0);
  rooms.roomVacated('a');
  const from = performance.now();
  let closedAfter = 0;
  const closed = rooms.close().then(() => {
    closedAfter = performance.now() - from;
  });
  await pass(5_000);
  await closed;
  expect(writes).toEqual(['+a', '-a']);
  expect(closedAfter).toBeGreaterThanOrEqual(1_000);
  expect(closedAfter).toBeLessThan(1_200);
});

test('a store that is away does not hold up the end of the node', async () => {
  const { rooms, store } = begin();
  rooms.roomOccupied('a');
  await pass(0);
  store.outcome = failed;
  rooms.roomVacated('a');
  const closed = rooms.close();
  await pass(2_100);
  await closed;
});
