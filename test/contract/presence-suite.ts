/**
 * The contract of gateway/backplane/presence.ts as tests, for every implementation: `create` makes all nodes that are on one
 * and the same store, not started yet. One node or several, the promises are the same. What only an implementation that
 * can lose a node or its connection has to keep is in test/chaos/presence-store.test.ts.
 */
import { describe, expect, test } from 'vitest';
import type { Present } from '../../gateway/backplane/presence.ts';
import { Random } from '../unit/random.ts';
import { type PresenceNode, quiet } from './presence-node.ts';

type CreateNodes = () => PresenceNode[];

export function presenceSuite(name: string, create: CreateNodes): void {
  describe(name, () => {
    for (const part of [telling, pages, syncing, life, anything]) part(create);
  });
}

/** `one` and `other` are the same node where there is only one. */
async function started(create: CreateNodes, ...rooms: string[]) {
  const nodes = await Promise.all(create().map((node) => node.start(...rooms)));
  const [one, other] = [nodes[0], nodes.at(-1)];
  if (one === undefined || other === undefined) throw new Error('create made no node');
  const fence = () => Promise.all(nodes.map((node) => node.fence()));
  return { nodes, one, other, fence };
}

function telling(create: CreateNodes): void {
  describe('join and leave', () => {
    test('are told for the first connection of a user and the last, to every node, once', async () => {
      const { nodes, one, other, fence } = await started(create, 'a');
      const [first, second] = [one.present('ann', { name: 'Ann' }), other.present('ann', { name: 'Ann' })];
      await one.store.change('a', [first], []);
      await other.store.change('a', [second], []);
      await one.store.change('a', [], [first]);
      await fence();
      for (const node of nodes) expect(node.story('a')).toEqual(['join ann']);
      await other.store.change('a', [], [second]);
      await fence();
      for (const node of nodes) {
        expect(node.frames('a')).toEqual([
          { type: 'join', room: 'a', members: [{ user: 'ann', info: { name: 'Ann' } }] },
          { type: 'leave', room: 'a', members: [{ user: 'ann', info: { name: 'Ann' } }] },
        ]);
      }
    });

    test('are told for each anonymous connection', async () => {
      const { nodes, one, other, fence } = await started(create, 'a');
      const [first, second] = [one.present(null), other.present(null)];
      await one.store.change('a', [first], []);
      await other.store.change('a', [second], []);
      await one.store.change('a', [], [first]);
      await fence();
      const story = [`join ${first.connection}`, `join ${second.connection}`, `leave ${first.connection}`];
      for (const node of nodes) expect(node.story('a')).toEqual(story);
    });

    test('of one change come in one frame each, those who came first', async () => {
      const { one, fence } = await started(create, 'a');
      const old = [one.present('ann'), one.present('bob', 1)];
      await one.store.change('a', old, []);
      await one.store.change('a', [one.present('cid', null), one.present('dan')], old);
      await fence();
      const [, join, leave, ...rest] = one.frames('a');
      expect(join).toEqual({ type: 'join', room: 'a', members: [{ user: 'cid', info: null }, { user: 'dan' }] });
      expect(leave).toEqual({ type: 'leave', room: 'a', members: [{ user: 'ann' }, { user: 'bob', info: 1 }] });
      expect(rest).toEqual([]);
    });

    test('are not told for a user who only changes connections', async () => {
      const { one, fence } = await started(create, 'a');
      const [old, next] = [one.present('ann'), one.present('ann')];
      await one.store.change('a', [old], []);
      await one.store.change('a', [next], [old]);
      await fence();
      expect(one.story('a')).toEqual(['join ann']);
      expect((await one.page('a')).members).toEqual([next]);
    });

    test('are not told for a connection that is gone before it was written', async () => {
      const { one, fence } = await started(create, 'a');
      await one.store.change('a', [], [one.present('ann'), one.present(null)]);
      await fence();
      expect(one.story('a')).toEqual([]);
    });

    test('are told when an anonymous connection becomes a user, under the same name', async () => {
      const { one, fence } = await started(create, 'a');
      const before = one.present(null);
      const after: Present = { ...before, user: 'ann' };
      await one.store.change('a', [before], []);
      await one.store.change('a', [after], [before]);
      await fence();
      expect(one.story('a')).toEqual([`join ${before.connection}`, 'join ann', `leave ${before.connection}`]);
      expect(await one.page('a')).toMatchObject({ count: 1, users: 1, members: [after] });
    });

    test('are not told again, and nothing is counted twice, when a change is repeated', async () => {
      const { nodes, one, fence } = await started(create, 'a');
      const [ann, gone] = [one.present('ann'), one.present('bob')];
      await one.store.change('a', [ann, gone], []);
      for (let round = 0; round < 3; round++) await one.store.change('a', [ann], [gone]);
      await fence();
      for (const node of nodes) expect(node.story('a')).toEqual(['join ann', 'join bob', 'leave bob']);
      expect(await one.page('a')).toEqual({ count: 1, users: 1, members: [ann], more: false });
    });

    test('of other rooms, and of rooms that do not want it, do not come', async () => {
      const { one, fence } = await started(create, 'a', quiet);
      await one.store.change('b', [one.present('ann')], []);
      await one.store.change(quiet, [one.present('ann')], []);
      await fence();
      expect([...one.story('a'), ...one.story(quiet)]).toEqual([]);
      expect((await one.page(quiet)).count).toBe(1);
    });

    test.each([
      ['quotes and line ends', '"\\\n\r\t\v\u0000\u001f', { '"\n': ['\n', '\v', '{}'] }],
      ['every plane', 'é😀\u2028', { ключ: '😀' }],
      ['what JSON can say and few read', 'x', ['\ud800', 1e300, -0.5, { __proto__: null }, [[[[]]]]]],
      ['what a separator looks like', '1p0000000000000\n{}', '\n\n\n'],
    ])('carry user and info as they are: %s', async (_, user, info) => {
      const { one, other, fence } = await started(create, 'a');
      const present = one.present(user, info);
      await one.store.change('a', [present], []);
      await fence();
      expect(other.frames('a')).toEqual([
        { type: 'join', room: 'a', members: [{ user, info: JSON.parse(present.info ?? '') }] },
      ]);
      expect((await other.page('a')).members).toEqual([present]);
    });
  });
}

