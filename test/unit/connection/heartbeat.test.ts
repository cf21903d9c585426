/**
 * gateway/connection/heartbeat.ts with a simulated clock: pings are spread evenly, missing pongs are detected in time
 * even if timers are late, and there is no burst after the event loop was blocked.
 */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Heartbeat, type Pinged } from '../../../gateway/connection/heartbeat.ts';
import { Random } from '../random.ts';

/** Answers after `answersAfterMs`, or never. Like a connection it has at most one ping in flight. */
class FakeConnection implements Pinged {
  readonly pings: number[] = [];
  slot = 0;
  #answersAfterMs: number;
  #sentAt = 0;

  constructor(answersAfterMs = 0) {
    this.#answersAfterMs = answersAfterMs;
  }

  ping(now: number): void {
    this.#hear(now);
    if (this.#sentAt !== 0) return;
    this.#sentAt = now;
    this.pings.push(now);
  }

  missesPong(now: number, timeoutMs: number): boolean {
    this.#hear(now);
    return this.#sentAt !== 0 && now - this.#sentAt >= timeoutMs;
  }

  #hear(now: number): void {
    if (this.#sentAt !== 0 && now - this.#sentAt >= this.#answersAfterMs) this.#sentAt = 0;
  }
}

const silent = Number.POSITIVE_INFINITY;

let heartbeat: Heartbeat<FakeConnection>;
let timedOut: { connection: FakeConnection; at: number }[];

/** Like the node, it removes a connection that timed out. */
function start(intervalMs: number, timeoutMs: number): void {
  timedOut = [];
  heartbeat = new Heartbeat<FakeConnection>(intervalMs, timeoutMs, (connection) => {
    timedOut.push({ connection, at: performance.now() });
    heartbeat.remove(connection, connection.slot);
  });
}

function add(count: number, answersAfterMs = 0): FakeConnection[] {
  return Array.from({ length: count }, () => {
    const connection = new FakeConnection(answersAfterMs);
    connection.slot = heartbeat.add(connection);
    return connection;
  });
}

function countPings(connections: FakeConnection[]): number {
  return connections.reduce((sum, { pings }) => sum + pings.length, 0);
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.advanceTimersByTime(1);
});

afterEach(() => {
  heartbeat.close();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

describe('pings', () => {
  test('reach every connection once per interval', () => {
    start(25_000, 10_000);
    const connections = add(1_000);
    for (let round = 1; round <= 4; round++) {
      vi.advanceTimersByTime(25_000);
      expect(new Set(connections.map(({ pings }) => pings.length))).toEqual(new Set([round]));
    }
    for (const { pings } of connections)
      for (const at of [1, 2, 3]) expect((pings[at] ?? 0) - (pings[at - 1] ?? 0)).toBe(25_000);
  });

  test('are spread evenly: a burst of 1,000 connections is no burst of pings', () => {
    start(25_000, 10_000);
    const connections = add(1_000);
    for (let tick = 0; tick < 500; tick++) {
      const before = countPings(connections);
      vi.advanceTimersByTime(100);
      expect(countPings(connections) - before).toBe(4);
    }
  });

  test('stay spread where connections come and go', () => {
    start(10_000, 5_000);
    const random = new Random(60);
    let connections = add(2_000);
    for (const connection of connections) if (random.chance(0.5)) heartbeat.remove(connection, connection.slot);
    connections = [...connections, ...add(1_000)];
    const perTick = Array.from({ length: 100 }, () => {
      const before = countPings(connections);
      vi.advanceTimersByTime(100);
      return countPings(connections) - before;
    });
    expect(perTick.reduce((sum, pings) => sum + pings)).toBeGreaterThan(1_800);
    expect(Math.max(...perTick)).toBeLessThan(40);
  });

  test('do not reach a removed connection, nor any after `close`', () => {
    start(1_000, 500);
    const [one, other] = add(2);
    if (one === undefined || other === undefined) throw new Error('two were added');
    heartbeat.remove(one, one.slot);
    vi.advanceTimersByTime(2_000);
    expect([one.pings.length, other.pings.length]).toEqual([0, 2]);
    heartbeat.close();
    vi.advanceTimersByTime(5_000);
    expect(other.pings).toHaveLength(2);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('of many connections are driven by one timer', () => {
    start(25_000, 10_000);
    add(5_000);
    expect(vi.getTimerCount()).toBe(1);
  });
});

describe('a missing pong', () => {
  const cases: [intervalMs: number, timeoutMs: number][] = [
    [25_000, 10_000],
    [1_000, 500],
    [100, 100],
    [100, 250],
    [1_000, 3_450],
    [2_500, 300],
  ];

  test.each(cases)('is detected: interval %i ms, timeout %i ms', (intervalMs, timeoutMs) => {
    start(intervalMs, timeoutMs);
    const connections = add(50, silent);
    vi.advanceTimersByTime(intervalMs + timeoutMs + 300);
    expect(new Set(timedOut.map(({ connection }) => connection))).toEqual(new Set(connections));
    expect(timedOut).toHaveLength(50);
    for (const { connection, at } of timedOut) {
      const waited = at - (connection.pings[0] ?? 0);
      expect(waited).toBeGreaterThanOrEqual(timeoutMs);
      expect(waited).toBeLessThanOrEqual(timeoutMs + 200);
    }
  });

  test.each(cases)(
    'is detected as fast when timers are late: interval %i ms, timeout %i ms',
    (intervalMs, timeoutMs) => {
      const random = new Random(61);
      const exact = performance.now.bind(performance);
      let lateness = 0;
      vi.spyOn(performance, 'now').mockImplementation(() => exact() + lateness);
      start(intervalMs, timeoutMs);
      const connections = add(200, silent);
      for (let step = 0; step < (intervalMs + timeoutMs + 300) / 10; step++) {
        lateness = random.next() * 9;
        vi.advanceTimersByTime(10);
      }
      expect(timedOut).toHaveLength(connections.length);
      for (const { connection, at } of timedOut) {
        const waited = at - (connection.pings[0] ?? 0);
        expect(waited).toBeGreaterThanOrEqual(timeoutMs);
        expect(waited).toBeLessThanOrEqual(timeoutMs + 210);
      }
    },
  );

  test('is never reported for a connection that answers in time', () => {
    start(1_000, 500);
    const connections = [...add(100, 0), ...add(100, 450)];
    vi.advanceTimersByTime(60_000);
    expect(timedOut).toEqual([]);
    expect(Math.min(...connections.map(({ pings }) => pings.length))).toBe(60);
  });
});

test('after the event loop was blocked for ten intervals each connection gets one ping, not ten', () => {
  const exact = performance.now.bind(performance);
  let blockedMs = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => exact() + blockedMs);
  start(10_000, 5_000);
  const connections = add(500);
  vi.advanceTimersByTime(10_000);
  const before = connections.map(({ pings }) => pings.length);
  blockedMs = 100_000;
  vi.advanceTimersByTime(100);
  expect(Math.max(...connections.map(({ pings }, index) => pings.length - (before[index] ?? 0)))).toBe(1);
  vi.advanceTimersByTime(200);
  expect(countPings(connections)).toBeLessThanOrEqual(500 + 500 + 3 * 5);
  vi.advanceTimersByTime(10_000);
  expect(Math.max(...connections.map(({ pings }, index) => pings.length - (before[index] ?? 0)))).toBeLessThanOrEqual(
    3,
  );
});
