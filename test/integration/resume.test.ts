/**
 * Resuming with `since` on any node: every missed message, in order and once, or `recovered: false`; never a silent
 * hole.
 *
 * Two nodes, as processes, share a Redis of this file, which counts its commands.
 */
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import type { OkFrame, Position } from '../../shared/protocol.ts';
import { onCleanup } from '../support/cleanup.ts';
import { connectWelcomed, errorOf, okOf } from '../support/client.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { metric } from './admin.ts';
import { publishNumbers, range } from './counting-member.ts';
import { roomsFile } from './files.ts';
import { halfOpenProxy } from './half-open-proxy.ts';
import { enter, everywhere, names, randomRoom } from './people.ts';
import { expectWhole, type Placed, PlacedMember } from './placed-member.ts';
import { SteadyPublisher } from './steady-publisher.ts';

const redis = await ownRedis();
const admin = new Redis(redis.url);
onCleanup(() => admin.disconnect());
const settings = {
  PUBLISH_RATE: 0,
  REQUEST_RATE: 0,
  MAX_CONNECTIONS_PER_USER: 0,
  ROOMS_FILE: roomsFile(
    { match: 'long:*', history: { size: 100_000, maxBytes: 1_073_741_824 } },
    { match: 'short:*', history: { size: 10 } },
    { match: 'fleeting:*', history: { size: 10, ttlSeconds: 1 } },
  ),
};
const [one, other] = (await Promise.all([0, 1].map(() => spawnNode({ ...settings, REDIS_URL: redis.url })))) as [
  SpawnedNode,
  SpawnedNode,
];
const publisher = await enter(one, 'publisher');

async function subscribed(node: SpawnedNode, room: string): Promise<OkFrame> {
  const asker = await PlacedMember.enter(node, 'asker');
  const ask = async () => okOf(await asker.request({ type: 'subscribe', room }));
  return until(ask, 10_000, 'the node hears Redis');
}

/** A room with the messages 0 to `count` - 1 at the offsets 1 to `count`. The test before may have cut both nodes off a moment ago. */
async function roomWith(count: number, topic = 'long', paddingBytes = 0): Promise<{ room: string; epoch: string }> {
  const room = randomRoom(topic);
  await publishNumbers(publisher, room, 0, count, paddingBytes);
  const [{ epoch = '' }] = await Promise.all([subscribed(one, room), subscribed(other, randomRoom('probe'))]);
  return { room, epoch };
}

test.each([
  ['the same node', one],
  ['another node', other],
])('missed messages come in order from %s, then live ones', async (_, node) => {
  const { room, epoch } = await roomWith(1_700);
  const member = await PlacedMember.join(node, 'member', room, { epoch, offset: 30 });
  expect(member.story(room).answer).toMatchObject({ room, epoch, offset: 30, recovered: true });
  await publishNumbers(publisher, room, 1_700, 1_710);
  await member.untilAt(room, { epoch, offset: 1_710 }, 10_000);
  expect(member.numbers(room)).toEqual(range(30, 1_710));
  expect(member.story(room).gaps).toEqual([]);
  expect(member.faults).toEqual([]);
});

test('since 0 is the start of the epoch; since the newest offset replays nothing', async () => {
  const { room, epoch } = await roomWith(40);
  for (const node of [one, other]) {
    const [fromStart, fromTop] = [
      await PlacedMember.join(node, 'start', room, { epoch, offset: 0 }),
      await PlacedMember.join(node, 'top', room, { epoch, offset: 40 }),
    ];
    expect(fromStart.story(room).answer).toMatchObject({ epoch, offset: 0, recovered: true });
    expect(fromTop.story(room).answer).toMatchObject({ epoch, offset: 40, recovered: true });
    await fromStart.untilAt(room, { epoch, offset: 40 }, 5_000);
    expect(fromStart.numbers(room)).toEqual(range(0, 40));
    expect(fromTop.numbers(room)).toEqual([]);
  }
});

