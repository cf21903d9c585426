/**
 * The way between one node and Redis breaks, while another node is well: what the broken one does, what its members are
 * told, and that the others never notice.
 *
 * The first node reaches Redis through a proxy that breaks on demand, the second directly.
 */
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { onCleanup } from '../support/cleanup.ts';
import { errorOf } from '../support/client.ts';
import { type FaultProxy, faultProxy } from '../support/fault-proxy.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until } from '../support/until.ts';
import { metric, readiness } from './admin.ts';
import { CountingMember, publishNumbers, range } from './counting-member.ts';
import { halfOpenProxy } from './half-open-proxy.ts';
import { carrying, dataOf, enter, join, randomRoom } from './people.ts';

const settings = { PUBLISH_RATE: 0 };
/** A dead line is found out within this time. */
const detectionMs = 5_000;
const redis = await ownRedis();
const proxy: FaultProxy = await faultProxy(redis.url);
const [broken, well] = (await Promise.all(
  [proxy.url, redis.url].map((url) => spawnNode({ ...settings, REDIS_URL: url })),
)) as [SpawnedNode, SpawnedNode];
const admin = new Redis(redis.url);
onCleanup(() => admin.disconnect());

/** One member on each node, and a publisher on the one that is well. */
async function party(room: string) {
  const [here, there] = await Promise.all([broken, well].map((node) => CountingMember.join(node, 'member', [room])));
  return { here: here as CountingMember, there: there as CountingMember, publisher: await enter(well, 'publisher') };
}

async function untilReady(node: SpawnedNode): Promise<void> {
  await until(async () => (await readiness(node)) === 200, 5_000, 'the node is ready again');
}

test('cut connections: the members of that node alone are told, once, before the next message', async () => {
  const room = randomRoom();
  const { here, there, publisher } = await party(room);
  await publishNumbers(publisher, room, 0, 10);
  await here.untilHeard(room, 9, 5_000);
  proxy.cut();
  await until(() => here.heard(room).length > 10, 5_000, 'the gap');
  await publishNumbers(publisher, room, 10, 20);
  for (const member of [here, there]) await member.untilHeard(room, 19, 5_000);
  expect(here.heard(room)).toEqual([...range(0, 10), { reason: 'backplane' }, ...range(10, 20)]);
  expect(there.heard(room)).toEqual(range(0, 20));
  await untilReady(broken);
});

test('Redis drops the subscriber, as it does with one that reads too slowly: the same', async () => {
  const room = randomRoom();
  const { here, there, publisher } = await party(room);
  await publishNumbers(publisher, room, 0, 10);
  for (const member of [here, there]) await member.untilHeard(room, 9, 5_000);
  await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
  for (const member of [here, there]) await until(() => member.heard(room).length > 10, 5_000, 'the gap');
  await publishNumbers(publisher, room, 10, 20);
  for (const member of [here, there]) {
    await member.untilHeard(room, 19, 5_000);
    expect(member.heard(room)).toEqual([...range(0, 10), { reason: 'backplane' }, ...range(10, 20)]);
  }
});

test('a short silence on the line loses nothing and tells of no gap', async () => {
  const room = randomRoom();
  const { here, publisher } = await party(room);
  const client = await enter(broken, 'user');
  proxy.mode = 'blackhole';
  await publishNumbers(publisher, room, 0, 10);
  const waiting = client.publish(room, [10]);
  await client.request({ type: 'ping' });
  proxy.mode = 'pass';
  await waiting;
  await here.untilHeard(room, 10, 5_000);
  expect(here.heard(room)).toEqual(range(0, 11));
});

