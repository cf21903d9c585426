/**
 * What a node missed it heals by itself: members stay where they are and get everything in order, after a pause; what
 * history does not hold any more is told in its place, to the offset.
 *
 * Every test breaks a Redis, or the way to it, of its own. Members only listen; the publisher goes on through it all.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { describe, expect, test } from 'vitest';
import { metric } from '../integration/admin.ts';
import { CountingMember, publishNumbers, range } from '../integration/counting-member.ts';
import { roomsFile } from '../integration/files.ts';
import { halfOpenProxy } from '../integration/half-open-proxy.ts';
import { enter, names, randomRoom } from '../integration/people.ts';
import { expectWhole, PlacedMember, type Story } from '../integration/placed-member.ts';
import { SteadyPublisher } from '../integration/steady-publisher.ts';
import { onCleanup } from '../support/cleanup.ts';
import { faultProxy } from '../support/fault-proxy.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { launchRedisProcess } from '../support/redis-process.ts';
import { until } from '../support/until.ts';

const settings = {
  PUBLISH_RATE: 0,
  ROOMS_FILE: roomsFile(
    { match: 'long:*', history: { size: 100_000, maxBytes: 1_073_741_824 } },
    { match: 'short:*', history: { size: 10 } },
  ),
};
const healed = 'gateway_gaps_total{reason="backplane",healed="true"}';
const told = (reason: string) => `gateway_gaps_total{reason="${reason}",healed="false"}`;
const recoveryMs = 15_000;

/** As many nodes as there are addresses of the same Redis, and members of one room on each. */
async function crowd(addresses: string[], room: string, perNode = 3) {
  const nodes = await Promise.all(addresses.map((url) => spawnNode({ ...settings, REDIS_URL: url })));
  const membersOf = (node: SpawnedNode) =>
    Promise.all(names('member', perNode).map((name) => PlacedMember.join(node, name, room)));
  return { nodes, members: (await Promise.all(nodes.map(membersOf))).flat() };
}

async function steadyPublisher(node: SpawnedNode | undefined, room: string): Promise<SteadyPublisher> {
  const publisher = new SteadyPublisher(await enter(node as SpawnedNode, 'publisher'), room);
  await untilAcknowledged(publisher, 100);
  return publisher;
}

/** So many more than now. */
async function untilAcknowledged(publisher: SteadyPublisher, more: number): Promise<void> {
  const before = publisher.acknowledged.length;
  await until(() => publisher.acknowledged.length >= before + more, recoveryMs, `${more} more messages`);
}

/** Stops the load and checks that every member heard the same, with nothing acknowledged missing untold. */
async function expectHealed(members: PlacedMember[], room: string, publisher: SteadyPublisher): Promise<Story[]> {
  await publisher.stop();
  const last = publisher.outcomes.findLast(({ position }) => position !== undefined)?.position;
  if (last === undefined) throw new Error('nothing was acknowledged');
  for (const member of members) await member.untilAt(room, last, recoveryMs);
  const stories = members.map((member) => member.story(room));
  for (const [index, story] of stories.entries()) {
    expect(members[index]?.faults).toEqual([]);
    expectWhole(story, publisher);
  }
  expectSame(stories);
  return stories;
}

/** All heard the same; but the end of an epoch that Redis took with it may have reached some of them only. */
function expectSame(stories: Story[]): void {
  const last = stories[0]?.messages.at(-1)?.epoch;
  for (const epoch of new Set(stories.flatMap(({ messages }) => messages.map((message) => message.epoch)))) {
    const heard = stories.map(({ messages }) => messages.filter((message) => message.epoch === epoch));
    const shared = Math.min(...heard.map(({ length }) => length));
    for (const list of heard) {
      expect(epoch === last ? list : list.slice(0, shared)).toEqual(
        heard[0]?.slice(0, epoch === last ? undefined : shared),
      );
    }
  }
}

/** ... and that nobody was told of a gap. */
async function expectWholeAgain(members: PlacedMember[], room: string, publisher: SteadyPublisher): Promise<void> {
  for (const { gaps } of await expectHealed(members, room, publisher)) expect(gaps).toEqual([]);
}

const reconnects = (node: SpawnedNode) => metric(node, 'gateway_backplane_reconnects_total');

async function untilReconnected(node: SpawnedNode, before: number): Promise<void> {
  await until(async () => (await reconnects(node)) > before, recoveryMs, 'the node is connected again');
}

