/**
 * The part of gateway/backplane/backplane.ts about rooms with history as tests, for every implementation: `create` makes the
 * backplanes of all nodes that are on one and the same. What a Redis that fails must not break is in
 * test/contract/history-faults.test.ts.
 */
import { describe, expect, test } from 'vitest';
import type { HistoryPage, HistoryQuery, Publication } from '../../gateway/backplane/backplane.ts';
import type { Position } from '../../shared/protocol.ts';
import { until } from '../support/until.ts';
import { Random } from '../unit/random.ts';
import { frameOf, offsetsOf, publishKept, readAll, span, suffixOf } from './kept-room.ts';
import { type CreateBackplanes, keptPublication, publication, type Recorder, startNodes } from './recorder.ts';

const deadlineMs = 10_000;

export function historySuite(name: string, create: CreateBackplanes): void {
  describe(name, () => {
    for (const part of [positions, pages, sizes, bounds, lifetimes, keys]) part(create);
  });
}

/** Starts all nodes and subscribes each to the room. */
async function nodesIn(create: CreateBackplanes, room: string) {
  const started = await startNodes(create);
  await Promise.all(started.nodes.map(({ backplane }) => backplane.subscribe(room)));
  return started;
}

function positionsTold(node: Recorder, room: string): (Position | undefined)[] {
  return node.events.flatMap((event) => (event.kind === 'message' && event.room === room ? [event.position] : []));
}

function positions(create: CreateBackplanes): void {
  describe('a position', () => {
    test('rises by one from 1, whichever node publishes, and stands in the answer, the frame and the delivery', async () => {
      const { nodes, one, other } = await nodesIn(create, 'a');
      const published = await publishKept(one, 'a', 3);
      published.push(...(await publishKept(other, 'a', 3)));
      expect(offsetsOf(published)).toEqual(span(1, 6));
      const epoch = published[0]?.position?.epoch;
      expect(epoch).toMatch(/^[\w-]{1,64}$/);
      for (const node of nodes) {
        await node.untilFrames('a', 6);
        expect(positionsTold(node, 'a')).toEqual(span(1, 6).map((offset) => ({ epoch, offset })));
        const offsets = node.frames('a').map((frame) => (JSON.parse(frame) as { offset: number }).offset);
        expect(offsets).toEqual(span(1, 6));
      }
    });

    test('is one for all while all nodes publish at once, and what is kept is what was delivered (2,000 messages)', async () => {
      const { nodes, one } = await nodesIn(create, 'a');
      const history = { size: 5_000, maxBytes: 10_485_760, ttlSeconds: 60 };
      const sent = span(1, 2_000).map((number) => ({ number, made: keptPublication('a', { history }) }));
      const answers = await Promise.all(
        sent.map(async ({ number, made }) => {
          const node = nodes[number % nodes.length] ?? one;
          // Publications with a key must not overtake.
          const dedupe = number % 3 === 0 ? { dedupe: { by: 'ann', key: `${number}` } } : {};
          return { made, published: await node.backplane.publish({ ...made, ...dedupe }), node };
        }),
      );
      const byOffset = answers.sort(
        (left, right) => (left.published.position?.offset ?? 0) - (right.published.position?.offset ?? 0),
      );
      expect(offsetsOf(byOffset.map(({ published }) => published))).toEqual(span(1, 2_000));
      const frames = byOffset.map(({ made }, index) => frameOf(made, index + 1));
      for (const node of nodes) {
        await node.untilFrames('a', 2_000);
        expect(node.frames('a')).toEqual(frames);
        // And for each publisher that of its calls.
        const own = byOffset.filter((answer) => answer.node === node).map(({ made }) => made.suffix);
        const called = sent.filter(({ number }) => nodes[number % nodes.length] === node);
        expect(own).toEqual(called.map(({ made }) => made.suffix));
      }
      expect(await readAll(one, 'a')).toEqual(frames);
    });

    test('of rooms never mix, and a room read before its first message is at 0 of the epoch that follows', async () => {
      const { one, other } = await startNodes(create);
      const empty = await one.backplane.read('a', { limit: 10, maxBytes: 1_000 });
      expect(empty).toMatchObject({ top: 0, first: 1, messages: [] });
      const rooms = ['a', 'A', 'b', 'a:b', 'a:messages', 'a:position', '{a}', '@a'];
      for (const room of rooms) await publishKept(one, room, 2);
      const epochs = new Set<string>();
      for (const room of rooms) {
        const page = await other.backplane.read(room, { limit: 10, maxBytes: 10_000 });
        expect(page, room).toMatchObject({ top: 2, first: 1, messages: { length: 2 } });
        epochs.add(page.epoch);
      }
      expect(epochs.size).toBe(rooms.length);
      expect(epochs).toContain(empty.epoch);
    });

    test('is there for whoever publishes and reads without waiting', async () => {
      const { one } = await startNodes(create);
      const published = span(1, 50).map(() => one.backplane.publish(keptPublication('a')));
      const page = await one.backplane.read('a', { limit: 100, maxBytes: 100_000 });
      expect(page).toMatchObject({ top: 50, first: 1, messages: { length: 50 } });
      expect(offsetsOf(await Promise.all(published))).toEqual(span(1, 50));
    });

    test('is none of a plain room', async () => {
      const { one, other } = await nodesIn(create, 'a');
      expect(await one.backplane.publish(publication('a'))).toEqual({ duplicate: false });
      await other.untilFrames('a', 1);
      expect(positionsTold(other, 'a')).toEqual([undefined]);
    });
  });
}

