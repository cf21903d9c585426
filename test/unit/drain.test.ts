/**
 * gateway/drain.ts: the slots of clients, and clients that move, stay, or wait for an answer.
 */
import { describe, expect, test } from 'vitest';
import { type DrainSettings, drain, type Movable, slotsBegun } from '../../gateway/drain.ts';
import type { CloseCode } from '../../shared/codes.ts';
import { within } from '../support/until.ts';

describe('the schedule', () => {
  test('spreads the slots evenly: slot i of n begins at i/n of the window', () => {
    for (const count of [1, 2, 3, 7, 60, 1_000]) {
      for (let slot = 0; slot < count; slot++) {
        const begins = (slot * 10_000) / count;
        expect(slotsBegun(count, 10_000, begins + 0.001)).toBe(slot + 1);
        if (slot > 0) expect(slotsBegun(count, 10_000, begins - 0.001)).toBe(slot);
      }
    }
  });

  test('begins no slot early, and all by the end of the window', () => {
    expect(slotsBegun(5, 1_000, -0.001)).toBe(0);
    expect(slotsBegun(5, 1_000, 0)).toBe(1);
    expect(slotsBegun(5, 1_000, 999.999)).toBe(5);
    expect(slotsBegun(5, 1_000, 1e9)).toBe(5);
    expect(slotsBegun(0, 1_000, 500)).toBe(0);
  });

  test('without a window all slots begin at once', () => {
    expect(slotsBegun(5, 0, -1)).toBe(0);
    expect(slotsBegun(5, 0, 0)).toBe(5);
  });
});

class FakeClient implements Movable {
  readonly inbox = { publishing: { count: 0 } };
  askedAt: number | undefined;
  closedAt: number | undefined;
  code: CloseCode | undefined;
  readonly #connections: Set<FakeClient>;
  readonly #moves: boolean;

  constructor(connections: Set<FakeClient>, moves: boolean) {
    this.#connections = connections;
    this.#moves = moves;
    connections.add(this);
  }

  askToMove(): void {
    expect(this.askedAt).toBe(undefined);
    this.askedAt = performance.now();
    if (this.#moves) this.#connections.delete(this);
  }

  close(code: CloseCode): void {
    expect(this.closedAt).toBe(undefined);
    this.closedAt = performance.now();
    this.code = code;
    this.#connections.delete(this);
  }
}

function crowd(count: number, { moves }: { moves: boolean }) {
  const connections = new Set<FakeClient>();
  const clients = Array.from({ length: count }, () => new FakeClient(connections, moves));
  return { connections, clients };
}

async function durationOf(connections: Set<FakeClient>, settings: DrainSettings): Promise<number> {
  const began = performance.now();
  await within(drain(connections, settings), 10_000, 'the drain ends');
  return performance.now() - began;
}

test.concurrent('a client that stays is asked once, and closed with 4001 a third of the time later; asking and closing are spread', async () => {
  const { connections, clients } = crowd(30, { moves: false });
  const began = performance.now();
  expect(await durationOf(connections, { drainNoticeMs: 200, drainMs: 3_000 })).toBeGreaterThan(3_000);
  const asked = clients.map(({ askedAt = 0 }) => askedAt - began).sort((one, other) => one - other);
  const closed = clients.map(({ closedAt = 0 }) => closedAt - began).sort((one, other) => one - other);
  expect(asked[0]).toBeGreaterThanOrEqual(199);
  for (const [index, at] of asked.entries()) expect(at).toBeGreaterThanOrEqual(199 + index * 66);
  for (const [index, at] of closed.entries()) expect(at).toBeGreaterThanOrEqual(199 + 1_000 + index * 66);
  for (const { askedAt = 0, closedAt = 0 } of clients) expect(closedAt - askedAt).toBeGreaterThan(200);
  expect(clients.every(({ code }) => code === 4001)).toBe(true);
});

test.concurrent('the order is random, not that of the connections', async () => {
  const { connections, clients } = crowd(50, { moves: false });
  await durationOf(connections, { drainNoticeMs: 0, drainMs: 300 });
  const inOrder = [...clients].sort((one, other) => (one.askedAt ?? 0) - (other.askedAt ?? 0));
  expect(inOrder).not.toEqual(clients);
});

test.concurrent('it ends when the last client leaves, also during the notice', async () => {
  const { connections } = crowd(1, { moves: true });
  expect(await durationOf(connections, { drainNoticeMs: 0, drainMs: 600_000 })).toBeLessThan(5_000);
  expect(await durationOf(new Set(), { drainNoticeMs: 600_000, drainMs: 600_000 })).toBeLessThan(5_000);
});

test.concurrent('with no time to drain, all are closed at once and nobody is asked', async () => {
  const { connections, clients } = crowd(100, { moves: false });
  expect(await durationOf(connections, { drainNoticeMs: 0, drainMs: 0 })).toBeLessThan(1_000);
  expect(clients.every(({ askedAt, code }) => askedAt === undefined && code === 4001)).toBe(true);
});

test.concurrent('a client that waits for an answer is closed when it has it, or after a bounded time', async () => {
  const { connections, clients } = crowd(2, { moves: false });
  const [answered, unanswered] = clients as [FakeClient, FakeClient];
  answered.inbox.publishing.count = 1;
  unanswered.inbox.publishing.count = 1;
  let answeredAt = Number.POSITIVE_INFINITY;
  setTimeout(() => {
    answered.inbox.publishing.count = 0;
    answeredAt = performance.now();
  }, 300);
  const lastedMs = await durationOf(connections, { drainNoticeMs: 0, drainMs: 0 });
  expect(answered.closedAt).toBeGreaterThanOrEqual(answeredAt);
  expect(answered.closedAt).toBeLessThan(unanswered.closedAt ?? 0);
  expect(lastedMs).toBeGreaterThanOrEqual(1_999);
});

test.concurrent('a connection that never closes delays the end by a few seconds at most', async () => {
  const { connections, clients } = crowd(1, { moves: false });
  const [stuck] = clients as [FakeClient];
  stuck.close = () => undefined;
  expect(await durationOf(connections, { drainNoticeMs: 0, drainMs: 0 })).toBeLessThan(8_000);
});