test('subscriptions killed again and again under load: all is healed in place, on all nodes alike', async () => {
  const redis = await ownRedis();
  const room = randomRoom('long');
  const { nodes, members } = await crowd([redis.url, redis.url], room);
  const publisher = await steadyPublisher(nodes[0], room);
  const admin = new Redis(redis.url);
  onCleanup(() => admin.disconnect());
  for (let round = 0; round < 8; round++) {
    const before = await Promise.all(nodes.map(reconnects));
    await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await Promise.all(nodes.map((node, index) => untilReconnected(node, before[index] ?? 0)));
    await untilAcknowledged(publisher, 50);
  }
  await expectWholeAgain(members, room, publisher);
  for (const node of nodes) {
    expect(await metric(node, healed)).toBeGreaterThan(0);
    for (const reason of ['backplane', 'trimmed', 'epoch', 'slow']) expect(await metric(node, told(reason))).toBe(0);
  }
}, 60_000);

test('the way of one node to Redis cut and stopped again and again under load: nothing is missing, nothing comes twice', async () => {
  const redis = await ownRedis();
  const proxy = await faultProxy(redis.url);
  const room = randomRoom('long');
  const { nodes, members } = await crowd([proxy.url, redis.url], room);
  const publisher = await steadyPublisher(nodes[1], room);
  for (let round = 0; round < 15; round++) {
    if (round % 3 === 0) proxy.cut();
    else proxy.mode = round % 3 === 1 ? 'blackhole' : 'swallow replies';
    await untilAcknowledged(publisher, 20 + 17 * round);
    proxy.mode = 'pass';
    await untilAcknowledged(publisher, 7 * round);
  }
  await expectWholeAgain(members, room, publisher);
}, 90_000);

test('Redis drops a subscriber whose output buffer is full: what was in it is healed', async () => {
  const redis = await ownRedis();
  const line = await halfOpenProxy(redis.url);
  const room = randomRoom('long');
  const { nodes, members } = await crowd([line.url, redis.url], room);
  const publisher = await enter(nodes[1] as SpawnedNode, 'publisher');
  const admin = new Redis(redis.url);
  onCleanup(() => admin.disconnect());
  await publishNumbers(publisher, room, 0, 10);
  await admin.config('SET', 'client-output-buffer-limit', 'pubsub 65536 32768 1');
  const subscribers = async () => {
    const list = String(await admin.call('CLIENT', 'LIST', 'TYPE', 'pubsub'));
    return list.trim().split('\n').length;
  };
  expect(await subscribers()).toBe(2);
  line.silenceSubscribed();
  let end = 10;
  // The kernel takes some megabytes first.
  for (; (await subscribers()) === 2 && end < 2_000; end += 40) {
    await publishNumbers(publisher, room, end, end + 40, 12_000);
  }
  expect(await subscribers()).toBe(1);
  // It was Redis, not the node's own watchdog.
  expect(nodes[0]?.logs.filter(({ msg }) => msg === 'connecting to redis again')).toEqual([]);
  line.wakeSubscribed();
  await publishNumbers(publisher, room, end, end + 10);
  const { epoch } = members[0]?.story(room).position ?? { epoch: '' };
  for (const member of members) {
    await member.untilAt(room, { epoch, offset: end + 10 }, recoveryMs);
    expect(member.numbers(room)).toEqual(range(0, end + 10));
    expect([member.faults, member.story(room).gaps]).toEqual([[], []]);
  }
  expect(await metric(nodes[0] as SpawnedNode, healed)).toBeGreaterThan(0);
}, 60_000);

test('a node that was frozen for so long that Redis dropped it: its members get all that passed by', async () => {
  const redis = await ownRedis();
  const room = randomRoom('long');
  const { nodes, members } = await crowd([redis.url, redis.url], room);
  const [frozen, well] = nodes as [SpawnedNode, SpawnedNode];
  const publisher = await steadyPublisher(well, room);
  const admin = new Redis(redis.url);
  onCleanup(() => admin.disconnect());
  await admin.config('SET', 'client-output-buffer-limit', 'pubsub 65536 32768 1');
  frozen.kill('SIGSTOP');
  const filler = await enter(well, 'filler');
  const subscribers = async () =>
    String(await admin.call('CLIENT', 'LIST', 'TYPE', 'pubsub')).match(/name=roomcast:pubsub:/g)?.length;
  for (let sent = 0; (await subscribers()) === 2 && sent < 2_000; sent += 40) {
    await publishNumbers(filler, room, 1_000_000 + sent, 1_000_040 + sent, 12_000);
  }
  expect(await subscribers()).toBe(1);
  frozen.kill('SIGCONT');
  await untilAcknowledged(publisher, 100);
  await expectWholeAgain(members, room, publisher);
}, 60_000);