function pages(create: CreateBackplanes): void {
  describe('a page', () => {
    const most = { limit: 1_000, maxBytes: 1_048_576 };

    test('is what was asked for: after, before, both, the newest, so many of them, in ascending order', async () => {
      const { one, other } = await startNodes(create);
      const [{ position }] = await publishKept(one, 'a', 20);
      const epoch = position?.epoch ?? '';
      const read = (query: Partial<HistoryQuery>) => other.backplane.read('a', { ...most, ...query });
      const asked: [Partial<HistoryQuery>, number[]][] = [
        [{}, span(1, 20)],
        [{ limit: 3 }, [18, 19, 20]],
        [{ limit: 60, before: 5 }, span(1, 4)],
        [{ limit: 2, before: 5 }, [3, 4]],
        [{ before: 1 }, []],
        [{ before: 0 }, []],
        [{ before: Number.MAX_SAFE_INTEGER, limit: 1 }, [20]],
        [{ before: 100, limit: 1 }, [20]],
        [{ after: { epoch, offset: 0 } }, span(1, 20)],
        [{ after: { epoch, offset: 17 } }, [18, 19, 20]],
        [{ after: { epoch, offset: 5 }, limit: 2 }, [6, 7]],
        [{ after: { epoch, offset: 5 }, before: 8 }, [6, 7]],
        [{ after: { epoch, offset: 7 }, before: 8 }, []],
        [{ after: { epoch, offset: 20 } }, []],
        [{ after: { epoch, offset: 99 } }, []],
        [{ after: { epoch, offset: Number.MAX_SAFE_INTEGER } }, []],
        [{ after: { epoch: undefined, offset: 18 } }, [19, 20]],
        [{ after: { epoch: 'another', offset: 18 }, limit: 2 }, [1, 2]],
        [{ after: { epoch: '', offset: 18 }, limit: 2 }, [1, 2]],
        [{ after: { epoch: '*', offset: 18 }, limit: 2 }, [1, 2]],
        [{ after: { epoch, offset: 3 }, limit: 0, maxBytes: 0 }, []],
        [{ limit: 0, maxBytes: 0 }, []],
      ];
      for (const [query, offsets] of asked) {
        const page = await read(query);
        const told = JSON.stringify(query);
        expect(
          page.messages.map(({ offset }) => offset),
          told,
        ).toEqual(offsets);
        expect(page, told).toMatchObject({ epoch, top: 20, first: query.limit === 0 ? 21 : 1 });
      }
    });

    test('gives each message as the very bytes that were delivered', async () => {
      const { one, other } = await nodesIn(create, 'a');
      const suffix = `,"data":"é \u2028 😀 \\ud800 \u0000 \u007f 5-0 ${'é'.repeat(2_000)}"}`;
      await one.backplane.publish(keptPublication('a', { suffix }));
      await other.untilFrames('a', 1);
      const { messages } = await other.backplane.read('a', most);
      expect(Buffer.from(messages[0]?.frame ?? []).equals(Buffer.from(`{"offset":1${suffix}`))).toBe(true);
      expect(other.frames('a')).toEqual([`{"offset":1${suffix}`]);
    });

    test('ends before the message that would be too many bytes, and has one message all the same', async () => {
      const { one, other } = await startNodes(create);
      const history = { size: 1_000, maxBytes: 1_048_576, ttlSeconds: 60 };
      for (const offset of span(1, 120))
        await one.backplane.publish(keptPublication('a', { suffix: suffixOf(offset, 100), history }));
      const { messages, epoch } = await other.backplane.read('a', most);
      expect(new Set(messages.map(({ frame }) => frame.length))).toEqual(new Set([100]));
      const read = async (query: Partial<HistoryQuery>) =>
        (await other.backplane.read('a', { ...most, ...query })).messages.map(({ offset }) => offset);
      const after = { epoch, offset: 10 };
      expect(await read({ after, maxBytes: 299 })).toEqual([11, 12]);
      expect(await read({ after, maxBytes: 300 })).toEqual([11, 12, 13]);
      expect(await read({ after, maxBytes: 1 })).toEqual([11]);
      expect(await read({ maxBytes: 299 })).toEqual([119, 120]);
      expect(await read({ maxBytes: 300 })).toEqual([118, 119, 120]);
      expect(await read({ maxBytes: 10_000 })).toEqual(span(21, 120));
      expect(await read({ after: { epoch, offset: 0 }, maxBytes: 10_000 })).toEqual(span(1, 100));
    });
  });
}

