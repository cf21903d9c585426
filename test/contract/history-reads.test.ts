/**
 * What gateway/redis/history/read.lua has Redis load for a page: hardly more than the page holds, whatever the sizes of messages.
 * MONITOR shows each command of the script, and the test knows which messages it loads. On a Redis of its own.
 */
import { expect, test } from 'vitest';
import type { HistoryQuery } from '../../gateway/backplane/backplane.ts';
import { ownRedis } from '../support/own-redis.ts';
import { monitorRedis } from '../support/redis-monitor.ts';
import { until } from '../support/until.ts';
import { Random } from '../unit/random.ts';
import { span, suffixOf } from './kept-room.ts';
import { keptPublication } from './recorder.ts';
import { channelOf, deadlineMs, started } from './redis-node.ts';

const history = { size: 10_000, maxBytes: 104_857_600, ttlSeconds: 600 };
/** What the feed reads at once. */
const page = { limit: 500, maxBytes: 262_144 };
const large = 65_000;

/** A room with messages of these sizes. */
async function roomOf(frames: number[]) {
  const redis = await ownRedis();
  const node = await started(redis.url);
  const publish = (from: number) =>
    frames.slice(from, from + 500).map((size, index) => {
      return node.backplane.publish(keptPublication('a', { suffix: suffixOf(from + index + 1, size), history }));
    });
  // 64 MiB may be under way.
  for (let from = 0; from < frames.length; from += 500) await Promise.all(publish(from));
  const commands: string[][] = [];
  await monitorRedis(redis.url, (words) => commands.push(words));

  /** Reads a page. Returns the bytes of its messages, those that Redis loaded for it, and how often it looked. */
  const read = async (query: HistoryQuery) => {
    commands.length = 0;
    const { messages } = await node.backplane.read('a', query);
    // What comes behind the script in the eyes of the monitor.
    await node.backplane.read('fence', { limit: 0, maxBytes: 0 });
    const fenced = () => commands.some(([, key]) => key === `${channelOf('fence')}:position`);
    await until(fenced, deadlineMs, 'the monitor has seen the script');
    const ranges = commands.filter(([verb, key]) => /range$/i.test(verb ?? '') && key === `${channelOf('a')}:messages`);
    const loaded = ranges.flatMap((words) => loadedBy(words, frames));
    const sum = (offsets: number[]) => offsets.reduce((bytes, offset) => bytes + (frames[offset - 1] ?? 0), 0);
    return { read: sum(messages.map(({ offset }) => offset)), loaded: sum(loaded), looks: ranges.length, messages };
  };
  return read;
}

/** The offsets that an XRANGE or XREVRANGE of a script has loaded, of a stream in which none is missing. */
function loadedBy([verb = '', , first = '', last = '', , count = '']: string[], frames: readonly number[]): number[] {
  const offset = (text: string) => (text === '-' ? 1 : text === '+' ? frames.length : Number(text));
  const [low, high] = [offset(first), offset(last)].sort((left, right) => left - right) as [number, number];
  const range = span(Math.max(1, low), Math.min(frames.length, high));
  return (/^xrev/i.test(verb) ? range.reverse() : range).slice(0, Number(count));
}

test.each([
  ['of 64 KiB', span(1, 100).map(() => large)],
  ['of 4 KiB', span(1, 500).map(() => 4_096)],
  ['of 100 bytes', span(1, 5_000).map(() => 100)],
])(
  'a page of messages %s loads no more than one message beside those it returns, and what it looks at',
  async (_, frames) => {
    const read = await roomOf(frames);
    for (const query of [page, { ...page, after: { epoch: undefined, offset: 10 } }, { ...page, limit: 100 }]) {
      const { read: bytes, loaded, looks, messages } = await read(query);
      expect(messages.length).toBeGreaterThan(2);
      expect(loaded).toBeGreaterThanOrEqual(bytes);
      // The oldest one is looked at, and the far end of what is about to be read.
      expect(loaded - bytes).toBeLessThanOrEqual((2 + looks / 2) * (frames[0] ?? 0));
      expect(looks).toBeLessThanOrEqual(8 + messages.length / 50);
    }
  },
);

test('where sizes change, at any place, a page loads less than three times what it may return (100 pages)', async () => {
  const random = new Random(8);
  let size = 100;
  const frames = span(1, 3_000).map(() => {
    if (random.chance(0.04)) size = random.pick([60, 200, 4_000, large]);
    return size;
  });
  const read = await roomOf(frames);
  let most = 0;
  for (let pages = 0; pages < 100; pages++) {
    const after = random.chance(0.7) ? { epoch: undefined, offset: random.integer(0, 2_990) } : undefined;
    const { loaded, looks } = await read({ ...page, after, before: random.integer(1, 3_001) });
    most = Math.max(most, loaded);
    expect(looks).toBeLessThanOrEqual(60);
  }
  expect(most).toBeLessThan(3 * page.maxBytes);
});

test('where no messages are asked for, none is loaded', async () => {
  const read = await roomOf([large, large, large]);
  expect(await read({ limit: 0, maxBytes: 0 })).toMatchObject({ loaded: 0, looks: 0 });
});
