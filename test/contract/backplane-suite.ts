/**
 * The contract of gateway/backplane/backplane.ts as tests, for every implementation: `create` makes the backplanes of all nodes that
 * are on one and the same, not started yet. One node or several, the promises are the same. What only an implementation
 * that can lose its connection has to keep is in test/contract/backplane-faults.test.ts and test/chaos/backplane-hangs.test.ts.
 */
import { describe, expect, test } from 'vitest';
import { maxPublishBytesInFlight, maxPublishesInFlight } from '../../gateway/backplane/backplane.ts';
import { until } from '../support/until.ts';
import { keys } from './backplane-keys.ts';
import {
  type CreateBackplanes,
  outcome,
  type PlainPublication,
  publication,
  Recorder,
  startNodes,
  subscribedNodes,
} from './recorder.ts';

const deadlineMs = 10_000;

export function backplaneSuite(name: string, create: CreateBackplanes): void {
  describe(name, () => {
    for (const part of [messages, order, subscribing, unsubscribing, keys, limits, life]) part(create);
  });
}

function messages(create: CreateBackplanes): void {
  describe('a message', () => {
    test('reaches every subscribed node once, the publishing one by the same path, with its time', async () => {
      const { nodes, one, other } = await subscribedNodes(create, 'a');
      const [first, second] = [publication('a', { at: 1_700_000_000_123 }), publication('a')];
      expect(await one.backplane.publish(first)).toEqual({ duplicate: false });
      expect(await other.backplane.publish(second)).toEqual({ duplicate: false });
      for (const node of nodes) {
        await node.fence(other);
        expect(node.frames('a')).toEqual([first.frame, second.frame]);
        expect(node.events.find(({ kind, room }) => kind === 'message' && room === 'a')).toMatchObject({
          at: first.at,
        });
        expect(node.roomsWithGap()).toEqual([]);
      }
    });

    test.each([
      ['the smallest', '{}'],
      ['every kind of Unicode', '{"data":"é \u2028 \u0001 😀 \\ud800 \u007f \ufeff"}'],
      ['white space and line ends', '{\r\n\t"data" : [ 1 ,\n2 ]\n}\n'],
      ['what could be taken for a separator', '{"data":"1m0000000000000\\n{}*3\\r\\n$5\\r\\n"}'],
      ['a NUL', '{"data":"\u0000"}'],
      ['64 KiB', `{"data":"${'é'.repeat(32_768)}"}`],
      ['1 MiB', `{"data":"${'a'.repeat(1_048_576)}"}`],
    ])('arrives byte for byte: %s', async (_, frame) => {
      const { one, other } = await subscribedNodes(create, 'a');
      await one.backplane.publish(publication('a', { frame }));
      await other.untilFrames('a', 1);
      const [event] = other.events;
      if (event?.kind !== 'message') throw new Error('a message was told');
      expect(Buffer.from(frame).equals(event.frame)).toBe(true);
    });

    test('may be kept: later ones do not change it', async () => {
      const { one, other } = await subscribedNodes(create, 'a');
      const sent = Array.from({ length: 500 }, () => publication('a'));
      for (const each of sent) await one.backplane.publish(each);
      await other.untilFrames('a', 500);
      expect(other.frames('a')).toEqual(sent.map(({ frame }) => frame));
    });

    test('of another room does not come, however alike the name', async () => {
      const { one, other } = await subscribedNodes(create, 'a');
      for (const room of ['A', 'a:', 'a*', '*', 'ab', 'a/b', '@a', 'b']) await one.backplane.publish(publication(room));
      await other.fence(one);
      expect(other.events.filter(({ room }) => !room.startsWith('fence'))).toEqual([]);
    });

    test('is never told from within a call to the backplane', async () => {
      const { one } = await subscribedNodes(create, 'a');
      const calls: Promise<unknown>[] = [];
      for (let round = 0; round < 200; round++) {
        one.calling = true;
        calls.push(
          one.backplane.publish(publication('a', round % 2 === 0 ? {} : { dedupe: { by: 'ann', key: `${round}` } })),
        );
        calls.push(one.backplane.subscribe(`b${round}`));
        one.backplane.unsubscribe(`b${round - 1}`);
        one.calling = false;
      }
      await Promise.allSettled(calls);
      await one.untilFrames('a', 200);
      expect(one.calledFromWithin).toBe(0);
    });
  });
}

