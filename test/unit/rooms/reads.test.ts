/**
 * gateway/rooms/reads.ts alone, and in a hub on a slow backplane: reads for waiting clients come first, and every
 * waiting client gets an answer in bounded time. The clock is simulated.
 */
import { describe, expect, test, vi } from 'vitest';
import type { HistoryPage } from '../../../gateway/backplane/backplane.ts';
import { MemoryBackplane } from '../../../gateway/backplane/memory/backplane.ts';
import { type ReadPurpose, Reads } from '../../../gateway/rooms/reads.ts';
import { useFakeClock } from '../fake-clock.ts';
import { SocketlessNode } from '../socketless-node.ts';

useFakeClock();

/** Reads that end only when the test ends them. */
function manualReads() {
  const reads = new Reads();
  const underWay: { purpose: ReadPurpose; end(): void; fail(): void }[] = [];
  const began: ReadPurpose[] = [];
  const ask = (purpose: ReadPurpose): Promise<string> =>
    reads
      .run(purpose, () => {
        began.push(purpose);
        return new Promise<void>((end, reject) => {
          underWay.push({ purpose, end, fail: () => reject(new Error('it failed')) });
        });
      })
      .then(
        () => 'read',
        (error: Error & { code?: string }) => error.code ?? error.message,
      );
  const settle = () => vi.advanceTimersByTimeAsync(0);
  return { reads, underWay, began, ask, settle };
}

const many = <Item>(count: number, make: () => Item) => Array.from({ length: count }, make);

describe('turns', () => {
  test('256 reads run at once, at most 64 of them for history; each that ends or fails frees one turn', async () => {
    const { underWay, ask, settle } = manualReads();
    const history = many(100, () => ask('history'));
    await settle();
    expect(underWay).toHaveLength(64);
    const joins = many(300, () => ask('join'));
    await settle();
    expect(underWay).toHaveLength(256);
    while (underWay.length > 0) {
      const [first] = underWay.splice(0, 1);
      if (underWay.length % 2 === 0) first?.end();
      else first?.fail();
      await settle();
      expect(underWay.filter(({ purpose }) => purpose === 'history').length).toBeLessThanOrEqual(64);
      expect(underWay.length).toBeLessThanOrEqual(256);
    }
    const outcomes = await Promise.all([...history, ...joins]);
    expect(new Set(outcomes)).toEqual(new Set(['read', 'it failed']));
  });

  test('go to joins first, to rooms at least every fourth time, then to history', async () => {
    const { underWay, began, ask, settle } = manualReads();
    many(256, () => ask('join'));
    for (const purpose of ['history', 'room', 'join'] as const) many(40, () => ask(purpose));
    await settle();
    began.length = 0;
    for (let ended = 0; ended < 120; ended++) {
      underWay.shift()?.end();
      await settle();
    }
    const lastOf = (purpose: ReadPurpose) => began.lastIndexOf(purpose);
    expect(began).toHaveLength(120);
    expect(lastOf('join')).toBeLessThanOrEqual(54);
    expect(began.slice(0, 40).filter((purpose) => purpose === 'room')).toHaveLength(10);
    expect(lastOf('room')).toBeLessThan(80);
    expect(began.indexOf('history')).toBe(80);
  });

  test('go to a probe only while half are free and nobody waits; a probe never waits', async () => {
    const { reads, underWay, ask, settle } = manualReads();
    many(127, () => ask('room'));
    await settle();
    expect(reads.hasSpare).toBe(true);
    const probe = ask('probe');
    await settle();
    expect(reads.hasSpare).toBe(false);
    expect(await ask('probe')).toBe('unavailable');
    underWay.pop()?.end();
    expect(await probe).toBe('read');
    expect(reads.hasSpare).toBe(true);
  });

  test.each(['join', 'history'] as const)(
    'of kind %s: up to 10,000 reads wait, and one more is unavailable',
    async (purpose) => {
      const { underWay, ask, settle } = manualReads();
      const begun = many(256, () => ask('join'));
      const waiting = many(10_000, () => ask(purpose));
      expect(await ask(purpose)).toBe('unavailable');
      // Reads for rooms have no such bound: each room waits at most once.
      const healing = ask('room');
      await settle();
      for (let round = 0; round < 300 && underWay.length > 0; round++) {
        for (const { end } of underWay.splice(0)) end();
        await settle();
      }
      expect(new Set(await Promise.all([...begun, ...waiting, healing]))).toEqual(new Set(['read']));
    },
  );

  test('that come after more than 5 s are unavailable to clients, but not to rooms', async () => {
    const { underWay, ask, settle } = manualReads();
    const begun = many(256, () => ask('join'));
    const waiting = (['join', 'room', 'history'] as const).map((purpose) => ask(purpose));
    await vi.advanceTimersByTimeAsync(6_000);
    const late = ask('join');
    underWay.shift()?.end();
    underWay.shift()?.end();
    await settle();
    expect(await waiting[0]).toBe('unavailable');
    expect(await waiting[2]).toBe('unavailable');
    for (const { end } of underWay.splice(0)) end();
    expect([await waiting[1], await late]).toEqual(['read', 'read']);
    expect(new Set(await Promise.all(begun))).toEqual(new Set(['read']));
  });
});

