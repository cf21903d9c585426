/** The sender with a clock and a receiver in the test's hands: batches, order, retries, and what it gives up. */
import { expect, test, vi } from 'vitest';
import { BackplaneError } from '../../../gateway/backplane/backplane.ts';
import { MemoryOutbox } from '../../../gateway/backplane/memory/outbox.ts';
import type { Outbox, Taken } from '../../../gateway/backplane/outbox.ts';
import { Faults } from '../../../gateway/telemetry/faults.ts';
import { createLog } from '../../../gateway/telemetry/log.ts';
import type { Outcome } from '../../../gateway/webhooks/receiver.ts';
import { Sender } from '../../../gateway/webhooks/sender.ts';
import { capturedLog } from '../../support/captured-log.ts';
import { onCleanup } from '../../support/cleanup.ts';
import { useFakeClock } from '../fake-clock.ts';

useFakeClock();

const taken: Outcome = { delivered: true };
const refused: Outcome = { delivered: false, reason: 'HTTP 500' };

interface Post {
  id: string;
  rooms: string[];
  at: number;
}

/** A sender that was started, its outbox, and what it posted. `told`: the rooms whose events were there before. */
function begin({ told = [] as string[], most = 1_000, shared = false, log = createLog('silent') } = {}) {
  const memory = new MemoryOutbox({ types: ['room.occupied'], instance: 'n-1', most });
  const outbox: Outbox = Object.assign(memory, { shared });
  const posts: Post[] = [];
  const results: Record<string, number> = {};
  const receiver = {
    answer: ((_: number) => taken) as (number: number) => Outcome | Promise<Outcome>,
    async post(id: string, body: string): Promise<Outcome> {
      const { events } = JSON.parse(body) as { events: { room: string }[] };
      posts.push({ id, rooms: events.map(({ room }) => room), at: performance.now() });
      return receiver.answer(posts.length);
    },
  };
  const events = {
    webhooks(result: string, count: number): void {
      results[result] = (results[result] ?? 0) + count;
    },
  };
  const tell = (...rooms: string[]) => {
    for (const room of rooms) memory.tell('room.occupied', { room });
  };
  tell(...told);
  const lost: number[] = [];
  const onLost = (count: number) => lost.push(count);
  const sender = new Sender({ outbox, receiver, events, faults: new Faults(log), log, onLost });
  onCleanup(() => sender.close());
  sender.start();
  return { memory, outbox, sender, receiver, posts, results, tell, lost };
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const rooms = (count: number) => Array.from({ length: count }, (_, index) => `r${index}`);

test('events wait for at most a second, and go together', async () => {
  const { posts, tell } = begin();
  await pass(10);
  tell('a');
  await pass(500);
  tell('b');
  await pass(490);
  expect(posts.map((post) => post.rooms)).toEqual([['a', 'b']]);
});

test('at most 100 go together, and full batches follow at once, in order', async () => {
  const { posts, results, sender } = begin({ told: rooms(250) });
  await pass(0);
  expect(posts.map((post) => post.rooms.length)).toEqual([100, 100]);
  await pass(1_000);
  expect(posts.flatMap((post) => post.rooms)).toEqual(rooms(250));
  expect(results).toEqual({ delivered: 250 });
  expect(sender.waiting).toBe(0);
});

test('a receiver that is away for a minute gets everything afterwards, once, in order', async () => {
  const { posts, receiver, results, tell } = begin({ told: ['a', 'b'] });
  const from = performance.now();
  receiver.answer = () => (performance.now() < from + 60_000 ? refused : taken);
  await pass(30_000);
  tell('a');
  await pass(100_000);
  const delivered = posts.filter(({ at }) => at >= from + 60_000);
  expect(delivered.map((post) => post.rooms)).toEqual([['a', 'b'], ['a']]);
  // The same batch has the same id, so the receiver can know it again.
  const first = posts.filter((post) => post.rooms.length === 2);
  expect(new Set(first.map(({ id }) => id)).size).toBe(1);
  expect(results).toEqual({ failed: 2 * (first.length - 1), delivered: 3 });
});

test('attempts come at growing distances, of a minute at most; after 5 minutes the batch is given up and the next one follows', async () => {
  const { log, lines } = capturedLog();
  const { posts, receiver, results, tell } = begin({ log, told: ['a'] });
  receiver.answer = () => refused;
  await pass(100);
  tell('b');
  await pass(299_000);
  const pauses = posts.map(({ at }, index) => at - (posts[index - 1]?.at ?? at)).slice(1);
  for (const [index, pauseMs] of pauses.entries()) {
    const longest = Math.min(1_000 * 2 ** index, 60_000);
    expect(pauseMs).toBeGreaterThanOrEqual(longest / 2);
    expect(pauseMs).toBeLessThanOrEqual(longest + 1);
  }
  expect(posts.every((post) => post.rooms[0] === 'a')).toBe(true);
  expect(posts.length).toBeLessThan(20);
  receiver.answer = (number) => (posts[number - 1]?.rooms[0] === 'a' ? refused : taken);
  await pass(5_000);
  expect(posts.at(-1)?.rooms).toEqual(['b']);
  expect(results).toMatchObject({ expired: 1, delivered: 1 });
  expect(lines.filter((line) => line.includes('given up'))).toHaveLength(1);
});

test('the wait that a receiver asks for is kept, but not beyond the 5 minutes', async () => {
  const { posts, receiver, results } = begin({ told: ['a'] });
  const from = performance.now();
  const waits = [120_000, 3_600_000];
  receiver.answer = (number) => ({ delivered: false, reason: 'HTTP 429', retryAfterMs: waits[number - 1] ?? 0 });
  await pass(400_000);
  expect(posts.map(({ at }) => Math.round((at - from) / 1_000))).toEqual([0, 120, 300]);
  expect(results).toEqual({ failed: 3, expired: 1 });
});

test('one request is under way at a time, however long it takes', async () => {
  const { posts, receiver, tell } = begin({ told: ['a'] });
  let answer: (outcome: Outcome) => void = () => undefined;
  receiver.answer = () =>
    new Promise((resolve) => {
      answer = resolve;
    });
  await pass(0);
  tell(...rooms(200));
  await pass(9_000);
  expect(posts).toHaveLength(1);
  answer(taken);
  await pass(0);
  expect(posts[1]?.rooms).toHaveLength(100);
  receiver.answer = () => taken;
  answer(taken);
});

test('beyond its bound the outbox loses the oldest events, and says how many', async () => {
  const { memory, posts, receiver, tell } = begin({ most: 10, told: ['first'] });
  let lost = 0;
  memory.start({
    dropped: (events) => {
      lost += events;
    },
  });
  receiver.answer = (number) => (number === 1 ? refused : taken);
  await pass(0);
  tell(...rooms(25));
  await pass(3_000);
  expect(lost).toBe(16);
  // The batch under way was in the hands of the sender.
  expect(posts.slice(1).flatMap((post) => post.rooms)).toEqual(['first', ...rooms(25).slice(15)]);
});

test('a node that does not hold the place of the sender sends nothing, and goes on when it gets it', async () => {
  const { outbox, posts, tell } = begin({ shared: true });
  const take = outbox.take.bind(outbox);
  let mine = false;
  outbox.take = async (limit, done): Promise<Taken> => {
    const all = await take(limit, done);
    return mine ? all : { ...all, mine: false, events: [] };
  };
  tell('a');
  await pass(5_000);
  expect(posts).toEqual([]);
  mine = true;
  await pass(1_000);
  expect(posts.map((post) => post.rooms)).toEqual([['a']]);
});

test('a node that loses the place between two attempts leaves the batch to the other one', async () => {
  const { outbox, posts, receiver, tell } = begin({ shared: true });
  const take = outbox.take.bind(outbox);
  let mine = true;
  outbox.take = async (limit, done): Promise<Taken> => {
    const all = await take(limit, done);
    return mine ? all : { ...all, mine: false, events: [] };
  };
  receiver.answer = () => refused;
  tell('a');
  await pass(5_500);
  mine = false;
  // It learns of it within a second; the place lasts longer than that.
  await pass(1_000);
  const before = posts.length;
  expect(before).toBeGreaterThan(2);
  await pass(120_000);
  expect(posts).toHaveLength(before);
});

test('a node that cannot reach the outbox stops sending before another one may begin, and sends when it is back', async () => {
  const { outbox, posts, receiver, tell } = begin({ shared: true });
  const take = outbox.take.bind(outbox);
  receiver.answer = () => refused;
  tell('a');
  await pass(0);
  outbox.take = () => Promise.reject(new BackplaneError('unavailable', 'Redis is away'));
  const awayFrom = performance.now();
  await pass(60_000);
  expect(posts.filter(({ at }) => at > awayFrom + 4_000)).toEqual([]);
  outbox.take = take;
  receiver.answer = () => taken;
  const before = posts.length;
  await pass(2_000);
  expect(posts.slice(before).map((post) => post.rooms)).toEqual([['a']]);
});

test('what was delivered while the outbox was away is acknowledged later, and not sent again', async () => {
  const { outbox, posts, sender, tell } = begin({ shared: true });
  const take = outbox.take.bind(outbox);
  const away = () => Promise.reject(new BackplaneError('unavailable', 'Redis is away'));
  tell('a');
  outbox.take = async (limit, done) => {
    outbox.take = away;
    return take(limit, done);
  };
  await pass(1_000);
  expect(posts).toHaveLength(1);
  outbox.take = take;
  await pass(5_000);
  expect(posts).toHaveLength(1);
  expect(sender.waiting).toBe(0);
});

test('at its end it sends what is left at once; alone it tries for 4 s and says what is lost', async () => {
  const { log, lines } = capturedLog();
  const { posts, sender, tell } = begin({ log });
  await pass(10);
  tell(...rooms(150));
  await Promise.all([sender.close(), pass(0)]);
  expect(posts.flatMap((post) => post.rooms)).toEqual(rooms(150));
  expect(lines).toEqual([]);

  const failing = begin({ log, told: ['a', 'b'] });
  failing.receiver.answer = () => refused;
  await Promise.all([failing.sender.close(), pass(4_000)]);
  expect(failing.posts.length).toBeGreaterThan(2);
  expect(lines.some((line) => line.includes('"events":2') && line.includes('they are lost'))).toBe(true);
});

test('at its end it leaves what the receiver refuses to the other nodes, at once', async () => {
  const { outbox, posts, receiver, sender, tell } = begin({ shared: true });
  receiver.answer = () => refused;
  let released = false;
  outbox.release = async () => {
    released = true;
  };
  await pass(10);
  tell('a');
  const from = performance.now();
  await sender.close();
  expect(performance.now()).toBe(from);
  expect(posts).toHaveLength(1);
  expect(released).toBe(true);
});

test('events that somebody deletes from the outbox are counted as lost, and no others are', async () => {
  const { outbox, receiver, posts, tell, lost } = begin({ told: rooms(150) });
  receiver.answer = () => refused;
  await pass(500);
  const { events } = await outbox.take(1_000, []);
  await outbox.take(
    0,
    events.map(({ entry }) => entry),
  );
  await pass(2_000);
  // Those of the batch under way are sent, but nobody could go on with them.
  expect(lost).toEqual([150]);
  receiver.answer = () => taken;
  tell('a', 'b');
  await pass(60_000);
  tell('c');
  await pass(5_000);
  expect(posts.at(-1)?.rooms).toEqual(['c']);
  expect(lost).toEqual([150]);
});