function order(create: CreateBackplanes): void {
  describe('order', () => {
    test('is one for all nodes, and for each publisher that of its calls (4,000 messages, all at once)', async () => {
      const { nodes } = await subscribedNodes(create, 'a');
      const sent = nodes.map(() => Array.from({ length: 4_000 / nodes.length }, () => publication('a')));
      // Publications with a key go another way to Redis, and must not overtake.
      const keyed = (each: PlainPublication, index: number) =>
        index % 3 === 0 ? { ...each, dedupe: { by: 'ann', key: each.frame } } : each;
      await Promise.all(
        nodes.flatMap(({ backplane }, node) => sent[node]?.map(keyed).map((each) => backplane.publish(each)) ?? []),
      );
      for (const node of nodes) await node.untilFrames('a', 4_000);
      const frames = nodes[0]?.frames('a') ?? [];
      for (const node of nodes) expect(node.frames('a')).toEqual(frames);
      for (const own of sent) {
        const wanted = new Set(own.map(({ frame }) => frame));
        expect(frames.filter((frame) => wanted.has(frame))).toEqual(own.map(({ frame }) => frame));
      }
    });

    test('in every room is kept, many rooms beside each other', async () => {
      const rooms = Array.from({ length: 50 }, (_, index) => `r${index}`);
      const { nodes, one } = await subscribedNodes(create, ...rooms);
      const sent = Array.from({ length: 2_000 }, (_, index) => publication(rooms[index % 50] ?? ''));
      await Promise.all(sent.map((each) => one.backplane.publish(each)));
      for (const node of nodes) {
        await node.fence(one);
        for (const room of rooms) {
          expect(node.frames(room)).toEqual(sent.filter((each) => each.room === room).map(({ frame }) => frame));
        }
      }
    });
  });
}

function subscribing(create: CreateBackplanes): void {
  describe('subscribe', () => {
    test('once confirmed, misses nothing of what is published afterwards (100 rooms)', async () => {
      const { one, other } = await startNodes(create);
      for (let round = 0; round < 100; round++) {
        await other.backplane.subscribe(`r${round}`);
        await one.backplane.publish(publication(`r${round}`));
      }
      await other.fence(one);
      for (let round = 0; round < 100; round++) expect(other.frames(`r${round}`)).toHaveLength(1);
    });

    test('of a subscribed room resolves at once, and changes nothing', async () => {
      const { one, other } = await subscribedNodes(create, 'a');
      await Promise.all([other.backplane.subscribe('a'), other.backplane.subscribe('a')]);
      await one.backplane.publish(publication('a'));
      await other.fence(one);
      expect(other.frames('a')).toHaveLength(1);
      other.backplane.unsubscribe('a');
      await one.backplane.publish(publication('a'));
      await other.fence(one);
      expect(other.frames('a')).toHaveLength(1);
    });
  });
}

