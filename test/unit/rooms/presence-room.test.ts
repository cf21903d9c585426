/**
 * gateway/rooms/presence-room.ts: while members come and go and writes succeed, fail or have an unknown outcome, the
 * store ends up with exactly the members of the room. The clock is simulated.
 */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { BackplaneError } from '../../../gateway/backplane/backplane.ts';
import { MemoryPresence } from '../../../gateway/backplane/memory/presence.ts';
import {
  type PresencePage,
  type PresenceStore,
  type Present,
  writeIntervalMs,
} from '../../../gateway/backplane/presence.ts';
import { PresenceRoom } from '../../../gateway/rooms/presence-room.ts';
import { Faults } from '../../../gateway/telemetry/faults.ts';
import { createLog } from '../../../gateway/telemetry/log.ts';
import { Random } from '../random.ts';

const faults = new Faults(createLog('silent'));
const member = null;

beforeEach(() => vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'performance'] }));
afterEach(() => vi.useRealTimers());

function present(connection: string, user: string | null = connection, info?: string): Present {
  return { connection, user, info };
}

/** A store that records its writes and fails on request. */
class FickleStore implements PresenceStore {
  readonly #store = new MemoryPresence({ announces: () => true });
  readonly writesAt: number[] = [];
  released = 0;
  /** The outcome of the next write. */
  fate: () => 'done' | 'refused' | 'lost before' | 'lost after' = () => 'done';

  async start(): Promise<void> {
    await this.#store.start({ changed: () => undefined, outOfSync: () => undefined, reaped: () => undefined });
  }

  change(room: string, entered: Present[], left: Present[]): Promise<void> {
    return this.#write(() => this.#store.change(room, entered, left));
  }

  sync(room: string, presents: () => Iterable<Present>): Promise<void> {
    return this.#write(() => this.#store.sync(room, presents));
  }

  async release(): Promise<void> {
    this.released++;
  }

  page(room: string): Promise<PresencePage> {
    return this.#store.page(room, { after: undefined, limit: 1000, maxBytes: 1e6 });
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #write(write: () => Promise<void>): Promise<void> {
    this.writesAt.push(performance.now());
    const fate = this.fate();
    await new Promise((resolve) => setTimeout(resolve, 20));
    if (fate === 'refused') throw new BackplaneError('unavailable', 'refused');
    if (fate !== 'lost before') await write();
    if (fate !== 'done') throw new BackplaneError('timeout', 'nobody knows');
  }
}

async function open() {
  const store = new FickleStore();
  await store.start();
  let idle = 0;
  const room = new PresenceRoom<null>('a', store, faults, () => idle++);
  return { store, room, idle: () => idle };
}

test('the first change is written at once, later ones together, with at most one write per interval', async () => {
  const { store, room } = await open();
  for (let index = 0; index < 100; index++) {
    room.enter(present(`c${index}`), member);
    await vi.advanceTimersByTimeAsync(10);
  }
  await vi.advanceTimersByTimeAsync(writeIntervalMs);
  expect(store.writesAt.length).toBeLessThanOrEqual(1 + Math.ceil(1_000 / writeIntervalMs));
  const [first = 0, ...later] = store.writesAt;
  expect(first).toBeLessThan(10);
  later.reduce((before, at) => {
    expect(at - before).toBeGreaterThanOrEqual(writeIntervalMs);
    return at;
  }, first);
  expect((await store.page('a')).count).toBe(100);
});

test('`written` waits for the changes before the call, not for those after it', async () => {
  const { store, room } = await open();
  await room.written();
  room.enter(present('a'), member);
  const written = room.written();
  let busy = true;
  const churn = (async () => {
    for (let index = 0; busy; index++) {
      room.enter(present(`c${index}`), member);
      await vi.advanceTimersByTimeAsync(30);
    }
  })();
  await written;
  busy = false;
  await churn;
  expect((await store.page('a')).members.map(({ connection }) => connection)).toContain('a');
});

test('a failed write rejects `written`, and a sync follows: when the store is back, when a client asks, or after 5 s', async () => {
  const { store, room } = await open();
  store.fate = () => 'refused';
  room.enter(present('a'), member);
  const asked = room.written().then(
    () => 'written',
    (error: BackplaneError) => error.code,
  );
  await vi.advanceTimersByTimeAsync(100);
  expect(await asked).toBe('unavailable');
  for (const wake of [() => room.syncAfter(0), () => void room.written(), () => undefined]) {
    store.fate = () => 'refused';
    room.syncAfter(0);
    await vi.advanceTimersByTimeAsync(writeIntervalMs + 100);
    store.fate = () => 'done';
    const before = store.writesAt.length;
    wake();
    await vi.advanceTimersByTimeAsync(5_100);
    expect(store.writesAt).toHaveLength(before + 1);
    expect((await store.page('a')).count).toBe(1);
  }
});

test('it is idle, and released in the store, only when the last member has left and that is written', async () => {
  const { store, room, idle } = await open();
  room.enter(present('a'), member);
  await vi.advanceTimersByTimeAsync(1_000);
  expect([store.released, idle()]).toEqual([0, 0]);
  store.fate = () => 'lost after';
  room.leave('a');
  await vi.advanceTimersByTimeAsync(1_000);
  expect([store.released, idle()]).toEqual([0, 0]);
  store.fate = () => 'done';
  await vi.advanceTimersByTimeAsync(5_000);
  expect([store.released, idle()]).toEqual([1, 1]);
});

test('a connection that leaves and comes back, or changes its user, is present once', async () => {
  const { store, room } = await open();
  room.enter(present('a'), member);
  await vi.advanceTimersByTimeAsync(1_000);
  room.leave('a');
  room.enter(present('a'), member);
  await vi.advanceTimersByTimeAsync(1_000);
  expect((await store.page('a')).members).toEqual([present('a')]);
  room.enter(present('a', 'other', '{}'), member);
  await vi.advanceTimersByTimeAsync(1_000);
  expect((await store.page('a')).members).toEqual([present('a', 'other', '{}')]);
});

test.each([1, 2, 3, 4, 5])(
  'after random changes and faults the store holds exactly the members (seed %i)',
  async (seed) => {
    const random = new Random(seed);
    const { store, room } = await open();
    store.fate = () => random.pick(['done', 'done', 'refused', 'lost before', 'lost after']);
    const there = new Map<string, Present>();
    for (let step = 0; step < 2_000; step++) {
      const each = present(
        `c${random.integer(0, 20)}`,
        random.pick(['ann', 'bob', null]),
        random.pick([undefined, '1']),
      );
      if (random.chance(0.5)) {
        there.set(each.connection, each);
        room.enter(each, member);
      } else {
        there.delete(each.connection);
        room.leave(each.connection);
      }
      if (random.chance(0.02)) room.syncAfter(random.integer(0, 100));
      if (random.chance(0.3)) await vi.advanceTimersByTimeAsync(random.integer(1, 400));
    }
    store.fate = () => 'done';
    await vi.advanceTimersByTimeAsync(10_000);
    const page = await store.page('a');
    const wanted = [...there.values()].sort((one, other) => (one.connection < other.connection ? -1 : 1));
    expect(page.members).toEqual(wanted);
    expect(page.users).toBe(new Set(wanted.map(({ connection, user }) => user ?? connection)).size);
  },
);
