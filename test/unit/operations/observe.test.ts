/** What a node says of itself to a dashboard (gateway/operations/cluster/observe.ts), and when it counts for it. */
import { expect, test, vi } from 'vitest';
import { observeCommand, observeNode, windowMs } from '../../../gateway/operations/cluster/observe.ts';
import type { LocalNode } from '../../../gateway/operations/local-node.ts';
import type { BusiestRooms } from '../../../gateway/rooms/busiest-rooms.ts';
import type { Numbers } from '../../../gateway/telemetry/numbers.ts';
import { onCleanup } from '../../support/cleanup.ts';

const buckets = { bounds: [1], counts: [0, 0] };
const numbers: Numbers = {
  totals: { published: 1, delivered: 2, opened: 3 },
  reasons: { closed: { 1000: 1 }, rejected: {}, publishErrors: {}, dropped: {}, gaps: {} },
  histograms: { ping: buckets, fanout: buckets, backplane: buckets, loop: buckets },
};

function localNode() {
  const hub = {
    rooms: [],
    roomCount: 1,
    memberCount: 2,
    membersOf: () => 7,
    busiest: undefined as BusiestRooms | undefined,
  };
  const local = {
    ...{ node: 'one', instance: 'one-1', version: '1.0.0', startedAt: 1, draining: false, connections: new Set(), hub },
    vitals: { backplaneRttMs: undefined, publishedPerSecond: 0, deliveredPerSecond: 0 },
    gauges: {
      bufferedBytes: () => 5,
      slow: () => ({ 'catch-up': 1, drop: 0, latest: 0 }),
      trouble: () => 'Redis is away',
      limits: { connections: 10, bufferedBytes: 0 },
    },
    numbers: async () => numbers,
  };
  return { hub, local: local as unknown as LocalNode };
}

test('an answer holds everything that the schema of the command asks for', async () => {
  const { local } = localNode();
  const said = await observeNode(local);
  expect(observeCommand.value.parse(JSON.parse(JSON.stringify(said)))).toEqual(said);
  expect(said).toMatchObject({
    node: 'one',
    trouble: 'Redis is away',
    backplaneRttMs: null,
    bufferedBytes: 5,
    members: 2,
  });
});

test('rooms are counted from the first question on, over windows that end, and no longer when nobody asks', async () => {
  vi.useFakeTimers({ toFake: ['performance', 'setInterval', 'clearInterval'] });
  onCleanup(() => vi.useRealTimers());
  const { hub, local } = localNode();
  expect(hub.busiest).toBeUndefined();
  expect((await observeNode(local)).busiest).toEqual([]);
  const counted = (room: string) => {
    for (let message = 0; message < 10; message++) hub.busiest?.delivered(room, 3);
  };
  counted('a');
  vi.advanceTimersByTime(windowMs);
  counted('b');
  const { busiest } = await observeNode(local);
  expect(busiest).toEqual([{ room: 'a', members: 7, messagesPerSecond: 2, deliveriesPerSecond: 6, errorPerSecond: 0 }]);
  vi.advanceTimersByTime(windowMs);
  expect((await observeNode(local)).busiest.map(({ room }) => room)).toEqual(['b']);
  vi.advanceTimersByTime(10 * windowMs);
  expect(hub.busiest).toBeUndefined();
  await observeNode(local);
  expect(hub.busiest).toBeDefined();
});