test('since 0 in a room to which nothing was ever published is recovered, and its first message comes', async () => {
  const { room, epoch } = await roomWith(0);
  const member = await PlacedMember.join(other, 'member', room, { epoch, offset: 0 });
  expect(member.story(room).answer).toMatchObject({ epoch, offset: 0, recovered: true });
  await publishNumbers(publisher, room, 0, 1);
  await member.untilAt(room, { epoch, offset: 1 }, 5_000);
});

test.each<[what: string, topic: string, since: (epoch: string) => { epoch: string; offset: number }]>([
  ['trimmed away', 'short', (epoch) => ({ epoch, offset: 9 })],
  ['of another epoch', 'short', () => ({ epoch: 'another', offset: 20 })],
  ['of another epoch, its start', 'short', () => ({ epoch: '', offset: 0 })],
  ['above the newest offset', 'short', (epoch) => ({ epoch, offset: 21 })],
  ['far above it', 'short', (epoch) => ({ epoch, offset: Number.MAX_SAFE_INTEGER })],
])('since an offset %s: recovered: false, at the newest offset, and nothing is replayed', async (_, topic, since) => {
  const { room, epoch } = await roomWith(20, topic);
  for (const node of [one, other]) {
    const member = await PlacedMember.join(node, 'member', room, since(epoch));
    expect(member.story(room).answer).toMatchObject({ room, epoch, offset: 20, recovered: false });
    // Replayed messages would come before this answer.
    await member.request({ type: 'unsubscribe', room });
    expect(member.numbers(room)).toEqual([]);
  }
  // A position that does not exist starts no new epoch.
  expect(await publisher.publish(room, [20])).toMatchObject({ epoch, offset: 21 });
});

test('the oldest kept message is the limit: one offset further back is refused', async () => {
  const { room, epoch } = await roomWith(25, 'short');
  const [kept, gone] = await Promise.all(
    [15, 14].map((offset) => PlacedMember.join(other, 'member', room, { epoch, offset })),
  );
  expect(kept?.story(room).answer).toMatchObject({ offset: 15, recovered: true });
  expect(gone?.story(room).answer).toMatchObject({ offset: 25, recovered: false });
  await kept?.untilAt(room, { epoch, offset: 25 }, 5_000);
});

test('when all messages have expired, only a client that missed none is recovered', async () => {
  const { room, epoch } = await roomWith(5, 'fleeting');
  const asker = await enter(one, 'asker');
  await asker.subscribe(room);
  const first = async () => okOf(await asker.request({ type: 'history', room })).first;
  await until(async () => (await first()) === 6, 5_000, 'the messages expire');
  const [all, most] = await Promise.all(
    [5, 4].map((offset) => PlacedMember.join(other, 'member', room, { epoch, offset })),
  );
  expect(all?.story(room).answer).toMatchObject({ epoch, offset: 5, recovered: true });
  expect(most?.story(room).answer).toMatchObject({ epoch, offset: 5, recovered: false });
});

test('500 clients that resume a room at once all get everything, and share a few reads of its history', async () => {
  const { room, epoch } = await roomWith(400);
  const crowd = await Promise.all(names('m', 500).map((name) => PlacedMember.enter(other, name)));
  const reads = async () => {
    const statistics = await admin.info('commandstats');
    return Number(/cmdstat_evalsha:calls=(\d+)/.exec(statistics)?.[1] ?? 0);
  };
  const before = await reads();
  // Like clients that were disconnected together: most are at the end, some slightly before it.
  await Promise.all(crowd.map((member, index) => member.subscribe(room, { epoch, offset: 200 + (index % 100) })));
  await Promise.all(crowd.map((member) => member.untilAt(room, { epoch, offset: 400 }, 15_000)));
  expect((await reads()) - before).toBeLessThanOrEqual(50);
  crowd.forEach((member, index) => {
    expect(member.story(room).answer.recovered).toBe(true);
    expect(member.numbers(room)).toEqual(range(200 + (index % 100), 400));
    expect(member.faults).toEqual([]);
  });
  expect(await metric(other, 'gateway_resumes_total{result="recovered"}')).toBeGreaterThanOrEqual(500);
}, 60_000);

