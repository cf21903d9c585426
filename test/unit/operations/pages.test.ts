/** gateway/operations/cluster/pages.ts and distinct.ts: lists and counts over several nodes, against naive ones. */
import { describe, expect, test } from 'vitest';
import { Distinct, kept } from '../../../gateway/operations/cluster/distinct.ts';
import { ascending, cut, maxPageBytes, merge, Smallest } from '../../../gateway/operations/cluster/pages.ts';
import { Random } from '../random.ts';

interface Entry {
  name: string;
  count: number;
}

const byName = (one: Entry, other: Entry) => ascending(one.name, other.name);
const add = (one: Entry, other: Entry) => ({ name: one.name, count: one.count + other.count });

describe('pages', () => {
  test('of several nodes, one behind the other, have each name once, with its whole count (300 random clusters)', () => {
    const random = new Random(3);
    for (let round = 0; round < 300; round++) {
      const nodes = Array.from({ length: random.integer(1, 4) }, () =>
        Array.from({ length: random.integer(0, 30) }, () => ({ name: `r${random.integer(0, 40)}`, count: 1 }))
          .filter((entry, index, all) => all.findIndex(({ name }) => name === entry.name) === index)
          .sort(byName),
      );
      const limit = random.integer(1, 9);
      const found: Entry[] = [];
      for (let more = true, pages = 0; more; pages++) {
        expect(pages).toBeLessThan(100);
        const after = found.at(-1)?.name ?? '';
        // A node may also answer less than it was asked for.
        const parts = nodes.map((node) =>
          cut(
            node.filter(({ name }) => name > after),
            random.integer(1, limit),
          ),
        );
        const page = merge(parts, limit, byName, add);
        expect(page.entries.length).toBeLessThanOrEqual(limit);
        if (page.more) expect(page.entries.length).toBeGreaterThan(0);
        found.push(...page.entries);
        more = page.more;
      }
      const all = new Map<string, number>();
      for (const { name } of nodes.flat()) all.set(name, (all.get(name) ?? 0) + 1);
      expect(found).toEqual([...all].map(([name, count]) => ({ name, count })).sort(byName));
    }
  });

  test('are cut at their bytes, but never empty', () => {
    const large = Array.from({ length: 10 }, (_, index) => ({ name: `${index}${'x'.repeat(60_000)}`, count: 1 }));
    const { entries, more } = cut(large, 100);
    expect(more).toBe(true);
    expect(entries).toHaveLength(4);
    expect(JSON.stringify(entries).length).toBeLessThanOrEqual(maxPageBytes);
    expect(cut([{ name: 'x'.repeat(2 * maxPageBytes) }], 5)).toMatchObject({ more: false, entries: [{}] });
  });

  test('the smallest of a long list are those that sorting finds', () => {
    const random = new Random(5);
    for (const [length, limit] of [
      [0, 3],
      [2, 3],
      [3, 3],
      [1_000, 1],
      [1_000, 7],
      [1_000, 999],
      [5, 1_000],
    ] as const) {
      const texts = Array.from({ length }, (_, index) => `${random.integer(0, 1e9)}-${index}`);
      const smallest = new Smallest<number>(limit);
      for (const [index, text] of texts.entries()) smallest.add(text, index);
      for (const [index, text] of texts.entries()) if (random.chance(0.1)) smallest.add(text, index);
      expect(smallest.all).toEqual(
        texts
          .toSorted(ascending)
          .slice(0, limit)
          .map((text) => [text, texts.indexOf(text)]),
      );
    }
  });
});

describe('distinct texts', () => {
  const counted = (nodes: string[][]) => {
    const all = new Distinct();
    for (const texts of nodes) {
      const node = new Distinct();
      for (const text of texts) node.add(text);
      expect(node.hashes.length).toBeLessThanOrEqual(kept);
      all.merge(JSON.parse(JSON.stringify(node.hashes)));
    }
    return all.count;
  };
  const names = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => `user-${from + index}`);

  test.each([
    ['nothing', [[]], 0],
    ['one text on three nodes', [['a'], ['a'], ['a']], 1],
    ['texts that differ in one letter, or in their order', [['ab', 'ba', 'aa', 'bb', '', 'ab ']], 6],
    ['two thousand on two nodes, half of them on both', [names(0, 1_500), names(500, 2_000)], 2_000],
    [`${kept - 1}`, [names(0, kept - 1)], kept - 1],
  ])('%s are counted exactly', (_, nodes, count) => {
    expect(counted(nodes)).toBe(count);
  });

  test.each([5_000, 20_000, 200_000])('%d on three nodes are estimated within 5 %%', (count) => {
    const third = Math.floor(count / 3);
    const estimate = counted([names(0, 2 * third), names(third, count), names(0, third)]);
    expect(Math.abs(estimate - count) / count).toBeLessThan(0.05);
  });
});