/** Answers every read after `answerMs`. 900 ms is slow, but below the time after which a Redis connection is closed. */
class SlowBackplane extends MemoryBackplane {
  answerMs = 0;
  underWay = 0;
  most = 0;

  override async read(...asked: Parameters<MemoryBackplane['read']>): Promise<HistoryPage> {
    this.underWay++;
    this.most = Math.max(this.most, this.underWay);
    await new Promise((resolve) => setTimeout(resolve, this.answerMs));
    this.underWay--;
    return super.read(...asked);
  }
}

describe('while Redis takes 900 ms for each answer', () => {
  async function slowNode(rooms: number) {
    const backplane = new SlowBackplane(60_000);
    const world = await new SocketlessNode({ rules: [{ match: '*', history: {} }], backplane }).start();
    const open = (name: string) => {
      const room = world.hub.join(name);
      return world.hub.subscribed(room).then(() => room);
    };
    const opened = await Promise.all([
      vi.advanceTimersByTimeAsync(1_000),
      ...Array.from({ length: rooms }, (_, index) => open(`idle${index}`)),
    ]);
    expect(opened).toHaveLength(rooms + 1);
    backplane.answerMs = 900;
    const sweep = setInterval(() => world.hub.sweep(), 500);
    /** Duration in ms, of the simulated clock. */
    const took = async (work: Promise<unknown>): Promise<number> => {
      const from = performance.now();
      let done = Number.POSITIVE_INFINITY;
      void work.then(() => {
        done = performance.now() - from;
      });
      for (let waited = 0; waited < 300 && done === Number.POSITIVE_INFINITY; waited++) {
        await vi.advanceTimersByTimeAsync(100);
      }
      return done;
    };
    const close = () => {
      clearInterval(sweep);
      return world.close();
    };
    return { world, backplane, open, took, close };
  }

  test('a room that opens beside 2,000 idle ones is read at once, and so is a page of history', async () => {
    const { world, backplane, open, took, close } = await slowNode(2_000);
    await vi.advanceTimersByTimeAsync(30_000);
    // Probes of the idle rooms are in flight.
    expect(backplane.underWay).toBeGreaterThan(50);
    expect(await took(open('new'))).toBeLessThan(1_000);
    expect(await took(world.hub.history('idle1', { limit: 10, maxBytes: 1_000 }))).toBeLessThan(1_000);
    expect(backplane.most).toBeLessThanOrEqual(256);
    await close();
  });

  test('a room that opens does not wait for 2,000 that heal, and these heal in bounded time', async () => {
    const { world, backplane, open, took, close } = await slowNode(2_000);
    for (let index = 0; index < 2_000; index++) world.hub.gap(`idle${index}`, 'interrupted');
    expect(await took(open('new'))).toBeLessThan(2_000);
    const healed = (async () => {
      // All have healed once only probes read, at most 128 at once. 2,000 reads of 900 ms, 256 at once, take 7 s.
      while (backplane.underWay > 128) await new Promise((resolve) => setTimeout(resolve, 100));
    })();
    expect(await took(healed)).toBeLessThan(9_000);
    await close();
  });
});