test('Redis hangs for longer than nodes wait, and goes on: all is healed, late publishes included', async () => {
  const redis = await ownRedis();
  const room = randomRoom('long');
  const { nodes, members } = await crowd([redis.url, redis.url], room);
  const publisher = await steadyPublisher(nodes[0], room);
  await redis.pause();
  for (const node of nodes) {
    await until(async () => (await metric(node, 'gateway_backplane_up')) === 0, 10_000, 'the node notices');
  }
  await redis.resume();
  await untilAcknowledged(publisher, 100);
  await expectWholeAgain(members, room, publisher);
}, 60_000);

test('Redis killed under load and started with its file: the epoch goes on, and nothing acknowledged is missing', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'roomcast-test-'));
  onCleanup(() => rmSync(folder, { recursive: true, force: true }));
  const redis = await launchRedisProcess(folder);
  onCleanup(() => redis.stop());
  const room = randomRoom('long');
  const { nodes, members } = await crowd([redis.url, redis.url], room);
  const publisher = await steadyPublisher(nodes[0], room);
  for (let round = 0; round < 2; round++) {
    await redis.kill();
    await until(() => publisher.answers.at(-1) === 'unavailable', recoveryMs, 'publishes fail');
    await redis.start();
    await untilAcknowledged(publisher, 100);
  }
  await expectWholeAgain(members, room, publisher);
}, 60_000);

test('Redis killed under load and started empty: a gap tells of the new epoch, and it is heard from its first message', async () => {
  const redis = await ownRedis();
  const room = randomRoom('long');
  const { nodes, members } = await crowd([redis.url, redis.url], room);
  const publisher = await steadyPublisher(nodes[0], room);
  await redis.kill();
  await until(() => publisher.answers.at(-1) === 'unavailable', recoveryMs, 'publishes fail');
  await redis.start();
  await untilAcknowledged(publisher, 100);
  for (const { answer, gaps, messages } of await expectHealed(members, room, publisher)) {
    expect(gaps).toEqual([{ type: 'gap', room, reason: 'epoch', epoch: expect.any(String), offset: 0 }]);
    const epoch = gaps[0]?.epoch;
    expect(epoch).not.toBe(answer.epoch);
    const [before, after] = [answer.epoch, epoch].map((of) =>
      messages.filter((message) => message.epoch === of).map(({ offset }) => offset),
    );
    expect(before).toEqual(range(1, (before?.length ?? 0) + 1));
    expect(after).toEqual(range(1, (after?.length ?? 0) + 1));
  }
  for (const node of nodes) expect(await metric(node, told('epoch'))).toBe(1);
}, 60_000);

test('all keys of Redis gone, with no connection lost: told as a new epoch within ten seconds, without a message', async () => {
  const redis = await ownRedis();
  const [room, busy] = [randomRoom('long'), randomRoom('long')];
  const { nodes, members } = await crowd([redis.url, redis.url], room);
  const listener = await PlacedMember.join(nodes[1] as SpawnedNode, 'listener', busy);
  const publisher = await enter(nodes[0] as SpawnedNode, 'publisher');
  await publishNumbers(publisher, room, 0, 5);
  await publishNumbers(publisher, busy, 0, 5);
  const { epoch } = await publisher.publish(room, [5]);
  for (const member of members) await member.untilAt(room, { epoch: epoch ?? '', offset: 6 }, 5_000);
  const admin = new Redis(redis.url);
  onCleanup(() => admin.disconnect());
  await admin.flushall();
  // With a message behind it, it is told at once.
  await publishNumbers(publisher, busy, 5, 8);
  await until(() => listener.story(busy).messages.length === 8, 3_000, 'the messages of the new epoch');
  expect(listener.story(busy).gaps).toMatchObject([{ reason: 'epoch', offset: 0 }]);
  for (const member of members) {
    await until(() => member.story(room).gaps.length > 0, 10_000, 'the gap');
    expect(member.story(room).gaps).toMatchObject([{ reason: 'epoch', offset: 0 }]);
    expect([member.faults, listener.faults]).toEqual([[], []]);
  }
  const epochs = new Set(members.map((member) => member.story(room).position.epoch));
  expect([...epochs]).toEqual([expect.not.stringMatching(epoch ?? '')]);
}, 40_000);

