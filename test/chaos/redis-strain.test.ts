/**
 * A Redis that is full or refuses otherwise, and one that answers slowly: neither is an outage. What is refused is refused
 * whole, what is taken late is taken in order, nobody is told of a gap, and rooms open.
 *
 * Each test has a Redis of its own. The same below the node: history-faults.test.ts in test/contract. A Redis that is away
 * or hangs: redis-outage.test.ts in test/integration.
 */
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { metric, readiness } from '../integration/admin.ts';
import { CountingMember, range } from '../integration/counting-member.ts';
import { roomsFile } from '../integration/files.ts';
import { carrying, dataOf, enter, join, messagesOf, names, randomRoom } from '../integration/people.ts';
import { expectWhole, PlacedMember } from '../integration/placed-member.ts';
import { SteadyPublisher } from '../integration/steady-publisher.ts';
import { onCleanup } from '../support/cleanup.ts';
import { errorOf, okOf } from '../support/client.ts';
import { faultProxy } from '../support/fault-proxy.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until } from '../support/until.ts';

const rooms = () => roomsFile({ match: 'long:*', history: { size: 100_000, maxBytes: 1_073_741_824 } });

async function twoNodes(url: string): Promise<[SpawnedNode, SpawnedNode]> {
  const settings = { REDIS_URL: url, ROOMS_FILE: rooms(), PUBLISH_RATE: 0, REQUEST_RATE: 0 };
  return [await spawnNode(settings), await spawnNode(settings)];
}

test('Redis is full: what would be stored is unavailable and seen by nobody, the rest goes on, and then all does', async () => {
  const redis = await ownRedis();
  const nodes = await twoNodes(redis.url);
  const admin = new Redis(redis.url);
  onCleanup(() => admin.disconnect());
  const [kept, plain] = [randomRoom('long'), randomRoom()];
  const members = await Promise.all(nodes.map((node, index) => join(node, `member${index}`, kept, plain)));
  const publisher = await enter(nodes[0], 'publisher');
  const { epoch = '' } = await publisher.publish(kept, 'first', { key: 'k' });

  await admin.config('SET', 'maxmemory-policy', 'noeviction', 'maxmemory', '1');
  const refusals = [
    { room: kept, data: 'refused' },
    { room: kept, data: 'refused', key: 'retried' },
    { room: plain, data: 'refused', key: 'retried' },
    { room: randomRoom('long'), data: 'refused' },
  ];
  for (const refusal of refusals) {
    const error = errorOf(await publisher.request({ type: 'publish', ...refusal }));
    expect([error.code, error.message]).toEqual(['unavailable', expect.stringMatching(/again/)]);
  }
  await publisher.publish(plain, 'not stored');
  for (const member of members) await member.next(carrying(plain, 'not stored'));
  for (const node of nodes) await until(async () => (await readiness(node)) === 503, 10_000, 'the nodes are not ready');
  // What is there can be read, and who comes back goes on.
  const back = await enter(nodes[1], 'back');
  const answer = await back.request({ type: 'subscribe', room: kept, since: { epoch, offset: 0 } });
  expect(okOf(answer)).toMatchObject({ epoch, offset: 0, recovered: true });
  await back.next(carrying(kept, 'first'));

  await admin.config('SET', 'maxmemory', '0');
  expect(await publisher.publish(kept, 'retried', { key: 'retried' })).toMatchObject({ epoch, offset: 2 });
  await publisher.publish(plain, 'retried', { key: 'retried' });
  expect(await publisher.publish(kept, 'first', { key: 'k' })).toMatchObject({ duplicate: true, offset: 1 });
  expect(await publisher.publish(kept, 'last')).toMatchObject({ epoch, offset: 3 });
  for (const member of [...members, back]) {
    await member.next(carrying(kept, 'last'));
    expect(dataOf(member, kept)).toEqual(['first', 'retried', 'last']);
    expect(messagesOf(member, kept).map(({ offset }) => offset)).toEqual([1, 2, 3]);
    expect(member.frames.filter(({ type }) => type === 'gap')).toEqual([]);
  }
  for (const member of members) expect(dataOf(member, plain)).toEqual(['not stored', 'retried']);
}, 30_000);

