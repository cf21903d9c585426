/**
 * gateway/operations/blocks.ts: whatever comes in whatever order, a node knows the blocks of the store in the end, and never
 * lets go of one meanwhile.
 */
import { describe, expect, test, vi } from 'vitest';
import { BackplaneError } from '../../../gateway/backplane/backplane.ts';
import type { BlockChange, BlockList } from '../../../gateway/backplane/control.ts';
import { MemoryControl } from '../../../gateway/backplane/memory/control.ts';
import { Blocks, lookMs } from '../../../gateway/operations/blocks.ts';
import { useFakeClock } from '../fake-clock.ts';
import { Random } from '../random.ts';

useFakeClock();

const quiet = { perform: async () => undefined, interrupted: () => undefined, asked: () => undefined };

/** A store, and a node that reads it. The test decides when a reading is answered. */
function world() {
  const store = new MemoryControl('n-1', 'n');
  store.start(quiet);
  const blocked: string[][] = [];
  const lost: number[] = [];
  const failures: unknown[] = [];
  const reads: (string | undefined)[] = [];
  const state = { away: false, delayMs: 0 };
  const read = async (known: string | undefined): Promise<BlockList | undefined> => {
    reads.push(known);
    if (state.away) throw new BackplaneError('unavailable', 'away');
    const list = await store.blocks(known);
    if (state.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, state.delayMs));
    return list;
  };
  const blocks = new Blocks({
    read,
    onBlocked: (users) => blocked.push([...(users as Set<string>)].sort()),
    onLost: (users) => lost.push(users),
    onFailed: (error) => failures.push(error),
  });
  return { store, blocks, blocked, lost, failures, reads, state };
}

const turn = () => vi.advanceTimersByTimeAsync(0);

describe('a node', () => {
  test('knows the blocks of the store after a look, each until its end', async () => {
    const { store, blocks, blocked } = world();
    await store.block('ann', 1_000);
    await store.block('bob', 5_000);
    expect(blocks.has('ann')).toBe(false);
    await blocks.look();
    expect(['ann', 'bob', 'cid'].map((user) => blocks.has(user))).toEqual([true, true, false]);
    expect(blocked).toEqual([['ann', 'bob']]);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(['ann', 'bob'].map((user) => blocks.has(user))).toEqual([false, true]);
  });

  test('takes changes one after the other without asking the store', async () => {
    const { store, blocks, reads } = world();
    await blocks.look();
    const before = reads.length;
    blocks.take(await store.block('ann', 1_000));
    blocks.take(await store.block('bob', 1_000));
    blocks.take(await store.block('ann', 0));
    expect(['ann', 'bob'].map((user) => blocks.has(user))).toEqual([false, true]);
    expect(reads.length).toBe(before);
  });

  test('that missed a change sees it by the next one, and says who is blocked of whom it did not know', async () => {
    const { store, blocks, blocked } = world();
    await blocks.look();
    await store.block('missed', 60_000);
    blocks.take(await store.block('ann', 60_000));
    expect(blocks.has('ann')).toBe(true);
    await turn();
    expect(blocks.has('missed')).toBe(true);
    expect(blocked).toEqual([['missed']]);
  });

  test(`that missed a change, and the end of one, knows within ${lookMs} ms all the same`, async () => {
    const { store, blocks, blocked } = world();
    blocks.start();
    blocks.take(await store.block('ann', 60_000));
    await turn();
    await store.block('ann', 0);
    await store.block('bob', 60_000);
    await vi.advanceTimersByTimeAsync(lookMs);
    expect(['ann', 'bob'].map((user) => blocks.has(user))).toEqual([false, true]);
    expect(blocked).toEqual([['bob']]);
    blocks.close();
    await store.block('cid', 60_000);
    await vi.advanceTimersByTimeAsync(2 * lookMs);
    expect(blocks.has('cid')).toBe(false);
  });

  test('goes on with what it knows while the store is away', async () => {
    const { store, blocks, failures, state } = world();
    await store.block('ann', 60_000);
    await blocks.look();
    state.away = true;
    await blocks.look();
    expect(blocks.has('ann')).toBe(true);
    expect(failures).toEqual([expect.any(BackplaneError)]);
  });

  test('keeps a block that comes while an older list is on its way', async () => {
    const { store, blocks, state } = world();
    state.delayMs = 100;
    const looking = blocks.look();
    await turn();
    blocks.take(await store.block('ann', 60_000));
    await vi.advanceTimersByTimeAsync(99);
    expect(blocks.has('ann')).toBe(true);
    await vi.advanceTimersByTimeAsync(1);
    expect(blocks.has('ann')).toBe(true);
    await vi.advanceTimersByTimeAsync(1_000);
    await looking;
    expect(blocks.has('ann')).toBe(true);
  });
});