/** Retries to join: while a subscription is lost, nodes answer `unavailable`. */
async function comeBack(member: PlacedMember, room: string, since: Position): Promise<OkFrame> {
  return until(async () => okOf(await member.request({ type: 'subscribe', room, since })), 10_000, 'the answer ok');
}

test.each([
  ['all else is well', false],
  ['subscriptions are killed', true],
])(
  'resuming again and again on both nodes at full speed, while %s: no hole, no duplicate',
  async (_, kills) => {
    const { room } = await roomWith(1);
    const steady = new SteadyPublisher(publisher, room);
    let wandering = true;
    const killer = async () => {
      while (kills && wandering) {
        const count = steady.acknowledged.length;
        await until(() => steady.acknowledged.length > count + 300, 10_000, 'the load continues');
        await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
      }
    };
    const wanderer = async (index: number) => {
      const heard: Placed[] = [];
      let member = await PlacedMember.join([one, other][index % 2] ?? one, `wanderer${index}`, room);
      const { answer } = member.story(room);
      for (let round = 0; round < 40; round++) {
        const { messages } = member.story(room);
        await until(() => messages.length > round % 7, 10_000, 'messages');
        const { position } = member.story(room);
        heard.push(...messages);
        expect([member.faults, member.story(room).gaps]).toEqual([[], []]);
        member.leave();
        member = await PlacedMember.enter([other, one][(index + round) % 2] ?? one, `wanderer${index}`);
        expect(await comeBack(member, room, position)).toMatchObject({ ...position, recovered: true });
      }
      return { answer, heard, member };
    };
    const killing = killer();
    const wanderers = await Promise.all([...Array(10).keys()].map(wanderer)).finally(() => {
      wandering = false;
    });
    await killing;
    const end = await steady.stop();
    for (const { answer, heard, member } of wanderers) {
      await until(() => member.numbers(room).at(-1) === end, 10_000, 'the last message');
      const { gaps, messages } = member.story(room);
      expect([member.faults, gaps]).toEqual([[], []]);
      const all = [...heard, ...messages];
      expect(all.map(({ offset }) => offset)).toEqual(range((answer.offset ?? 0) + 1, end + 3));
      expectWhole({ answer, messages: all, gaps }, steady);
    }
  },
  90_000,
);

test('resuming with a short history at full speed: complete, a gap for what is missing, or refused', async () => {
  const { room, epoch } = await roomWith(1, 'short');
  const steady = new SteadyPublisher(publisher, room);
  const seen = { recovered: 0, refused: 0 };
  for (let round = 0; round < 60; round++) {
    const node = [one, other][round % 2] ?? one;
    const member = await PlacedMember.enter(node, `member${round}`);
    const top = (steady.outcomes.at(-1)?.position?.offset ?? 1) - (round % 20);
    await member.subscribe(room, { epoch, offset: Math.max(0, top) });
    const { answer, messages } = member.story(room);
    await until(() => messages.length > 20, 10_000, 'messages');
    expect(member.faults).toEqual([]);
    expectWhole(member.story(room), soFar(steady, messages.at(-1)?.offset ?? 0));
    if (answer.recovered) expect(answer.offset).toBe(Math.max(0, top));
    else expect(answer.offset).toBeGreaterThan(top);
    seen[answer.recovered ? 'recovered' : 'refused']++;
    member.leave();
  }
  await steady.stop();
  expect(seen.recovered).toBeGreaterThan(0);
  expect(seen.refused).toBeGreaterThan(0);
}, 60_000);

function soFar(steady: SteadyPublisher, offset: number): Pick<SteadyPublisher, 'outcomes'> {
  return { outcomes: steady.outcomes.filter(({ position }) => (position?.offset ?? 0) <= offset) };
}

