/**
 * Readers that stop reading in rooms with history, for each slow rule: they are detached from the fan-out, others
 * notice nothing, and when they read again they get exactly what the rule promises.
 *
 * Nodes are processes. The kernel buffers some megabytes per reader before the buffer of the gateway fills, so each
 * test publishes until the metric shows that the readers are detached.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { Redis } from 'ioredis';
import { describe, expect, inject, test } from 'vitest';
import { onCleanup } from '../support/cleanup.ts';
import { type NodeSettings, type SpawnedNode, spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until } from '../support/until.ts';
import { Random } from '../unit/random.ts';
import { metric } from './admin.ts';
import { publishNumbers, range } from './counting-member.ts';
import { roomsFile } from './files.ts';
import { enter, names, randomRoom } from './people.ts';
import { PlacedMember } from './placed-member.ts';

const hardLimit = 131_072;
const padding = 12_000;
const long = { size: 100_000, maxBytes: 1_073_741_824 };
const settings = (): NodeSettings => ({
  REDIS_URL: inject('redisUrl'),
  REDIS_PREFIX: inject('redisPrefix'),
  MAX_BUFFERED_BYTES: hardLimit,
  MAX_MESSAGE_BYTES: 16_384,
  PUBLISH_RATE: 0,
  // A stopped reader answers no pings, and the first ping may come at once.
  PING_INTERVAL_MS: 600_000,
  PONG_TIMEOUT_MS: 300_000,
  ROOMS_FILE: roomsFile(
    { match: 'patient:*', history: long },
    { match: 'short:*', history: { size: 50 } },
    { match: 'drop:*', slow: 'drop', history: long },
    { match: 'latest:*', slow: 'latest', history: long },
    { match: 'newest:*', slow: 'latest' },
    { match: 'strict:*', slow: 'close', history: long },
  ),
});
/** Far more than the kernel may still take from a buffer, so stopped readers stay stalled. */
const roomy = 4_194_304;
const catchingUpMs = 30_000;
const slow = (policy: string) => `gateway_slow_connections{policy="${policy}"}`;
const closedSlow = 'gateway_connections_closed_total{code="4003"}';

async function joinStopped(node: SpawnedNode, users: string[], rooms: string[]): Promise<PlacedMember[]> {
  return Promise.all(
    users.map(async (user) => {
      const member = await PlacedMember.enter(node, user);
      for (const room of rooms) await member.subscribe(room);
      member.stopReading();
      return member;
    }),
  );
}

/** Publishes numbers to a room, from `next` on, and checks that no buffer exceeds its limit. */
class Load {
  next = 0;
  mostBuffered = 0;
  readonly #node: SpawnedNode;
  readonly #publisher: Awaited<ReturnType<typeof enter>>;
  readonly #room: string;

  static async to(node: SpawnedNode, room: string): Promise<Load> {
    return new Load(node, await enter(node, 'publisher'), room);
  }

  private constructor(node: SpawnedNode, publisher: Awaited<ReturnType<typeof enter>>, room: string) {
    this.#node = node;
    this.#publisher = publisher;
    this.#room = room;
  }