test('whatever is lost, late or in another order: the node knows the blocks of the store in the end (300 rounds)', async () => {
  const random = new Random(11);
  for (let round = 0; round < 300; round++) {
    const { store, blocks, state } = world();
    blocks.start();
    state.delayMs = random.integer(0, 300);
    const waiting: BlockChange[] = [];
    for (let step = 0; step < 12; step++) {
      const user = random.pick(['ann', 'bob', 'cid']);
      const change = await store.block(user, random.chance(0.4) ? 0 : 600_000);
      if (random.chance(0.7)) waiting.push(change);
      if (random.chance(0.2)) waiting.reverse();
      while (waiting.length > 0 && random.chance(0.6)) blocks.take(waiting.shift() as BlockChange);
      if (random.chance(0.2)) void blocks.look();
      await vi.advanceTimersByTimeAsync(random.integer(0, 200));
    }
    for (const change of waiting) blocks.take(change);
    await vi.advanceTimersByTimeAsync(3 * lookMs);
    const there = (await store.blocks(undefined))?.blocks.map(({ user }) => user).sort();
    expect(['ann', 'bob', 'cid'].filter((user) => blocks.has(user))).toEqual(there);
    blocks.close();
  }
});

describe('a store that has lost the blocks', () => {
  /** Lists by hand: a version begins with the one that began the list. */
  function told() {
    const answer: { list: BlockList | undefined } = { list: undefined };
    const lost: number[] = [];
    const blocks = new Blocks({
      read: async () => answer.list,
      onBlocked: () => undefined,
      onLost: (users) => lost.push(users),
      onFailed: (error) => {
        throw error;
      },
    });
    const look = (version: string, ...users: string[]) => {
      answer.list = { version, blocks: users.map((user) => ({ user, forMs: 60_000 })) };
      return blocks.look();
    };
    return { blocks, lost, look };
  }

  test('and has none: the node goes on with those it knows until they end, and says so once', async () => {
    const { blocks, lost, look } = told();
    await look('1/1', 'ann', 'bob');
    await look('');
    await look('');
    expect([lost, blocks.has('ann'), blocks.has('bob')]).toEqual([[2], true, true]);
    await vi.advanceTimersByTimeAsync(60_001);
    expect(blocks.has('ann')).toBe(false);
  });

  test('and has others: the node knows both', async () => {
    const { blocks, lost, look } = told();
    await look('1/1', 'ann');
    await look('2/2', 'cid');
    await look('2/3', 'cid');
    expect([lost, blocks.has('ann'), blocks.has('cid')]).toEqual([[1], true, true]);
  });

  test('and has an older state of them: the node knows those that are missing there, and says so once', async () => {
    const { blocks, lost, look } = told();
    await look('1.5/9.5', 'ann');
    await look('1.5/10.70', 'ann', 'bob');
    await look('1.5/10.9', 'ann');
    await look('1.5/10.9', 'ann');
    expect([lost, blocks.has('ann'), blocks.has('bob')]).toEqual([[1], true, true]);
  });

  test('and gets one of them again: from then on it lasts as the store says', async () => {
    const { blocks, look } = told();
    await look('1.1/1.1', 'ann', 'bob');
    await look('');
    blocks.take({ user: 'ann', forMs: 1_000, before: '', after: '2.1/2.1' });
    await look('2.1/2.2', 'bob');
    await look('2.1/2.3');
    await vi.advanceTimersByTimeAsync(1_001);
    expect([blocks.has('ann'), blocks.has('bob')]).toEqual([false, false]);
  });

  test('a block that was ended is not lost, nor one that is over', async () => {
    const { blocks, lost, look } = told();
    await look('1/1', 'ann', 'bob');
    await look('1/2', 'bob');
    expect([lost, blocks.has('ann'), blocks.has('bob')]).toEqual([[], false, true]);
    await vi.advanceTimersByTimeAsync(60_001);
    await look('');
    await look('3/3');
    expect(lost).toEqual([]);
  });
});
