/**
 * Redis dies, hangs, or never starts: connections stay open, publishes fail fast, every member gets a gap if messages
 * may be missing, and everything recovers without help.
 *
 * Each test has its own Redis, and nodes as processes. The times are part of the promise: two seconds for an answer,
 * five until everything works again.
 */
import { expect, test } from 'vitest';
import { errorOf } from '../support/client.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until } from '../support/until.ts';
import { metric, readiness } from './admin.ts';
import { CountingMember, type Heard } from './counting-member.ts';
import { carrying, enter, join, names, randomRoom } from './people.ts';
import { SteadyPublisher } from './steady-publisher.ts';

const answerMs = 2_000;
const recoveryMs = 5_000;
const settings = { PUBLISH_RATE: 0 };

/** Resolves when a message published on any node reaches every node, in a new room. */
async function untilWorking(nodes: SpawnedNode[], deadlineMs: number): Promise<void> {
  const works = async () => {
    const room = randomRoom('probe');
    const members = await Promise.all(nodes.map((node, index) => join(node, `probe${index}`, room)));
    await Promise.all(members.map((member, index) => member.publish(room, index)));
    await Promise.all(members.flatMap((member) => nodes.map((_, index) => member.next(carrying(room, index), 1_000))));
    for (const member of members) member.socket.terminate();
    return (await Promise.all(nodes.map(readiness))).every((status) => status === 200);
  };
  await until(works, deadlineMs, 'messages flow between all nodes');
}

/**
 * Checks that a member got every acknowledged message, in order and once, or a gap of reason `backplane` in its place.
 * Returns the number of gaps. A message answered with `timeout` may be missing.
 */
function gapsIn(heard: Heard[], acknowledged: number[]): number {
  const stretches: number[][] = [[]];
  for (const each of heard) {
    if (typeof each === 'number') stretches.at(-1)?.push(each);
    else {
      expect(each).toEqual({ reason: 'backplane' });
      stretches.push([]);
    }
  }
  const known = new Set(acknowledged);
  stretches.forEach((stretch, index) => {
    const from = index === 0 ? 0 : (stretch[0] ?? Number.POSITIVE_INFINITY);
    const to = stretch.at(-1) ?? -1;
    expect(stretch.filter((number) => known.has(number))).toEqual(acknowledged.filter((n) => n >= from && n <= to));
  });
  const numbers = stretches.flat();
  expect(numbers).toEqual([...new Set(numbers)].toSorted((one, other) => one - other));
  return stretches.length - 1;
}

test('Redis killed under load and restarted: no client is disconnected, and every member of every room gets one gap', async () => {
  const redis = await ownRedis();
  const nodes = await Promise.all([0, 1].map(() => spawnNode({ ...settings, REDIS_URL: redis.url })));
  const [left, right, quiet] = [randomRoom('left'), randomRoom('right'), randomRoom('quiet')];
  const members = (
    await Promise.all(
      nodes.map((node) =>
        Promise.all(names('m', 15).map((user) => CountingMember.join(node, user, [left, right, quiet]))),
      ),
    )
  ).flat();
  const clients = await Promise.all(nodes.map((node, index) => enter(node, `publisher${index}`)));
  const publishers = clients.map((client, index) => new SteadyPublisher(client, [left, right][index] ?? ''));
  await until(() => publishers.every(({ acknowledged }) => acknowledged.length > 100), 10_000, 'the load');

  await redis.kill();
  const unavailable = () =>
    publishers.every(({ answers }) => answers.filter((each) => each === 'unavailable').length > 20);
  await until(unavailable, answerMs, 'publishes fail fast');
  const unready = async () => (await Promise.all(nodes.map(readiness))).every((status) => status === 503);
  await until(unready, answerMs, '/readyz answers 503');
  for (const client of clients) {
    expect(errorOf(await client.request({ type: 'subscribe', room: randomRoom() })).code).toBe('unavailable');
    expect(await client.request({ type: 'ping' })).toMatchObject({ type: 'pong' });
  }
  for (const node of nodes) expect(await metric(node, 'gateway_backplane_up')).toBe(0);

  await redis.start();
  await untilWorking(nodes, recoveryMs);
  const counts = publishers.map(({ acknowledged }) => acknowledged.length);
  const more = () => publishers.every(({ acknowledged }, index) => acknowledged.length > (counts[index] ?? 0) + 50);
  await until(more, 5_000, 'the load continues');
  const lasts = await Promise.all(publishers.map((publisher) => publisher.stop()));

  for (const publisher of publishers) {
    expect(publisher.answers.join(' ')).toMatch(/^(ok ?)+(timeout ?)*(unavailable ?)+(ok ?)+$/);
    expect(publisher.slowestMs).toBeLessThan(answerMs);
  }
  for (const member of members) {
    await member.untilHeard(left, lasts[0] ?? 0, 5_000);
    await member.untilHeard(right, lasts[1] ?? 0, 5_000);
    expect(gapsIn(member.heard(left), publishers[0]?.acknowledged ?? [])).toBe(1);
    expect(gapsIn(member.heard(right), publishers[1]?.acknowledged ?? [])).toBe(1);
    expect(member.heard(quiet)).toEqual([{ reason: 'backplane' }]);
  }
  for (const node of nodes) {
    expect(await metric(node, 'gateway_backplane_up')).toBe(1);
    expect(await metric(node, 'gateway_backplane_reconnects_total')).toBeGreaterThanOrEqual(1);
    expect(await metric(node, 'gateway_connections_closed_total{code="4006"}')).toBe(0);
    expect(await metric(node, 'gateway_connections')).toBeGreaterThanOrEqual(16);
  }
}, 60_000);