function sizes(create: CreateBackplanes): void {
  /** Some rooms are of one size, some change it now and then, in some any message may be of any. */
  const sizesOf = (random: Random, number: number) => {
    const any = () => random.pick([60, 100, 900, 4_000, 20_000, 65_000]);
    const changes = random.pick([0, 0.02, 0.1, 1]);
    let size = any();
    return span(1, number).map(() => {
      if (random.chance(changes)) size = any();
      return size;
    });
  };

  test('a page holds as many messages as fit, whatever their sizes are (12 rooms of 150, 50 pages each)', async () => {
    const { one, other } = await startNodes(create);
    const random = new Random(20_261_128);
    const history = { size: 1_000, maxBytes: 104_857_600, ttlSeconds: 60 };
    for (const room of span(1, 12).map((number) => `room${number}`)) {
      const frames = sizesOf(random, 150);
      const published = frames.map((size, index) => {
        return one.backplane.publish(keptPublication(room, { suffix: suffixOf(index + 1, size), history }));
      });
      const epoch = (await Promise.all(published))[0]?.position?.epoch;
      for (let pages = 0; pages < 50; pages++) {
        const [limit, maxBytes] = [random.integer(1, 200), random.pick([1, 300, 5_000, 70_000, 262_144, 1_000_000])];
        const [low, high] = [random.integer(0, 150), random.integer(1, 170)];
        const after = random.chance(0.5) ? { epoch, offset: low } : undefined;
        const wanted = span(after === undefined ? 1 : low + 1, Math.min(150, high - 1));
        if (after === undefined) wanted.reverse();
        let bytes = 0;
        const fits = wanted.filter((offset, index) => {
          bytes += frames[offset - 1] ?? 0;
          return index < limit && (index === 0 || bytes <= maxBytes);
        });
        const page = await other.backplane.read(room, { after, before: high, limit, maxBytes });
        const told = `${room} ${JSON.stringify({ after, high, limit, maxBytes })}`;
        const offsets = page.messages.map(({ offset }) => offset);
        expect(offsets, told).toEqual(fits.toSorted((left, right) => left - right));
        for (const { offset, frame } of page.messages) expect(frame.length, told).toBe(frames[offset - 1]);
      }
    }
  });
}

