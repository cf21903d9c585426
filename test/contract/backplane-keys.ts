/**
 * The part of the contract of gateway/backplane/backplane.ts about keys: a publication that is tried again is delivered once, for
 * as long as its key is remembered. Run by test/contract/backplane-suite.ts over every implementation.
 */
import { describe, expect, test } from 'vitest';
import { until } from '../support/until.ts';
import { type CreateBackplanes, outcome, publication, Recorder, startNodes, subscribedNodes } from './recorder.ts';

const deadlineMs = 10_000;

export function keys(create: CreateBackplanes): void {
  describe('a key', () => {
    const keyed = (room: string, by: string, key: string) => publication(room, { dedupe: { by, key } });

    test('is published once, whichever node is asked again, and the answer says which it was', async () => {
      const { nodes, one, other } = await subscribedNodes(create, 'a');
      const first = keyed('a', 'ann', 'k1');
      expect(await one.backplane.publish(first)).toEqual({ duplicate: false });
      expect(await other.backplane.publish(keyed('a', 'ann', 'k1'))).toEqual({ duplicate: true });
      expect(await one.backplane.publish(keyed('a', 'ann', 'k1'))).toEqual({ duplicate: true });
      for (const node of nodes) {
        await node.fence(one);
        expect(node.frames('a')).toEqual([first.frame]);
      }
    });

    test('is published once also when all nodes are asked at the same time (100 keys, 6 tries each)', async () => {
      const { nodes } = await subscribedNodes(create, 'a');
      const tries = Array.from({ length: 600 }, (_, index) => {
        const node = nodes[index % nodes.length];
        if (node === undefined) throw new Error('there is a node');
        return node.backplane.publish(keyed('a', 'ann', `k${Math.floor(index / 6)}`));
      });
      const published = await Promise.all(tries);
      expect(published.filter(({ duplicate }) => !duplicate)).toHaveLength(100);
      for (const node of nodes) {
        await node.fence();
        expect(node.frames('a')).toHaveLength(100);
      }
    });

    test('is of one room and one publisher: the same one elsewhere is another', async () => {
      const { one, other } = await subscribedNodes(create, 'a', 'b');
      const sent: [string, string, string][] = [
        ...([
          ['a', 'ann', 'k'],
          ['b', 'ann', 'k'],
          ['a', 'bob', 'k'],
          ['a', 'ann', 'K'],
          ['a', '', 'k'],
        ] as const),
        ...([
          ['a', 'a', 'b,c'],
          ['a', 'a,b', 'c'],
          ['a', 'a"', ',"b'],
          ['a', 'a","', '"b'],
        ] as const),
        ...([
          ['a', 'ann', 'é'],
          ['a', 'ann', 'e\u0301'],
          ['a', 'ann', '😀'],
          ['a', 'ann', '}:key:{'],
        ] as const),
        ...([
          ['a', 'ann', 'k'.repeat(128)],
          ['a', 'ann', 'k'.repeat(127)],
          ['a', 'ann', '__proto__'],
        ] as const),
      ].map(([room, by, key]) => [room, by, key]);
      for (const each of sent)
        expect(await one.backplane.publish(keyed(...each)), `${each}`).toEqual({ duplicate: false });
      for (const each of sent)
        expect(await other.backplane.publish(keyed(...each)), `${each}`).toEqual({ duplicate: true });
      await other.fence(one);
      expect(other.frames('a').length + other.frames('b').length).toBe(sent.length);
    });

    test('is remembered for the dedupe time from its first publication, then forgotten, though it was tried meanwhile', async () => {
      const dedupeMs = 400;
      const { one, other } = await startNodes(create, dedupeMs);
      await other.backplane.subscribe('a');
      const startedAt = performance.now();
      await one.backplane.publish(keyed('a', 'ann', 'k'));
      const again = async () => !(await other.backplane.publish(keyed('a', 'ann', 'k'))).duplicate;
      await until(again, deadlineMs, 'the key is forgotten');
      // A clock of milliseconds may be one short.
      expect(performance.now() - startedAt).toBeGreaterThanOrEqual(dedupeMs - 2);
      await other.untilFrames('a', 2);
    });

    test('is not remembered when its publication was refused', async () => {
      const [backplane] = create(60_000);
      if (backplane === undefined) throw new Error('create made a backplane');
      const node = new Recorder(backplane);
      expect(await outcome(backplane.publish(keyed('a', 'ann', 'k')))).toBe('unavailable');
      await node.start();
      expect(await backplane.publish(keyed('a', 'ann', 'k'))).toEqual({ duplicate: false });
    });
  });
}
