/**
 * The contract of gateway/backplane/control.ts as tests, for every implementation: `create` makes all nodes of one cluster,
 * not started yet. One node or several, the promises are the same. What only a channel over Redis has to keep is in
 * test/contract/control-faults.test.ts.
 */
import { describe, expect, test } from 'vitest';
import {
  deadlineMs,
  maxAnswerBytes,
  maxBlocks,
  maxCommandBytes,
  maxQuestions,
} from '../../gateway/backplane/control.ts';
import { until } from '../support/until.ts';
import type { ControlNode } from './control-node.ts';

type CreateNodes = () => ControlNode[];

export function controlSuite(name: string, create: CreateNodes): void {
  describe(name, () => {
    for (const part of [asking, refusing, bounds, blocking, life]) part(create);
  });
}

/** `one` and `other` are the same node where there is only one. */
async function started(create: CreateNodes) {
  const nodes = await Promise.all(create().map((node) => node.start()));
  const [one, other] = [nodes[0], nodes.at(-1)];
  if (one === undefined || other === undefined) throw new Error('create made no node');
  const names = nodes.map(({ name }) => name).sort();
  return { nodes, one, other, names };
}

function asking(create: CreateNodes): void {
  describe('a question', () => {
    test.each([
      ['an object', { user: 'ann', list: [1, null, { deep: true }] }],
      ['text with quotes, line ends and every plane', '"\\\n\r\u0000 é😀\u2028'],
      ['null', null],
      ['a name that means something to JavaScript', JSON.parse('{"__proto__":{"a":1},"constructor":2}')],
    ])('reaches every node once, the asking one included, with its arguments as they are: %s', async (_, values) => {
      const { nodes, one, names } = await started(create);
      const { answers, missing } = await one.ask('echo', values);
      expect(missing).toEqual([]);
      expect(answers.map(({ node }) => node).sort()).toEqual(names);
      expect(new Set(answers.map(({ instance }) => instance))).toEqual(new Set(nodes.map(({ instance }) => instance)));
      for (const { value } of answers) expect(JSON.stringify(value)).toBe(JSON.stringify(values));
      for (const { performed } of nodes) expect(performed).toHaveLength(1);
    });

    test('is answered at once, and says how long that took', async () => {
      const { one } = await started(create);
      await one.ask('echo');
      expect(one.durations).toHaveLength(1);
      expect(one.durations[0]).toBeLessThan(deadlineMs / 1_000);
    });

    test('to one run of a node is performed and answered by that one only', async () => {
      const { nodes, one, other } = await started(create);
      expect(await one.ask('echo', { a: 1 }, other.instance)).toEqual({
        answers: [{ instance: other.instance, node: other.name, value: { a: 1 } }],
        missing: [],
      });
      expect(nodes.flatMap(({ performed }) => performed)).toHaveLength(1);
    });

    test('to a run of a node that is not there is answered by nobody, and nobody is waited for', async () => {
      const { nodes, one } = await started(create);
      const startedAt = performance.now();
      expect(await one.ask('echo', {}, 'gone-0123456789')).toEqual({ answers: [], missing: [] });
      expect(performance.now() - startedAt).toBeLessThan(deadlineMs);
      expect(nodes.flatMap(({ performed }) => performed)).toEqual([]);
    });

    test('and others at the same time get their own answers (100 of each node)', async () => {
      const { nodes, names } = await started(create);
      const asked = nodes.flatMap((node) =>
        Array.from({ length: 100 }, (_, each) => ({ node, value: [node.name, each] })),
      );
      const all = await Promise.all(asked.map(({ node, value }) => node.ask('echo', value)));
      for (const [index, { answers, missing }] of all.entries()) {
        expect(missing).toEqual([]);
        expect(answers.map(({ node }) => node).sort()).toEqual(names);
        for (const { value } of answers) expect(value).toEqual(asked[index]?.value);
      }
    });

    test('that returns nothing is answered by null', async () => {
      const { nodes, one } = await started(create);
      const { answers } = await one.ask('nothing');
      expect(answers.map(({ value }) => value)).toEqual(nodes.map(() => null));
    });
  });
}

function refusing(create: CreateNodes): void {
  describe('a node is missing, without a wait,', () => {
    test.each([
      ['that does not know the command', 'of a later version', {}],
      ['that fails', 'fail', {}],
      ['whose answer is too large', 'large', { bytes: maxAnswerBytes + 1 }],
    ])('%s', async (_, kind, values) => {
      const { one, names } = await started(create);
      const startedAt = performance.now();
      expect(await one.ask(kind, values)).toEqual({ answers: [], missing: names });
      expect(performance.now() - startedAt).toBeLessThan(deadlineMs);
      expect((await one.around()).missing).toEqual([]);
    });
  });
}