function bounds(create: CreateBackplanes): void {
  describe('what is kept', () => {
    const page = (node: Recorder): Promise<HistoryPage> =>
      node.backplane.read('a', { limit: 1_000, maxBytes: 1_048_576 });
    const keep = (fields: Partial<Publication['history'] & object>) => ({
      history: { size: 1_000, maxBytes: 1_048_576, ttlSeconds: 60, ...fields },
    });

    test('is exactly the newest `size` messages, and a smaller rule holds from the next message on', async () => {
      const { one, other } = await startNodes(create);
      await publishKept(one, 'a', 25, keep({ size: 10 }));
      expect(await page(other)).toMatchObject({ top: 25, first: 16, messages: { length: 10 } });
      await publishKept(other, 'a', 1, keep({ size: 3 }));
      expect(await page(one)).toMatchObject({ top: 26, first: 24, messages: { length: 3 } });
      await publishKept(one, 'a', 2, keep({ size: 1 }));
      expect(await page(other)).toMatchObject({ top: 28, first: 28, messages: [{ offset: 28 }] });
    });

    test('is what its own rule says where rooms with many rules are published to at once', async () => {
      const { one, other } = await startNodes(create);
      const rules = span(1, 10).map((size) => keep({ size }).history);
      const rooms = span(1, 100).map((number) => ({ room: `r${number}`, history: rules[number % 10] }));
      const sent = span(1, 12).flatMap(() => rooms);
      await Promise.all(sent.map(({ room, history }) => one.backplane.publish(keptPublication(room, { history }))));
      const epochs = new Set<string>();
      for (const { room, history } of rooms) {
        const kept = await other.backplane.read(room, { limit: 100, maxBytes: 100_000 });
        expect(kept, room).toMatchObject({ top: 12, messages: { length: history?.size } });
        epochs.add(kept.epoch);
      }
      expect(epochs.size).toBe(rooms.length);
    });

    test('is at most `maxBytes`, exactly, but always the newest message', async () => {
      const { one, other } = await startNodes(create);
      const publish = (offset: number, maxBytes: number) =>
        one.backplane.publish(keptPublication('a', { suffix: suffixOf(offset, 1_000), ...keep({ maxBytes }) }));
      for (const offset of span(1, 12)) await publish(offset, 5_000);
      expect(await page(other)).toMatchObject({ first: 8, messages: { length: 5 } });
      await publish(13, 4_999);
      expect(await page(other)).toMatchObject({ first: 10, messages: { length: 4 } });
      await publish(14, 1_024);
      expect(await page(other)).toMatchObject({ first: 14, messages: { length: 1 } });
      await one.backplane.publish(
        keptPublication('a', { suffix: `,"data":"${'x'.repeat(5_000)}"}`, ...keep({ maxBytes: 1_024 }) }),
      );
      expect(await page(other)).toMatchObject({ top: 15, first: 15, messages: [{ offset: 15 }] });
      for (const offset of span(16, 18)) await publish(offset, 3_000);
      expect(await page(other)).toMatchObject({ first: 16, messages: { length: 3 } });
    });

    test('is never fewer than both bounds allow, whichever of them it was that others left by', async () => {
      const { one, other } = await startNodes(create);
      const publish = (offset: number, frameBytes: number) => {
        const suffix = suffixOf(offset, frameBytes);
        return one.backplane.publish(keptPublication('a', { suffix, ...keep({ size: 4, maxBytes: 4_000 }) }));
      };
      for (const offset of span(1, 20)) {
        await publish(offset, 900);
        expect(await page(other)).toMatchObject({ first: Math.max(1, offset - 3) });
      }
      await publish(21, 1_800);
      expect(await page(other)).toMatchObject({ first: 19, messages: { length: 3 } });
      for (const offset of span(22, 24)) await publish(offset, 700);
      expect(await page(other)).toMatchObject({ first: 21, messages: { length: 4 } });
      await publish(25, 3_999);
      expect(await page(other)).toMatchObject({ first: 25, messages: { length: 1 } });
    });
  });
}