  async publish(count: number, bytes = padding): Promise<void> {
    await publishNumbers(this.#publisher, this.#room, this.next, this.next + count, bytes);
    this.next += count;
    this.mostBuffered = Math.max(this.mostBuffered, await metric(this.#node, 'gateway_buffered_bytes'));
  }

  async until(series: string, value: number): Promise<void> {
    const most = this.next + 4_000;
    while ((await metric(this.#node, series)) !== value) {
      if (this.next >= most) throw new Error(`4000 messages did not make ${series} ${value}`);
      await this.publish(40);
    }
  }
}

async function untilNobodyIsSlow(node: SpawnedNode): Promise<void> {
  for (const policy of ['catch-up', 'drop', 'latest']) {
    await until(async () => (await metric(node, slow(policy))) === 0, catchingUpMs, `${policy}: all are live again`);
  }
}

/** A TCP proxy before a node, with limited throughput. */
async function narrowLine(node: SpawnedNode, bytesPerMs: number): Promise<{ url: string }> {
  const server = createServer((client) => {
    const target = connect(node.port, '127.0.0.1');
    target.on('data', (bytes) => {
      client.write(bytes);
      target.pause();
      setTimeout(() => target.resume(), bytes.length / bytesPerMs);
    });
    client.on('data', (bytes) => target.write(bytes));
    for (const [socket, peer] of [
      [client, target],
      [target, client],
    ] as const) {
      socket.on('error', () => peer.destroy());
      socket.on('close', () => peer.destroy());
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onCleanup(() => server.close());
  return { url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}/ws` };
}

/** The position at an offset, in the epoch that the member is in. */
const at = (member: PlacedMember, room: string, offset: number) => ({
  epoch: member.story(room).answer.epoch ?? '',
  offset,
});

describe('catch-up', () => {
  test('stopped readers are detached, others miss nothing, and all catch up in order, then go live', async () => {
    const node = await spawnNode(settings());
    const room = randomRoom('patient');
    const good = await PlacedMember.join(node, 'good', room);
    const readers = await joinStopped(node, names('stopped', 20), [room]);
    const load = await Load.to(node, room);
    await load.until(slow('catch-up'), readers.length);
    await load.publish(600);
    await good.untilAt(room, at(good, room, load.next), 10_000);
    expect(await metric(node, slow('catch-up'))).toBe(readers.length);

    for (const reader of readers) reader.readAgain();
    await load.publish(200);
    for (const reader of readers) await reader.untilAt(room, at(good, room, load.next), catchingUpMs);
    await untilNobodyIsSlow(node);
    await load.publish(40);
    for (const member of [good, ...readers]) {
      await member.untilAt(room, at(good, room, load.next), 10_000);
      expect([member.faults, member.story(room).gaps]).toEqual([[], []]);
      expect(member.numbers(room)).toEqual(range(0, load.next));
    }
    expect(load.mostBuffered).toBeGreaterThan(0);
    expect(load.mostBuffered).toBeLessThanOrEqual((readers.length + 2) * hardLimit);
    expect(await metric(node, closedSlow)).toBe(0);
  }, 90_000);

  test('if history is too short, readers get a gap with exactly the missing messages, then the rest', async () => {
    const node = await spawnNode(settings());
    const room = randomRoom('short');
    const good = await PlacedMember.join(node, 'good', room);
    const readers = await joinStopped(node, names('stopped', 5), [room]);
    const load = await Load.to(node, room);
    await load.until(slow('catch-up'), readers.length);
    await load.publish(200);
    for (const reader of readers) reader.readAgain();
    await load.publish(1);
    const end = at(good, room, load.next);
    await good.untilAt(room, end, 10_000);
    expect(good.story(room).gaps).toEqual([]);
    for (const reader of readers) {
      await reader.untilAt(room, end, catchingUpMs);
      expect(reader.faults).toEqual([]);
      const { gaps } = reader.story(room);
      expect(gaps.map(({ reason }) => reason)).toEqual(['trimmed']);
      const { first = 0, last = 0 } = gaps[0] ?? {};
      expect(reader.numbers(room)).toEqual([...range(0, first - 1), ...range(last, load.next)]);
      // The reader gets all of the 50 messages in history.
      expect(last - first + 1).toBeLessThanOrEqual(load.next - 50 - (first - 1));
    }
    await untilNobodyIsSlow(node);
  }, 90_000);

  test.each([
    ['all else is well', 0],
    ['the node loses its subscription again and again', 0.15],
  ])(
    'readers that stop and drain at random under load, while %s: no hole, no duplicate',
    async (_, losses) => {
      const redis = await ownRedis();
      const admin = new Redis(redis.url);
      onCleanup(() => admin.disconnect());
      const node = await spawnNode({ ...settings(), REDIS_URL: redis.url });
      const room = randomRoom('patient');
      const good = await PlacedMember.join(node, 'good', room);
      const readers = await joinStopped(node, names('fickle', 12), [room]);
      const load = await Load.to(node, room);
      await load.until(slow('catch-up'), readers.length);
      const random = new Random(7);
      let mostSlow = 0;
      for (let round = 0; round < 60; round++) {
        for (const reader of readers) {
          if (random.chance(0.4)) reader.stopReading();
          else reader.readAgain();
        }
        if (random.chance(losses)) await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
        await load.publish(random.integer(1, 60), random.pick([10, 1_000, padding]));
        mostSlow = Math.max(mostSlow, await metric(node, slow('catch-up')));
      }
      expect(mostSlow).toBeGreaterThan(0);
      for (const reader of readers) reader.readAgain();
      await load.publish(10);
      for (const member of [good, ...readers]) {
        await member.untilAt(room, at(good, room, load.next), catchingUpMs);
        expect([member.faults, member.story(room).gaps]).toEqual([[], []]);
        expect(member.numbers(room)).toEqual(range(0, load.next));
      }
      await untilNobodyIsSlow(node);
      expect(load.mostBuffered).toBeLessThanOrEqual((readers.length + 2) * hardLimit);
      expect(await metric(node, closedSlow)).toBe(0);
    },
    120_000,
  );
});

test.each([['patient'], ['drop'], ['latest'], ['strict']])(
  'a client that resumes far more messages than its buffer holds gets all of them in order, under any rule (%s)',
  async (topic) => {
    const node = await spawnNode(settings());
    const room = randomRoom(topic);
    const load = await Load.to(node, room);
    await load.publish(800);
    const asker = await PlacedMember.join(node, 'asker', room);
    const readers = await Promise.all(names('late', 5).map((name) => PlacedMember.enter(node, name)));
    const since = at(asker, room, 0);
    const answers = Promise.all(readers.map((reader) => reader.subscribe(room, since)));
    await load.publish(100, 10);
    for (const answer of await answers) expect(answer).toMatchObject({ ...since, recovered: true });
    for (const reader of readers) {
      await reader.untilAt(room, at(asker, room, load.next), catchingUpMs);
      expect([reader.faults, reader.story(room).gaps]).toEqual([[], []]);
      expect(reader.numbers(room)).toEqual(range(0, load.next));
    }
    expect(load.mostBuffered).toBeLessThanOrEqual((readers.length + 2) * hardLimit);
  },
  60_000,
);

test.each([['drop'], ['strict']])(
  'a long history over a slow network does not stall its reader in other rooms (%s)',
  async (topic) => {
    const node = await spawnNode(settings());
    const [room, side] = [randomRoom('patient'), randomRoom(topic)];
    const load = await Load.to(node, room);
    await load.publish(1_200);
    const asker = await PlacedMember.join(node, 'asker', room);
    const reader = await PlacedMember.join(await narrowLine(node, 10_000), 'reader', side);
    await reader.subscribe(room, at(asker, room, 0));
    const live = await Load.to(node, side);
    const end = at(asker, room, load.next);
    while (reader.story(room).position.offset < end.offset && live.next < 4_000) await live.publish(2, 10);
    await reader.untilAt(room, end, catchingUpMs);
    await reader.untilAt(side, at(reader, side, live.next), 10_000);
    for (const [name, count] of [
      [room, load.next],
      [side, live.next],
    ] as const) {
      expect(reader.numbers(name)).toEqual(range(0, count));
      expect([reader.faults, reader.story(name).gaps]).toEqual([[], []]);
    }
  },
  60_000,
);

test.each([
  ['with history', 'latest'],
  ['without history', 'newest'],
])(
  'latest, %s: a stopped reader that drains gets only the newest message, without a gap, then live ones',
  async (_, topic) => {
    const node = await spawnNode(settings());
    const room = randomRoom(topic);
    const good = await PlacedMember.join(node, 'good', room);
    const [reader] = (await joinStopped(node, ['stopped'], [room])) as [PlacedMember];
    const load = await Load.to(node, room);
    await load.until(slow('latest'), 1);
    await load.publish(100);
    const newest = load.next - 1;
    await until(() => good.numbers(room).at(-1) === newest, 10_000, 'the others have it');
    reader.readAgain();
    await untilNobodyIsSlow(node);
    await until(() => reader.numbers(room).at(-1) === newest, 10_000, 'the newest');
    await load.publish(20);
    await until(() => reader.numbers(room).at(-1) === load.next - 1, 10_000, 'live messages');
    const numbers = reader.numbers(room);
    const jump = numbers.findIndex((number, index) => number !== index);
    expect(numbers).toEqual([...range(0, jump), ...range(newest, load.next)]);
    expect(jump).toBeLessThan(newest - 100);
    expect(reader.story(room).gaps).toEqual([]);
    // This rule causes one jump in the offsets; there is no other.
    expect(reader.faults).toHaveLength(topic === 'latest' ? 1 : 0);
    expect(good.numbers(room)).toEqual(range(0, load.next));
    expect(await metric(node, 'gateway_messages_dropped_total{reason="slow"}')).toBe(newest + 1 - jump);
  },
  60_000,
);

test('drop, with history: a gap has the exact offsets that were missed', async () => {
  const node = await spawnNode(settings());
  const room = randomRoom('drop');
  const good = await PlacedMember.join(node, 'good', room);
  const readers = await joinStopped(node, names('stopped', 5), [room]);
  const load = await Load.to(node, room);
  await load.until(slow('drop'), readers.length);
  await load.publish(100);
  for (const reader of readers) reader.readAgain();
  await untilNobodyIsSlow(node);
  await load.publish(20);
  for (const reader of readers) {
    await reader.untilAt(room, at(good, room, load.next), 10_000);
    expect(reader.faults).toEqual([]);
    const { gaps } = reader.story(room);
    expect(gaps).toMatchObject([{ reason: 'slow' }]);
    const { first = 0, last = 0, count } = gaps[0] ?? {};
    expect(count).toBe(last - first + 1);
    expect(count).toBeGreaterThanOrEqual(100);
    expect(reader.numbers(room)).toEqual([...range(0, first - 1), ...range(last, load.next)]);
  }
  await good.untilAt(room, at(good, room, load.next), 10_000);
  expect(good.numbers(room)).toEqual(range(0, load.next));
}, 60_000);

test('close, with history: a stopped reader gets 4003, and resumes its position with since', async () => {
  const node = await spawnNode(settings());
  const room = randomRoom('strict');
  const good = await PlacedMember.join(node, 'good', room);
  const [reader] = (await joinStopped(node, ['stopped'], [room])) as [PlacedMember];
  const load = await Load.to(node, room);
  await load.until(closedSlow, 1);
  reader.readAgain();
  expect(await reader.closed).toMatchObject({ code: 4003 });
  const { position } = reader.story(room);
  expect(reader.numbers(room)).toEqual(range(0, position.offset));
  const again = await PlacedMember.join(node, 'stopped', room, position);
  expect(again.story(room).answer).toMatchObject({ ...position, recovered: true });
  await again.untilAt(room, at(good, room, load.next), 10_000);
  expect(again.numbers(room)).toEqual(range(position.offset, load.next));
  expect([reader.faults, again.faults, good.faults]).toEqual([[], [], []]);
}, 60_000);

test('rooms of different rules on one connection: each follows its own rule', async () => {
  const node = await spawnNode({ ...settings(), MAX_BUFFERED_BYTES: roomy });
  const [patient, drop, latest, plain] = ['patient', 'drop', 'latest', 'plain'].map((topic) => randomRoom(topic)) as [
    string,
    string,
    string,
    string,
  ];
  const rooms = [patient, drop, latest, plain];
  const [reader] = (await joinStopped(node, ['stopped'], rooms)) as [PlacedMember];
  const loads = await Promise.all(rooms.map((room) => Load.to(node, room)));
  const [full, ...others] = loads as [Load, Load, Load, Load];
  for (const load of others) await load.publish(5);
  await full.until(slow('catch-up'), 1);
  for (const policy of ['drop', 'latest']) expect(await metric(node, slow(policy))).toBe(1);
  for (const load of loads) await load.publish(50);
  reader.readAgain();
  await untilNobodyIsSlow(node);
  for (const load of loads) await load.publish(5);
  for (const [index, room] of rooms.entries()) {
    await until(() => reader.numbers(room).at(-1) === (loads[index]?.next ?? 0) - 1, 10_000, `the end of ${room}`);
  }
  expect(reader.numbers(patient)).toEqual(range(0, full.next));
  expect(reader.story(patient).gaps).toEqual([]);
  expect(reader.numbers(drop)).toEqual([...range(0, 5), ...range(55, 60)]);
  expect(reader.story(drop).gaps).toMatchObject([{ reason: 'slow', first: 6, last: 55, count: 50, offset: 55 }]);
  expect(reader.numbers(latest)).toEqual([...range(0, 5), ...range(54, 60)]);
  expect(reader.story(latest).gaps).toEqual([]);
  expect(reader.numbers(plain)).toEqual([...range(0, 5), ...range(55, 60)]);
  expect(reader.story(plain).gaps).toMatchObject([{ reason: 'slow', count: 50 }]);
}, 60_000);

test('a new epoch while readers are stopped: each gets a gap for it, as its rule says, before the first message', async () => {
  const redis = await ownRedis();
  const admin = new Redis(redis.url);
  onCleanup(() => admin.disconnect());
  const node = await spawnNode({ ...settings(), REDIS_URL: redis.url, MAX_BUFFERED_BYTES: roomy });
  const [patient, drop, latest] = ['patient', 'drop', 'latest'].map((topic) => randomRoom(topic)) as [
    string,
    string,
    string,
  ];
  const rooms = [patient, drop, latest];
  const good = await PlacedMember.enter(node, 'good');
  for (const room of rooms) await good.subscribe(room);
  const [reader] = (await joinStopped(node, ['stopped'], rooms)) as [PlacedMember];
  const loads = (await Promise.all(rooms.map((room) => Load.to(node, room)))) as [Load, Load, Load];
  for (const load of loads.slice(1)) await load.publish(5);
  await loads[0].until(slow('catch-up'), 1);
  const old = loads.map(({ next }) => next);
  await admin.flushall();
  for (const load of loads) await load.publish(10);
  reader.readAgain();
  await untilNobodyIsSlow(node);
  for (const load of loads) await load.publish(1);
  for (const [index, room] of rooms.entries()) {
    const [before = 0, end = 0] = [old[index], loads[index]?.next];
    for (const member of [good, reader]) {
      await until(() => member.numbers(room).at(-1) === end - 1, 10_000, `the end of ${room}`);
    }
    expect(good.numbers(room)).toEqual(range(0, end));
    const { epoch } = good.story(room).position;
    expect(good.story(room).gaps).toEqual([{ type: 'gap', room, reason: 'epoch', epoch, offset: 0 }]);
    const [gap, ...more] = reader.story(room).gaps;
    expect(more).toEqual([]);
    const offset = room === patient ? 0 : room === drop ? 10 : 9;
    expect(gap).toEqual({ type: 'gap', room, reason: 'epoch', epoch, offset });
    const numbers = reader.numbers(room);
    expect(numbers.slice(numbers.findIndex((number) => number >= before))).toEqual(range(before + offset, end));
  }
  expect([good.faults, reader.faults]).toEqual([[], []]);
}, 60_000);
