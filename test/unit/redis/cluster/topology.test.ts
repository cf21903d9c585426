/** gateway/redis/cluster/topology.ts, with servers that say what a test wants. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Ask, Topology } from '../../../../gateway/redis/cluster/topology.ts';
import type { Endpoint } from '../../../../gateway/redis/connection/address.ts';
import type { ClusterAddress } from '../../../../gateway/redis/connection/dial.ts';
import { createLog } from '../../../../gateway/telemetry/log.ts';

/** Of each range: first, last, the port of the primary, its epoch. */
type View = [first: number, last: number, port: number, epoch: number][];

const address: ClusterAddress = {
  ...{ kind: 'cluster', nodes: [], tls: undefined, username: undefined, password: undefined, database: 0 },
};

/** `self`: the port of the server that answers, and its epoch. */
function saying(view: () => View, host: string | null = 'h', self?: () => [port: number, epoch: number]): Ask {
  return async () => {
    const lines = view().map(([, , port, epoch]) => `id${port} h:${port}@1 master - 0 0 ${epoch} connected`);
    const [port, epoch] = self?.() ?? [];
    return [
      view().map(([first, last, port]) => [first, last, [host, port, `id${port}`, []]]),
      [...lines, `id${port} h:${port}@1 myself,master - 0 0 ${epoch} connected`].join('\n'),
    ];
  };
}

let topology: Topology;
let servers: Ask[];
let changes: number[];
/** Where the servers are asked. */
let asking: Endpoint;

function start(...asks: Ask[]): void {
  servers = asks;
  changes = [];
  asking = { host: 'asked', port: 1 };
  topology = new Topology({
    address,
    connected: () => servers.map((ask) => ({ from: asking, ask })),
    onChange: (slots) => changes.push(slots.length),
    onRead: () => undefined,
    log: createLog('silent'),
  });
  topology.start();
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  topology.close();
  vi.useRealTimers();
});

const owner = (slot: number) => topology.ownerOf(slot)?.name;

test('an old map of a server that lags behind, or is cut off, changes nothing', async () => {
  let first: View = [[0, 16_383, 1, 5]];
  start(saying(() => first));
  await vi.advanceTimersByTimeAsync(0);
  expect(owner(7)).toBe('h:1');
  first = [[0, 16_383, 2, 6]];
  servers.push(saying(() => [[0, 16_383, 1, 5]]));
  for (let round = 0; round < 10; round++) {
    topology.refresh();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(owner(7)).toBe('h:2');
  }
  expect(changes).toEqual([16_384, 16_384]);
});

test('a cluster that was built anew, with lower epochs, is believed when nobody confirms the old one for 10 s', async () => {
  let view: View = [[0, 16_383, 1, 90]];
  start(saying(() => view));
  await vi.advanceTimersByTimeAsync(0);
  view = [[0, 16_383, 2, 1]];
  await vi.advanceTimersByTimeAsync(9_000);
  expect(owner(0)).toBe('h:1');
  await vi.advanceTimersByTimeAsync(4_000);
  expect(owner(0)).toBe('h:2');
});

describe('an epoch is of a server, not of a slot', () => {
  const moved: View = [
    [0, 99, 1, 9],
    [100, 16_383, 2, 8],
  ];

  test('a server that lags behind names the former owner with a newer epoch: what that says itself is believed', async () => {
    let seen: View = [[0, 16_383, 1, 9]];
    start(
      saying(
        () => seen,
        'h',
        () => [3, 2],
      ),
    );
    await vi.advanceTimersByTimeAsync(0);
    expect(owner(100)).toBe('h:1');
    seen = moved;
    await vi.advanceTimersByTimeAsync(2_000);
    expect(owner(100)).toBe('h:1');
    asking = { host: 'h', port: 1 };
    servers = [
      saying(
        () => moved,
        'h',
        () => [1, 9],
      ),
    ];
    await vi.advanceTimersByTimeAsync(2_000);
    expect([owner(99), owner(100)]).toEqual(['h:1', 'h:2']);
  });

  test('an owner that answered before it had the slot is not believed', async () => {
    start(saying(() => [[0, 16_383, 1, 9]]));
    await vi.advanceTimersByTimeAsync(0);
    asking = { host: 'h', port: 1 };
    servers = [
      saying(
        () => [[0, 16_383, 2, 8]],
        'h',
        () => [1, 7],
      ),
    ];
    await vi.advanceTimersByTimeAsync(2_000);
    expect(owner(100)).toBe('h:1');
  });
});

test('one slot that moves is one slot that changes', async () => {
  let view: View = [[0, 16_383, 1, 1]];
  start(saying(() => view));
  await vi.advanceTimersByTimeAsync(0);
  view = [
    [0, 99, 1, 1],
    [100, 100, 2, 2],
    [101, 16_383, 1, 1],
  ];
  topology.refresh();
  await vi.advanceTimersByTimeAsync(300);
  expect(changes).toEqual([16_384, 1]);
  expect([owner(99), owner(100), owner(101)]).toEqual(['h:1', 'h:2', 'h:1']);
});

test('a server without a host is where it was asked', async () => {
  start(saying(() => [[0, 16_383, 7, 1]], null));
  await vi.advanceTimersByTimeAsync(0);
  expect(owner(0)).toBe('asked:7');
});

test('however often somebody asks for it, the map is read five times a second at most', async () => {
  let asked = 0;
  const view = saying(() => [[0, 16_383, 1, 1]]);
  start((...commands) => {
    asked++;
    return view(...commands);
  });
  for (let at = 0; at < 1_000; at++) {
    topology.refresh();
    await vi.advanceTimersByTimeAsync(1);
  }
  expect(asked).toBeLessThanOrEqual(6);
  expect(asked).toBeGreaterThanOrEqual(5);
});

test('a server that hangs holds nobody up: the answers of others count at once', async () => {
  start(
    saying(() => [[0, 16_383, 1, 1]]),
    () => new Promise(() => undefined),
  );
  await vi.advanceTimersByTimeAsync(0);
  expect(owner(0)).toBe('h:1');
});