test('publishes in flight when Redis dies are answered with timeout at once, because their outcome is unknown', async () => {
  const redis = await ownRedis();
  const node = await spawnNode({ ...settings, REDIS_URL: redis.url });
  const room = randomRoom();
  const client = await join(node, 'user', room);
  await redis.pause();
  const began = performance.now();
  const answers = names('', 20).map((data, index) =>
    client.request({ type: 'publish', room, data, ...(index % 2 ? { key: data } : {}) }),
  );
  await client.request({ type: 'ping' });
  await redis.kill();
  for (const answer of await Promise.all(answers)) expect(errorOf(answer).code).toBe('timeout');
  expect(performance.now() - began).toBeLessThan(answerMs);
  expect(errorOf(await client.request({ type: 'publish', room, data: 1 })).code).toBe('unavailable');
});

test('Redis hangs: publishes are answered within two seconds, and all works again when it continues', async () => {
  const redis = await ownRedis();
  const nodes = await Promise.all([0, 1].map(() => spawnNode({ ...settings, REDIS_URL: redis.url })));
  const room = randomRoom();
  const members = await Promise.all(nodes.map((node) => CountingMember.join(node, 'member', [room])));
  const client = await enter(nodes[0] as SpawnedNode, 'publisher');
  const publisher = new SteadyPublisher(client, room);
  await until(() => publisher.acknowledged.length > 50, 5_000, 'the load');

  await redis.pause();
  const unready = async () => (await Promise.all(nodes.map(readiness))).every((status) => status === 503);
  await until(unready, 6_000, '/readyz answers 503');
  expect(publisher.answers).toContain('timeout');
  await redis.resume();
  await untilWorking(nodes, recoveryMs);
  const count = publisher.acknowledged.length;
  await until(() => publisher.acknowledged.length > count + 50, 5_000, 'the load continues');
  const last = await publisher.stop();

  expect(publisher.slowestMs).toBeLessThan(answerMs);
  for (const answer of new Set(publisher.answers)) expect(['ok', 'timeout', 'unavailable']).toContain(answer);
  for (const member of members) {
    await member.untilHeard(room, last, 5_000);
    // No gap if the node had not yet closed the hung connection: then no message is missing.
    expect(gapsIn(member.heard(room), publisher.acknowledged)).toBeLessThanOrEqual(1);
  }
}, 40_000);

test('a short pause of Redis loses nothing: waiting publishes are taken, and no member gets a gap', async () => {
  const redis = await ownRedis();
  const node = await spawnNode({ ...settings, REDIS_URL: redis.url });
  const room = randomRoom();
  const member = await CountingMember.join(node, 'member', [room]);
  const client = await enter(node, 'user');
  await redis.pause();
  const answers = [0, 1, 2].map((number) => client.publish(room, [number]));
  await client.request({ type: 'ping' });
  await redis.resume();
  await Promise.all(answers);
  await member.untilHeard(room, 2, 5_000);
  expect(member.heard(room)).toEqual([0, 1, 2]);
});

test('a node that starts without Redis serves what it can, and everything once Redis is up', async () => {
  const redis = await ownRedis();
  await redis.kill();
  const node = await spawnNode({ ...settings, REDIS_URL: redis.url });
  expect(await readiness(node)).toBe(503);
  const [client, room] = [await enter(node, 'user'), randomRoom()];
  for (const type of ['subscribe', 'publish']) {
    expect(errorOf(await client.request({ type, room, data: 1 })).code).toBe('unavailable');
  }
  await redis.start();
  await untilWorking([node], recoveryMs);
  await client.subscribe(room);
  await client.publish(room, 'hello');
  await client.next(carrying(room, 'hello'));
  expect(client.frames.filter(({ type }) => type === 'gap')).toEqual([]);
}, 30_000);