describe('a message that never came, although all connections are well', async () => {
  const redis = await ownRedis();
  const admin = new Redis(redis.url);
  onCleanup(() => admin.disconnect());

  /** Keeps a message as the gateway does, in one step, but publishes nothing. Returns its offset. */
  async function keepUnpublished(room: string, number: number): Promise<number> {
    const script = `
      local offset = redis.call('HINCRBY', KEYS[1], 'offset', 1)
      local frame = '{"type":"message","room":"' .. ARGV[1] .. '","offset":' .. offset .. ',"data":[' .. ARGV[2] .. '],"at":0}'
      redis.call('XADD', KEYS[2], offset .. '-0', 'f', frame)
      return offset`;
    const keys = [`rc:{${room}}:position`, `rc:{${room}}:messages`];
    return (await admin.eval(script, keys.length, ...keys, room, number)) as number;
  }

  test('is found by a look within ten seconds, when nothing else happens in the room', async () => {
    const room = randomRoom('long');
    const { nodes, members } = await crowd([redis.url, redis.url], room);
    const { epoch = '' } = await (await enter(nodes[0] as SpawnedNode, 'publisher')).publish(room, [0]);
    const offset = await keepUnpublished(room, 1);
    for (const member of members) {
      await member.untilAt(room, { epoch, offset }, 10_000);
      expect(member.numbers(room)).toEqual([0, 1]);
      expect([member.faults, member.story(room).gaps]).toEqual([[], []]);
    }
  }, 30_000);

  test('is healed at once by the next one that comes', async () => {
    const room = randomRoom('long');
    const { nodes, members } = await crowd([redis.url, redis.url], room);
    const publisher = await enter(nodes[0] as SpawnedNode, 'publisher');
    const { epoch = '' } = await publisher.publish(room, [0]);
    for (let number = 1; number < 20; number += 2) {
      await keepUnpublished(room, number);
      await publisher.publish(room, [number + 1]);
    }
    for (const member of members) {
      await member.untilAt(room, { epoch, offset: 21 }, 2_000);
      expect(member.numbers(room)).toEqual(range(0, 21));
      expect([member.faults, member.story(room).gaps]).toEqual([[], []]);
    }
  });
});

test('a message in an envelope of another version is read from history; bytes of a stranger cost nothing', async () => {
  const redis = await ownRedis();
  const room = randomRoom('long');
  const { nodes, members } = await crowd([redis.url, redis.url], room);
  const publisher = await enter(nodes[0] as SpawnedNode, 'publisher');
  const admin = new Redis(redis.url);
  onCleanup(() => admin.disconnect());
  const channel = `rc:{${room}}`;
  const { epoch = '' } = await publisher.publish(room, [0]);
  const frame = `{"type":"message","room":"${room}","offset":2,"data":[1],"at":0}`;
  await admin
    .multi()
    .hset(`${channel}:position`, 'offset', 2)
    .xadd(`${channel}:messages`, '2-0', 'f', frame)
    .publish(channel, `3h1700000000000${epoch} 2\n${frame}`)
    .exec();
  for (const bytes of ['', 'x', `1h1700000000000${epoch}\n{}`, `1h1700000000000${epoch} 0\n{}`]) {
    await admin.publish(channel, bytes);
  }
  await publisher.publish(room, [2]);
  for (const member of members) {
    await member.untilAt(room, { epoch, offset: 3 }, 5_000);
    expect(member.numbers(room)).toEqual([0, 1, 2]);
    expect([member.faults, member.story(room).gaps]).toEqual([[], []]);
  }
  for (const node of nodes) expect(await metric(node, 'gateway_messages_dropped_total{reason="unreadable"}')).toBe(5);
}, 30_000);

test('one interruption is counted as one gap that was healed, however much was missed', async () => {
  const redis = await ownRedis();
  const line = await halfOpenProxy(redis.url);
  const room = randomRoom('long');
  const { nodes, members } = await crowd([line.url, redis.url], room, 1);
  const publisher = await enter(nodes[1] as SpawnedNode, 'publisher');
  const epoch = members[0]?.story(room).answer.epoch ?? '';
  line.silenceSubscribed();
  await publishNumbers(publisher, room, 0, 1_800);
  for (const member of members) {
    await member.untilAt(room, { epoch, offset: 1_800 }, 10_000);
    expect([member.faults, member.story(room).gaps]).toEqual([[], []]);
  }
  expect(await Promise.all(nodes.map((node) => metric(node, healed)))).toEqual([1, 0]);
}, 30_000);