function lifetimes(create: CreateBackplanes): void {
  describe('messages expire', () => {
    const history = { size: 100, maxBytes: 1_048_576, ttlSeconds: 1 };
    const top = (node: Recorder) => node.backplane.read('a', { limit: 10, maxBytes: 10_000 });

    test('all at once after their time since the last publish; the position goes on, and nothing of them counts any more', async () => {
      const { one, other } = await startNodes(create);
      const [{ position }] = await publishKept(one, 'a', 5, { history });
      const epoch = position?.epoch;
      await until(async () => (await top(other)).messages.length === 0, deadlineMs, 'the messages have expired');
      expect(await top(other)).toMatchObject({ epoch, top: 5, first: 6, messages: [] });
      const [next] = await publishKept(other, 'a', 1, { history: { ...history, maxBytes: 1_024 } });
      expect(next).toEqual({ duplicate: false, position: { epoch, offset: 6 } });
      await publishKept(other, 'a', 2, { history: { ...history, ttlSeconds: 60 } });
      expect(await top(one)).toMatchObject({ epoch, top: 8, first: 6, messages: { length: 3 } });
    });

    test('not while something was published in time: the first message then outlives its own time', async () => {
      const { one, other } = await startNodes(create);
      await publishKept(one, 'a', 1, { history });
      await publishKept(one, 'witness', 1, { history });
      await publishKept(one, 'a', 1, { history: { ...history, ttlSeconds: 60 } });
      const witness = () => other.backplane.read('witness', { limit: 10, maxBytes: 10_000 });
      await until(async () => (await witness()).messages.length === 0, deadlineMs, 'the time of the first one is over');
      expect(await top(other)).toMatchObject({ first: 1, messages: { length: 2 } });
    });
  });
}

function keys(create: CreateBackplanes): void {
  describe('a key', () => {
    const dedupe = { by: 'ann', key: 'k' };
    const most = { limit: 100, maxBytes: 100_000 };

    test('tried again is answered with the position of the first, on every node, stored and delivered once', async () => {
      const { nodes, one, other } = await nodesIn(create, 'a');
      await publishKept(one, 'a', 2);
      const first = await one.backplane.publish(keptPublication('a', { dedupe }));
      expect(first).toMatchObject({ duplicate: false, position: { offset: 3 } });
      for (const node of [other, one]) {
        const again = await node.backplane.publish(keptPublication('a', { dedupe }));
        expect(again).toEqual({ duplicate: true, position: first.position });
      }
      await publishKept(other, 'a', 1);
      for (const node of nodes) await node.untilFrames('a', 4);
      for (const node of nodes) expect(node.frames('a')).toHaveLength(4);
      expect((await one.backplane.read('a', most)).messages).toHaveLength(4);
    });

    test('has one position also when all nodes are asked at the same time (100 keys, 6 tries each)', async () => {
      const { nodes, one } = await startNodes(create);
      const tries = await Promise.all(
        span(0, 599).map((index) => {
          const key = `k${Math.floor(index / 6)}`;
          const { backplane } = nodes[index % nodes.length] ?? one;
          return backplane.publish(keptPublication('a', { dedupe: { by: 'ann', key } }));
        }),
      );
      expect(tries.filter(({ duplicate }) => !duplicate)).toHaveLength(100);
      for (let key = 0; key < 100; key++) {
        expect(new Set(offsetsOf(tries.slice(key * 6, key * 6 + 6))).size).toBe(1);
      }
      expect(await one.backplane.read('a', most)).toMatchObject({ top: 100 });
    });

    test('is remembered with its position though the message has left the history', async () => {
      const { one, other } = await startNodes(create);
      const history = { size: 2, maxBytes: 10_000, ttlSeconds: 60 };
      const { position } = await one.backplane.publish(keptPublication('a', { dedupe, history }));
      await publishKept(one, 'a', 5, { history });
      expect(await other.backplane.read('a', most)).toMatchObject({ first: 5 });
      const again = await other.backplane.publish(keptPublication('a', { dedupe, history }));
      expect(again).toEqual({ duplicate: true, position });
      expect(position?.offset).toBe(1);
    });

    test('of another publisher or another room is another', async () => {
      const { one, other } = await startNodes(create);
      const sent: [string, string][] = [
        ['a', 'ann'],
        ['a', 'bob'],
        ['b', 'ann'],
      ];
      for (const [room, by] of sent) {
        const published = await one.backplane.publish(keptPublication(room, { dedupe: { by, key: 'k' } }));
        expect(published.duplicate).toBe(false);
      }
      expect(await other.backplane.read('a', most)).toMatchObject({ top: 2 });
    });

    test('that was used when the room kept nothing is a duplicate without a position', async () => {
      const { one, other } = await startNodes(create);
      await one.backplane.publish(publication('a', { dedupe }));
      expect(await other.backplane.publish(keptPublication('a', { dedupe }))).toEqual({ duplicate: true });
    });
  });
}