function bounds(create: CreateNodes): void {
  describe('the bounds', () => {
    test('a node that has not answered at the deadline is missing, and its late answer does no harm', async () => {
      const { nodes, one, other, names } = await started(create);
      const startedAt = performance.now();
      const held = one.ask('hold', {}, other.instance);
      const rest = one.ask('echo');
      expect((await rest).answers.map(({ node }) => node).sort()).toEqual(names);
      expect(await held).toEqual({ answers: [], missing: [other.name] });
      const tookMs = performance.now() - startedAt;
      expect(tookMs).toBeGreaterThan(deadlineMs - 10);
      expect(tookMs).toBeLessThan(deadlineMs + 500);
      for (const node of nodes) node.release();
      expect(await one.around()).toEqual({ there: names, missing: [] });
    });

    test('a large answer passes whole', async () => {
      const { one, other } = await started(create);
      const { answers } = await one.ask('large', { bytes: maxAnswerBytes - 2 }, other.instance);
      expect(answers.map(({ value }) => (value as string).length)).toEqual([maxAnswerBytes - 2]);
    });

    test('a command that is too large is a mistake of the caller', async () => {
      const { one, names } = await started(create);
      await expect(one.ask('echo', 'x'.repeat(maxCommandBytes))).rejects.toThrow(TypeError);
      expect(await one.around()).toEqual({ there: names, missing: [] });
    });

    test('of too many questions at a time the last ones are refused as unavailable; afterwards all is well', async () => {
      const { one, names } = await started(create);
      const all = await Promise.allSettled(Array.from({ length: maxQuestions + 10 }, () => one.ask('echo')));
      const refused = all.filter(({ status }) => status === 'rejected');
      expect(refused).toHaveLength(10);
      for (const each of refused) expect(each).toMatchObject({ reason: { code: 'unavailable' } });
      expect(await one.around()).toEqual({ there: names, missing: [] });
    });
  });
}

function blocking(create: CreateNodes): void {
  describe('a block', () => {
    test('is seen by every node, with the time it still lasts, and its version follows on the one before', async () => {
      const { nodes, one, other } = await started(create);
      const before = await other.channel.blocks(undefined);
      expect(before?.blocks).toEqual([]);
      const first = await one.channel.block('ann', 60_000);
      expect(first).toEqual({ user: 'ann', forMs: 60_000, before: before?.version, after: expect.any(String) });
      const second = await other.channel.block('böb "\n', 30_000);
      expect(second.before).toBe(first.after);
      for (const { channel } of nodes) {
        expect(await channel.blocks(second.after)).toBeUndefined();
        const list = await channel.blocks(first.after);
        expect(list?.version).toBe(second.after);
        expect(list?.blocks.map(({ user }) => user).sort()).toEqual(['ann', 'böb "\n']);
        const left = Object.fromEntries(list?.blocks.map(({ user, forMs }) => [user, forMs]) ?? []);
        expect(left.ann).toBeGreaterThan(50_000);
        expect(left.ann).toBeLessThanOrEqual(60_000);
      }
    });

    test('is replaced by the next one of the same user, longer or shorter; 0 ends it', async () => {
      const { one, other } = await started(create);
      await one.channel.block('ann', 60_000);
      await other.channel.block('ann', 1_000);
      expect((await one.channel.blocks(undefined))?.blocks[0]?.forMs).toBeLessThanOrEqual(1_000);
      const { after } = await one.channel.block('ann', 0);
      expect(await other.channel.blocks(undefined)).toEqual({ version: after, blocks: [] });
    });

    test('ends by itself', async () => {
      const { one, other } = await started(create);
      await one.channel.block('ann', 50);
      await one.channel.block('bob', 60_000);
      const left = async () => (await other.channel.blocks(undefined))?.blocks.map(({ user }) => user).join();
      await until(async () => (await left()) === 'bob', 5_000, 'only bob is blocked');
    });

    test(`is refused beyond ${maxBlocks}, until others have ended`, async () => {
      const { one } = await started(create);
      for (let user = 0; user < maxBlocks; user += 1_000) {
        await Promise.all(Array.from({ length: 1_000 }, (_, each) => one.channel.block(`u${user + each}`, 60_000)));
      }
      expect((await one.channel.blocks(undefined))?.blocks).toHaveLength(maxBlocks);
      await expect(one.channel.block('one more', 60_000)).rejects.toMatchObject({ code: 'unavailable' });
      await one.channel.block('u7', 1);
      const again = () => one.channel.block('one more', 60_000).then(() => true);
      await until(again, 5_000, 'there is room for one more');
    });
  });
}

function life(create: CreateNodes): void {
  describe('its life', () => {
    test('it says once, at the start, that a node may have missed commands', async () => {
      const { nodes } = await started(create);
      for (const node of nodes) await until(() => node.interruptions === 1, 5_000, 'it was told');
    });

    test('before the start and after the end nothing is taken, and questions under way end', async () => {
      const [early] = create();
      if (early === undefined) throw new Error('create made no node');
      await expect(early.ask('echo')).rejects.toMatchObject({ code: 'unavailable' });
      const { one } = await started(create);
      const held = one.ask('hold');
      const settled = expect(held).rejects.toMatchObject({ name: 'BackplaneError' });
      await one.close();
      await settled;
      await expect(one.ask('echo')).rejects.toMatchObject({ code: 'unavailable' });
      await expect(one.channel.block('ann', 1_000)).rejects.toMatchObject({ code: 'unavailable' });
      await one.close();
    });
  });
}
