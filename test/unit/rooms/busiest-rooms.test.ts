/** The busiest rooms (gateway/rooms/busiest-rooms.ts), against a count of everything. */
import { expect, test } from 'vitest';
import { BusiestRooms } from '../../../gateway/rooms/busiest-rooms.ts';
import { Random } from '../random.ts';

test('rooms that all have a place are counted exactly, the busiest first', () => {
  const busiest = new BusiestRooms();
  for (let message = 0; message < 10; message++) busiest.delivered('a', 3);
  busiest.delivered('b', 100);
  busiest.delivered('c', 0);
  expect(busiest.top(10)).toEqual([
    { room: 'b', deliveries: 100, error: 0, messages: 1 },
    { room: 'a', deliveries: 30, error: 0, messages: 10 },
  ]);
  expect(busiest.top(1)).toHaveLength(1);
});

test.each([1, 2, 3])(
  'of many rooms, none with more than its share is missing, and no count is off by more than it says (%i)',
  (seed) => {
    const random = new Random(seed);
    const kept = 16;
    const busiest = new BusiestRooms(kept);
    const exact = new Map<string, number>();
    let all = 0;
    for (let message = 0; message < 20_000; message++) {
      // A few rooms are much busier than the many others.
      const room = `room-${Math.floor(500 * random.next() ** 6)}`;
      const members = random.integer(1, 20);
      busiest.delivered(room, members);
      exact.set(room, (exact.get(room) ?? 0) + members);
      all += members;
    }
    const top = busiest.top(kept);
    expect(top).toHaveLength(kept);
    for (const { room, deliveries, error } of top) {
      const right = exact.get(room) ?? 0;
      expect(deliveries).toBeGreaterThanOrEqual(right);
      expect(deliveries - error).toBeLessThanOrEqual(right);
      expect(error).toBeLessThanOrEqual(all / kept);
    }
    const large = [...exact].filter(([, deliveries]) => deliveries > all / kept).map(([room]) => room);
    expect(large.length).toBeGreaterThan(0);
    expect(top.map(({ room }) => room)).toEqual(expect.arrayContaining(large));
  },
);