test('a line that is dead is found out: publishes fail in time, /readyz says so, and all heals with it', async () => {
  const room = randomRoom();
  const { here, there, publisher } = await party(room);
  const client = await enter(broken, 'user');
  await publishNumbers(publisher, room, 0, 10);
  await here.untilHeard(room, 9, 5_000);
  proxy.mode = 'blackhole';
  const began = performance.now();
  expect(errorOf(await client.request({ type: 'publish', room: randomRoom(), data: 1 })).code).toBe('timeout');
  expect(performance.now() - began).toBeLessThan(2_000);
  await publishNumbers(publisher, room, 10, 20);
  await until(async () => (await readiness(broken)) === 503, detectionMs, '/readyz answers 503');
  expect(await readiness(well)).toBe(200);
  // Held bytes flow on in the end: what the node has not given up by then would not be lost.
  await until(() => performance.now() - began > detectionMs, detectionMs, 'the line is dead for long enough');

  proxy.mode = 'pass';
  await untilReady(broken);
  await until(() => here.heard(room).some((each) => typeof each !== 'number'), 5_000, 'the gap');
  await publishNumbers(publisher, room, 20, 30);
  for (const member of [here, there]) await member.untilHeard(room, 29, 5_000);
  expect(here.heard(room)).toEqual([...range(0, 10), { reason: 'backplane' }, ...range(20, 30)]);
  expect(there.heard(room)).toEqual(range(0, 30));
}, 30_000);

test('a subscription that has gone deaf while its node has nothing to say is found out, and its members are told', async () => {
  const line = await halfOpenProxy(redis.url);
  const node = await spawnNode({ ...settings, REDIS_URL: line.url });
  const room = randomRoom();
  const deaf = await CountingMember.join(node, 'deaf', [room]);
  const client = await enter(well, 'user');
  await publishNumbers(client, room, 0, 10);
  await deaf.untilHeard(room, 9, 5_000);
  line.silenceSubscribed();
  await publishNumbers(client, room, 10, 20);
  await until(() => deaf.heard(room).length > 10, detectionMs, 'the gap');
  await publishNumbers(client, room, 20, 30);
  await deaf.untilHeard(room, 29, 5_000);
  expect(deaf.heard(room)).toEqual([...range(0, 10), { reason: 'backplane' }, ...range(20, 30)]);
  await untilReady(node);
}, 30_000);

test('an answer that got lost: timeout, and the retry with its key on either node is one delivery', async () => {
  const room = randomRoom();
  const member = await join(well, 'member', room);
  const [first, again] = [await enter(broken, 'user'), await enter(well, 'user')];
  proxy.mode = 'swallow replies';
  const answers = [
    first.request({ type: 'publish', room, data: 'with a key', key: 'k' }),
    first.request({ type: 'publish', room, data: 'without' }),
  ];
  await member.next(carrying(room, 'without'));
  // Redis has taken both; the connections that lost the answers end here.
  proxy.mode = 'pass';
  for (const answer of await Promise.all(answers)) expect(errorOf(answer).code).toBe('timeout');
  expect(await again.publish(room, 'with a key', { key: 'k' })).toMatchObject({ duplicate: true });
  await untilReady(broken);
  expect(await first.publish(room, 'with a key', { key: 'k' })).toMatchObject({ duplicate: true });
  await first.publish(room, 'end');
  await member.next(carrying(room, 'end'));
  // Nothing was sent again behind the client's back, either.
  expect(dataOf(member, room)).toEqual(['with a key', 'without', 'end']);
});

test('bytes in a room’s channel that this version cannot read are told as a gap and counted, and the node lives', async () => {
  const room = randomRoom();
  const { here, there, publisher } = await party(room);
  await publishNumbers(publisher, room, 0, 1);
  const [channel = ''] = ((await admin.pubsub('CHANNELS', `*${room}*`)) as string[]).filter((name) =>
    name.includes(room),
  );
  const counted = 'gateway_messages_dropped_total{reason="unreadable"}';
  const before = await metric(broken, counted);
  const foreign = [
    '',
    'x',
    '{"type":"message"}',
    '3m1700000000000\n{"type":"message"}',
    '2m017000000000001 999\n{"type":"message"}',
    '2m217000000000000 0\n{"type":"message"}',
    '1x1700000000000\n{"type":"message"}',
    '1m17000000000xx\n{"type":"message"}',
    '1m1700000000000\n',
    '\xff\xfe\0\x01\x02',
    'z'.repeat(1_000_000),
  ];
  for (const bytes of foreign) await admin.publish(channel, Buffer.from(bytes, 'latin1'));
  await publishNumbers(publisher, room, 1, 3);
  for (const member of [here, there]) {
    await member.untilHeard(room, 2, 5_000);
    expect(member.heard(room)).toEqual([0, ...foreign.map(() => ({ reason: 'backplane' })), 1, 2]);
  }
  expect(await metric(broken, counted)).toBe(before + foreign.length);
});