function unsubscribing(create: CreateBackplanes): void {
  describe('unsubscribe', () => {
    test('takes effect at once: nothing of the room follows, also not what is under way', async () => {
      const { one, other } = await subscribedNodes(create, 'a', 'b');
      const sent = Array.from({ length: 200 }, () => one.backplane.publish(publication('a')));
      await other.untilFrames('a', 1);
      other.backplane.unsubscribe('a');
      const before = other.frames('a').length;
      await Promise.all(sent);
      await one.backplane.publish(publication('a'));
      await one.backplane.publish(publication('b'));
      await other.fence(one);
      expect(other.frames('a')).toHaveLength(before);
      expect(other.frames('b')).toHaveLength(1);
    });

    test('and subscribe in any quick succession end with what was asked last', async () => {
      const { one, other } = await startNodes(create);
      const rooms = Array.from({ length: 40 }, (_, index) => `r${index}`);
      const asked: Promise<string>[] = [];
      for (const [index, room] of rooms.entries()) {
        for (let round = 0; round <= index % 7; round++) {
          if (round % 2 === 0) asked.push(outcome(other.backplane.subscribe(room)));
          else other.backplane.unsubscribe(room);
          if (index % 3 === round) await new Promise((resolve) => setImmediate(resolve));
        }
      }
      await Promise.all(asked);
      for (const room of rooms) await one.backplane.publish(publication(room));
      await other.fence(one);
      expect(rooms.map((room) => other.frames(room).length)).toEqual(
        rooms.map((_, index) => ((index % 7) % 2 === 0 ? 1 : 0)),
      );
      expect(other.roomsWithGap()).toEqual([]);
    });

    test('of a room that was never subscribed changes nothing', async () => {
      const { one } = await startNodes(create);
      one.backplane.unsubscribe('a');
      await one.fence();
      expect(one.frames('a')).toEqual([]);
    });
  });
}

function limits(create: CreateBackplanes): void {
  describe('limits', () => {
    test('10,000 publications under way are taken, one more is unavailable, and then there is room again', async () => {
      expect(maxPublishesInFlight).toBe(10_000);
      const { one } = await subscribedNodes(create, 'a');
      const sent = Array.from({ length: maxPublishesInFlight + 1 }, () =>
        outcome(one.backplane.publish(publication('a'))),
      );
      const outcomes = await Promise.all(sent);
      expect(outcomes.pop()).toBe('unavailable');
      expect(new Set(outcomes)).toEqual(new Set(['taken']));
      await one.untilFrames('a', maxPublishesInFlight);
      await one.fence();
      expect(one.frames('a')).toHaveLength(maxPublishesInFlight);
    });

    test('64 MiB under way are not refused, more is unavailable, and then there is room again', async () => {
      const part = 16_777_216;
      expect(maxPublishBytesInFlight).toBe(4 * part);
      const { one } = await startNodes(create);
      const frame = `{"data":"${'a'.repeat(part - 11)}"}`;
      expect(Buffer.byteLength(frame)).toBe(part);
      const sent = Array.from({ length: 5 }, () => outcome(one.backplane.publish(publication('a', { frame }))));
      const outcomes = await Promise.all(sent);
      expect(outcomes.slice(0, 4)).not.toContain('unavailable');
      expect(outcomes[4]).toBe('unavailable');
      await until(() => one.fence().then(() => true), deadlineMs, 'there is room again');
    });
  });
}

function life(create: CreateBackplanes): void {
  describe('its life', () => {
    test('before the start it is not up, and nothing is published', async () => {
      for (const backplane of create(60_000)) {
        const node = new Recorder(backplane);
        expect(backplane.up).toBe(false);
        expect(await outcome(backplane.publish(publication('a')))).toBe('unavailable');
        expect(node.events).toEqual([]);
      }
    });

    test('it is up when started', async () => {
      const { nodes } = await startNodes(create);
      for (const { backplane } of nodes) expect(backplane.up).toBe(true);
    });

    test('after the end it is not up, nothing is published and nothing is told', async () => {
      const { one, other, nodes } = await subscribedNodes(create, 'a');
      await one.backplane.publish(publication('a'));
      await other.untilFrames('a', 1);
      for (const { backplane } of nodes) await backplane.close();
      const before = nodes.map(({ events }) => events.length);
      for (const { backplane } of nodes) {
        expect(backplane.up).toBe(false);
        expect(await outcome(backplane.publish(publication('a')))).toBe('unavailable');
        expect(await outcome(backplane.publish(publication('a', { dedupe: { by: 'ann', key: 'k' } })))).toBe(
          'unavailable',
        );
      }
      expect(nodes.map(({ events }) => events.length)).toEqual(before);
    });

    test('it may be closed twice, and before it was started', async () => {
      const { one } = await startNodes(create);
      await one.backplane.close();
      await one.backplane.close();
      for (const backplane of create(60_000)) await backplane.close();
    });
  });
}