function pages(create: CreateNodes): void {
  describe('a page', () => {
    test('of a room that nobody is in is empty', async () => {
      const { one } = await started(create);
      expect(await one.page('a')).toEqual({ count: 0, users: 0, members: [], more: false });
      expect(await one.page('a', { after: 'x' })).toEqual({ count: 0, users: 0, members: [], more: false });
    });

    test('counts connections and users, each anonymous connection as one, and holds those of all nodes', async () => {
      const { nodes, one } = await started(create);
      for (const node of nodes) {
        await node.store.change('a', [node.present('ann'), node.present('ann'), node.present(null)], []);
      }
      const page = await one.page('a');
      expect(page).toMatchObject({ count: 3 * nodes.length, users: 1 + nodes.length, more: false });
      expect(page.members).toHaveLength(3 * nodes.length);
    });

    test('is followed by the next one without a hole, in the order of connections, however alike', async () => {
      const { one, other } = await started(create);
      const all = Array.from({ length: 123 }, (_, index) => one.present(`user${index}`));
      const foreign = other === one ? [] : Array.from({ length: 40 }, (_, index) => other.present(`user${index}`));
      await one.store.change('a', all, []);
      if (foreign.length > 0) await other.store.change('a', foreign, []);
      const found: Present[] = [];
      for (let more = true; more; ) {
        const after = found.at(-1)?.connection;
        const page = await other.page('a', { limit: 10, ...(after === undefined ? {} : { after }) });
        expect(page).toMatchObject({ count: all.length + foreign.length, users: all.length });
        expect(page.members.length).toBeLessThanOrEqual(10);
        more = page.more;
        found.push(...page.members);
      }
      const inOrder = [...all, ...foreign].sort((a, b) => (a.connection < b.connection ? -1 : 1));
      expect(found).toEqual(inOrder);
    });

    test('goes on also behind a connection that is gone', async () => {
      const { one } = await started(create);
      const [first, gone, last] = [one.present('a'), one.present('b'), one.present('c')];
      await one.store.change('a', [first, last], []);
      expect((await one.page('a', { after: gone.connection })).members).toEqual([last]);
      expect((await one.page('a', { after: last.connection })).members).toEqual([]);
    });

    test('is cut at its bytes, but never empty', async () => {
      const { one } = await started(create);
      const info = 'x'.repeat(500);
      await one.store.change(
        'a',
        Array.from({ length: 50 }, (_, index) => one.present(`u${index}`, info)),
        [],
      );
      const page = await one.page('a', { maxBytes: 10_000 });
      expect(page).toMatchObject({ count: 50, users: 50, more: true });
      expect(page.members.length).toBeGreaterThan(10);
      expect(page.members.length).toBeLessThan(20);
      expect(await one.page('a', { maxBytes: 1 })).toMatchObject({ members: [{ user: 'u0' }], more: true });
    });
  });
}