test('what is missed while a read is under way is healed when that has ended, without waiting for a look', async () => {
  const redis = await ownRedis();
  const line = await halfOpenProxy(redis.url);
  const room = randomRoom('long');
  const { nodes, members } = await crowd([redis.url], room, 1);
  const node = await spawnNode({ ...settings, REDIS_URL: line.url, NODE_ID: 'cut-off' });
  const member = await PlacedMember.join(node, 'member', room);
  const publisher = await enter(nodes[0] as SpawnedNode, 'publisher');
  const admin = new Redis(redis.url);
  onCleanup(() => admin.disconnect());
  const { epoch = '' } = await publisher.publish(room, [0]);
  for (const each of [member, ...members]) await each.untilAt(room, { epoch, offset: 1 }, 5_000);

  const cutOff = async () => {
    const clients = String(await admin.call('CLIENT', 'LIST', 'TYPE', 'pubsub')).split('\n');
    const id = /^id=(\d+)/.exec(clients.find((client) => client.includes('name=roomcast:pubsub:cut-off')) ?? '')?.[1];
    await admin.call('CLIENT', 'KILL', 'ID', id ?? '');
  };
  line.silenceOthers();
  // The answer of the read that this causes is held up.
  const before = await reconnects(node);
  await cutOff();
  await untilReconnected(node, before);
  await publisher.publish(room, [1]);
  await cutOff();
  await publishNumbers(publisher, room, 2, 5);
  await untilReconnected(node, before + 1);
  line.wakeOthers();
  await member.untilAt(room, { epoch, offset: 5 }, 2_000);
  expect(member.numbers(room)).toEqual(range(0, 5));
  expect([member.faults, member.story(room).gaps]).toEqual([[], []]);
}, 30_000);

test('more was missed than history holds: a gap says exactly what, in its place, and then the rest comes', async () => {
  const redis = await ownRedis();
  const line = await halfOpenProxy(redis.url);
  const room = randomRoom('short');
  const { nodes, members } = await crowd([line.url, redis.url], room, 2);
  const [deaf, well] = nodes as [SpawnedNode, SpawnedNode];
  const publisher = await enter(well, 'publisher');
  await publishNumbers(publisher, room, 0, 5);
  const epoch = members[0]?.story(room).answer.epoch ?? '';
  for (const member of members) await member.untilAt(room, { epoch, offset: 5 }, 5_000);
  line.silenceSubscribed();
  await publishNumbers(publisher, room, 5, 55);
  for (const member of members) await member.untilAt(room, { epoch, offset: 55 }, 10_000);
  await publishNumbers(publisher, room, 55, 60);
  for (const member of members) await member.untilAt(room, { epoch, offset: 60 }, 5_000);
  const gap = { type: 'gap', room, reason: 'trimmed', first: 6, last: 45, count: 40, epoch, offset: 45 };
  for (const [index, member] of members.entries()) {
    const cut = index < 2;
    expect(member.faults).toEqual([]);
    expect(member.story(room).gaps).toEqual(cut ? [gap] : []);
    expect(member.numbers(room)).toEqual(cut ? [...range(0, 5), ...range(45, 60)] : range(0, 60));
  }
  expect([await metric(deaf, told('trimmed')), await metric(well, told('trimmed'))]).toEqual([1, 0]);
}, 40_000);

test('where nothing is kept, the gap is told; rooms with history on the same connections are healed', async () => {
  const redis = await ownRedis();
  const proxy = await faultProxy(redis.url);
  const [plain, kept] = [randomRoom(), randomRoom('long')];
  const { nodes, members } = await crowd([proxy.url, redis.url], kept, 1);
  const counting = await Promise.all(nodes.map((node) => CountingMember.join(node, 'counting', [plain, kept])));
  const publisher = await enter(nodes[1] as SpawnedNode, 'publisher');
  for (const room of [plain, kept]) await publishNumbers(publisher, room, 0, 5);
  for (const member of counting) for (const room of [plain, kept]) await member.untilHeard(room, 4, 5_000);
  const before = await reconnects(nodes[0] as SpawnedNode);
  proxy.cut();
  for (const room of [plain, kept]) await publishNumbers(publisher, room, 5, 10);
  await untilReconnected(nodes[0] as SpawnedNode, before);
  await until(() => counting[0]?.heard(plain).some((heard) => typeof heard !== 'number'), 5_000, 'the gap');
  for (const room of [plain, kept]) await publishNumbers(publisher, room, 10, 15);
  for (const member of counting) for (const room of [plain, kept]) await member.untilHeard(room, 14, 5_000);
  for (const member of counting) expect(member.heard(kept)).toEqual(range(0, 15));
  expect(counting[1]?.heard(plain)).toEqual(range(0, 15));
  const heard = counting[0]?.heard(plain) ?? [];
  expect(heard.filter((each) => typeof each !== 'number')).toEqual([{ reason: 'backplane' }]);
  expect(heard.slice(0, 5)).toEqual(range(0, 5));
  expect(heard.slice(-5)).toEqual(range(10, 15));
  expect(members[0]?.numbers(kept)).toEqual(range(0, 15));
}, 30_000);