test('a client ahead of a lagging node is recovered there, and gets no duplicate when the node catches up', async () => {
  const line = await halfOpenProxy(redis.url);
  const lagging = await spawnNode({ ...settings, REDIS_URL: line.url });
  const { room, epoch } = await roomWith(10);
  const local = await PlacedMember.join(lagging, 'local', room);
  const away = await PlacedMember.join(one, 'traveller', room);
  line.silenceSubscribed();
  await publishNumbers(publisher, room, 10, 30);
  await away.untilAt(room, { epoch, offset: 30 }, 5_000);
  const traveller = await PlacedMember.join(lagging, 'traveller', room, { epoch, offset: 30 });
  expect(traveller.story(room).answer).toMatchObject({ epoch, offset: 30, recovered: true });
  line.wakeSubscribed();
  await publishNumbers(publisher, room, 30, 40);
  for (const member of [local, traveller, away]) {
    await member.untilAt(room, { epoch, offset: 40 }, 10_000);
    expect(member.faults).toEqual([]);
    expect(member.story(room).gaps).toEqual([]);
  }
  expect(local.numbers(room)).toEqual(range(10, 40));
  expect(traveller.numbers(room)).toEqual(range(30, 40));
}, 30_000);

test('an unreadable history is an error, not a refusal; a retry recovers all', async () => {
  const line = await halfOpenProxy(redis.url);
  const node = await spawnNode({ ...settings, REDIS_URL: line.url });
  const { room, epoch } = await roomWith(5);
  await PlacedMember.join(node, 'local', room);
  const member = await PlacedMember.enter(node, 'member');
  const ask = () => member.request({ type: 'subscribe', room, since: { epoch, offset: 2 } });
  line.silenceOthers();
  expect(['timeout', 'unavailable']).toContain(errorOf(await ask()).code);
  line.wakeOthers();
  expect(await until(async () => okOf(await ask()), 10_000, 'Redis is back')).toMatchObject({
    offset: 2,
    recovered: true,
  });
  await member.untilAt(room, { epoch, offset: 5 }, 5_000);
  expect(member.numbers(room)).toEqual(range(2, 5));
  expect(member.faults).toEqual([]);
}, 30_000);

test('every resume checks rights: without the right to subscribe a position gives nothing', async () => {
  const { room, epoch } = await roomWith(5);
  const token = await mintToken({ sub: 'stranger', rooms: { 'other:*': ['subscribe'] } });
  const stranger = await connectWelcomed(other.url, token);
  const answer = await stranger.request({ type: 'subscribe', room, since: { epoch, offset: 0 } });
  expect(errorOf(answer).code).toBe('forbidden');
  await publishNumbers(publisher, room, 5, 10);
  await stranger.request({ type: 'ping' });
  expect(stranger.frames.some(({ type }) => type === 'message')).toBe(false);
});

test('a refresh that removes the right during the read of history ends in forbidden, and nothing is replayed', async () => {
  const line = await halfOpenProxy(redis.url);
  const node = await spawnNode({ ...settings, REDIS_URL: line.url });
  const { room, epoch } = await roomWith(5);
  // The room is open on this node, so a resume only has to read history.
  await PlacedMember.join(node, 'local', room);
  const member = await connectWelcomed(node.url, await mintToken({ sub: 'member', rooms: everywhere }));
  line.silenceOthers();
  const answer = member.request({ type: 'subscribe', room, since: { epoch, offset: 2 } }, 10_000);
  const refreshed = member.request({ type: 'auth', token: await mintToken({ sub: 'member' }) }, 10_000);
  okOf(await refreshed);
  line.wakeOthers();
  expect(errorOf(await answer).code).toBe('forbidden');
  await publishNumbers(publisher, room, 5, 10);
  await member.request({ type: 'ping' });
  expect(member.frames.filter(({ type }) => type === 'message')).toEqual([]);
  expect(await metric(node, 'gateway_subscriptions')).toBe(1);
}, 30_000);