test('a right to write that is taken away, and that nobody needs meanwhile, is missed within the time between two tries', async () => {
  const redis = await ownRedis();
  const node = await spawnNode({ REDIS_URL: redis.url });
  await until(async () => (await readiness(node)) === 200, 10_000, 'the node is ready');
  const admin = new Redis(redis.url);
  onCleanup(() => admin.disconnect());
  await admin.call('ACL', 'SETUSER', 'default', '-xadd');
  await until(async () => (await readiness(node)) === 503, 20_000, 'the node is not ready');
}, 30_000);

test('Redis stands still for 300 ms again and again under load: all is taken, in one order, by the same connections', async () => {
  const redis = await ownRedis();
  const nodes = await twoNodes(redis.url);
  const [kept, plain] = [randomRoom('long'), randomRoom()];
  const placed = (
    await Promise.all(
      nodes.map((node) => Promise.all(names('m', 3).map((user) => PlacedMember.join(node, user, kept)))),
    )
  ).flat();
  const counting = await Promise.all(nodes.map((node) => CountingMember.join(node, 'counting', [plain])));
  const [one, other] = [
    new SteadyPublisher(await enter(nodes[0], 'one'), kept),
    new SteadyPublisher(await enter(nodes[1], 'other'), plain),
  ];
  for (let round = 0; round < 12; round++) {
    const before = one.acknowledged.length;
    await until(() => one.acknowledged.length > before + 50, 10_000, 'the load goes on');
    await redis.pause();
    const pausedAt = performance.now();
    await until(() => performance.now() - pausedAt >= 300, 5_000, 'it has stood still for a while');
    await redis.resume();
  }
  const [last, lastPlain] = [await one.stop(), await other.stop()];

  for (const publisher of [one, other]) {
    expect(new Set(publisher.answers)).toEqual(new Set(['ok']));
    // The delay, and no more.
    expect(publisher.slowestMs).toBeGreaterThan(250);
    expect(publisher.slowestMs).toBeLessThan(1_400);
  }
  const end = one.outcomes.find(({ number }) => number === last)?.position;
  for (const member of placed) {
    await member.untilAt(kept, end ?? { epoch: '', offset: Number.POSITIVE_INFINITY }, 10_000);
    expect([member.faults, member.story(kept).gaps]).toEqual([[], []]);
    expectWhole(member.story(kept), one);
    expect(member.story(kept).messages).toEqual(placed[0]?.story(kept).messages);
  }
  // A publisher has several under way, on one connection: they are taken in the order in which they were sent.
  for (const member of counting) {
    await member.untilHeard(plain, lastPlain, 10_000);
    expect(member.heard(plain)).toEqual(range(0, lastPlain + 1));
  }
  expect(placed[0]?.numbers(kept)).toEqual(range(0, last + 1));
  for (const node of nodes) {
    expect(await metric(node, 'gateway_backplane_reconnects_total')).toBe(0);
    expect(await metric(node, 'gateway_gaps_total{reason="backplane",healed="true"}')).toBe(0);
    expect(node.logs.filter(({ msg }) => msg === 'backplane down: publishes fail until Redis is back')).toEqual([]);
  }
}, 60_000);

test('Redis answers everything 900 ms late: a room opens, and history is read, beside 2,000 quiet rooms', async () => {
  const redis = await ownRedis();
  const proxy = await faultProxy(redis.url);
  const settings = { REQUEST_RATE: 0, MAX_ROOMS_PER_CONNECTION: 3_000, ROOMS_FILE: rooms() };
  const node = await spawnNode({ REDIS_URL: proxy.url, ...settings });
  const quiet = await enter(node, 'quiet');
  for (let from = 0; from < 2_000; from += 500) {
    await Promise.all(names('', 500).map((_, index) => quiet.subscribe(`long:${from + index}`)));
  }
  proxy.answerDelayMs = 900;
  const lateFrom = performance.now();
  await until(() => performance.now() - lateFrom > 10_000, 20_000, 'it has been late for a while');
  const newcomer = await enter(node, 'newcomer');
  const askedAt = performance.now();
  okOf(await newcomer.request({ type: 'subscribe', room: randomRoom('long') }, 20_000));
  okOf(await quiet.request({ type: 'history', room: 'long:1' }, 20_000));
  // Three answers: to SUBSCRIBE, and to a read each. The queue of looks alone would take 8 s.
  expect(performance.now() - askedAt).toBeLessThan(5_000);
  expect(await metric(node, 'gateway_backplane_reconnects_total')).toBe(0);
}, 60_000);