function syncing(create: CreateNodes): void {
  describe('sync', () => {
    test('makes the store hold exactly these of this node, and tells the difference', async () => {
      const { nodes, one, other, fence } = await started(create, 'a');
      const [stays, goes, comes] = [one.present('stays'), one.present('goes'), one.present('comes')];
      const foreign = other === one ? [] : [other.present('foreign')];
      await one.store.change('a', [stays, goes], []);
      if (foreign.length > 0) await other.store.change('a', foreign, []);
      await fence();
      const before = one.story('a').length;
      await one.store.sync('a', () => [comes, stays]);
      await one.store.sync('a', () => [comes, stays]);
      await fence();
      for (const node of nodes) expect(node.story('a').slice(before)).toEqual(['join comes', 'leave goes']);
      expect((await one.page('a')).members).toHaveLength(2 + foreign.length);
      await one.store.sync('a', () => []);
      expect((await one.page('a')).members).toEqual(foreign);
    });

    test('works in parts on many, each told once', async () => {
      const { one, other } = await started(create, 'a');
      const many = Array.from({ length: 2_500 }, (_, index) => one.present(`u${index}`));
      const foreign = other === one ? [] : [other.present('foreign')];
      if (foreign.length > 0) await other.store.change('a', foreign, []);
      await one.store.change('a', many.slice(0, 900), []);
      await one.store.sync('a', () => many.slice(500));
      await one.fence();
      expect(one.story('a').filter((line) => line.startsWith('leave'))).toHaveLength(500);
      expect(new Set(one.story('a')).size).toBe(2_500 + 500 + foreign.length);
      expect(one.story('a')).toHaveLength(3_000 + foreign.length);
      expect(await other.page('a')).toMatchObject({ count: 2_000 + foreign.length, users: 2_000 + foreign.length });
      await one.store.sync('a', () => []);
      expect(await other.page('a')).toMatchObject({ count: foreign.length, users: foreign.length });
    });
  });
}

function life(create: CreateNodes): void {
  describe('its life', () => {
    test('after the end nothing is taken and nothing is told', async () => {
      const { one, other } = await started(create, 'a');
      const ann = one.present('ann');
      await one.store.close();
      for (const refused of [one.store.change('a', [ann], []), one.page('a'), one.store.sync('a', () => [ann])]) {
        await expect(refused).rejects.toMatchObject({ name: 'BackplaneError', code: 'unavailable' });
      }
      expect(other.story('a')).toEqual([]);
    });

    test('it may be closed twice, and before it was started', async () => {
      const { one } = await started(create);
      await one.store.close();
      await one.store.close();
      for (const node of create()) await node.store.close();
    });
  });
}

function anything(create: CreateNodes): void {
  test('whatever changes come in whatever order: what is told adds up to who is there (500 changes)', async () => {
    const { nodes, other, fence } = await started(create, 'a');
    const random = new Random(20_261_122);
    const there = new Map<PresenceNode, Set<Present>>(nodes.map((node) => [node, new Set()]));
    for (let round = 0; round < 500; round++) {
      const node = random.pick(nodes);
      const mine = there.get(node) ?? new Set();
      const entered = Array.from({ length: random.integer(0, 3) }, () =>
        node.present(random.chance(0.2) ? null : `u${random.integer(0, 11)}`),
      );
      const left = [...mine].filter(() => random.chance(0.3));
      for (const each of entered) mine.add(each);
      for (const each of left) mine.delete(each);
      if (random.chance(0.1)) await node.store.sync('a', () => mine);
      else await node.store.change('a', entered, left);
    }
    await fence();
    const all = [...there.values()].flatMap((set) => [...set]);
    const users = new Set(all.map(({ user, connection }) => user ?? connection));
    expect(await other.page('a')).toMatchObject({ count: all.length, users: users.size });
    for (const node of nodes) {
      const told = new Set<string>();
      for (const line of node.story('a')) {
        const [type, user = ''] = line.split(' ');
        expect(told.has(user), line).toBe(type === 'leave');
        if (type === 'join') told.add(user);
        else told.delete(user);
      }
      expect(told).toEqual(users);
    }
  }, 60_000);
}
