/**
 * A node that is stopped (SIGSTOP) for longer than its clients wait, and goes on: it obeys nothing and delivers nothing
 * that waited in the meantime, tells its clients to go elsewhere, and then serves like new. A short stop harms nobody.
 */
import { describe, expect, inject, onTestFinished, test, vi } from 'vitest';
import { metric, readiness } from '../integration/admin.ts';
import { carrying, dataOf, enter, join, names, randomRoom } from '../integration/people.ts';
import type { Client } from '../support/client.ts';
import { type SpawnedNode, spawnNode, startNode } from '../support/node.ts';
import { until } from '../support/until.ts';

const redis = () => ({ PUBLISH_RATE: 0, REDIS_URL: inject('redisUrl'), REDIS_PREFIX: inject('redisPrefix') });

/** Stops the nodes and publishes to the room; resolves with the number of messages. */
async function standStill(nodes: SpawnedNode[], ms: number, publisher: Client, room: string): Promise<number> {
  for (const node of nodes) node.kill('SIGSTOP');
  const stoppedAt = performance.now();
  let sent = 0;
  await until(
    async () => {
      await publisher.publish(room, `while it stood still ${sent++}`);
      return performance.now() - stoppedAt > ms;
    },
    ms + 10_000,
    'it has stood still for long enough',
  );
  return sent;
}

test('after more than 5 s every client gets 4005, nothing old is obeyed or delivered, and the node serves like new', async () => {
  // What wakes the first are messages from Redis, what wakes the second are frames of its clients.
  const listening = await spawnNode({ ...redis(), PING_INTERVAL_MS: 1_000, PONG_TIMEOUT_MS: 2_000 });
  const speaking = await spawnNode(redis());
  const other = await spawnNode(redis());
  const room = randomRoom();
  const members = await Promise.all(names('member', 20).map((user) => join(listening, user, room)));
  const speakers = await Promise.all(names('speaker', 20).map((user) => enter(speaking, user)));
  const witness = await join(other, 'witness', room);
  await witness.publish(room, 'before');
  for (const member of members) await member.next(carrying(room, 'before'));

  const publishing = standStill([listening, speaking], 6_000, witness, room);
  for (const speaker of speakers) speaker.send({ type: 'publish', room, data: 'stale' });
  await publishing;
  for (const node of [listening, speaking]) node.kill('SIGCONT');

  for (const client of [...members, ...speakers]) expect(await client.closed).toMatchObject({ code: 4005 });
  for (const member of members) expect(dataOf(member, room)).toEqual(['before']);
  for (const node of [listening, speaking]) {
    const again = await until(() => join(node, 'again', room), 10_000, 'the node serves again');
    await witness.publish(room, 'after');
    await again.next(carrying(room, 'after'));
    await witness.next(carrying(room, 'after'));
    expect(dataOf(again, room)).toEqual(['after']);
    await until(async () => (await readiness(node)) === 200, 5_000, 'it is ready again');
    expect(await metric(node, 'gateway_freezes_total')).toBe(1);
    expect(await metric(node, 'gateway_connections_closed_total{code="4005"}')).toBe(20);
    expect(node.logs.filter(({ msg }) => msg?.startsWith('the process stood still'))).toHaveLength(1);
  }
  expect(dataOf(witness, room)).not.toContain('stale');
}, 40_000);

describe('what comes in before any timer has run finds it out, too:', () => {
  /** As it is where the process is thawed with its sockets full: the clock is far ahead, and timers are not yet due. */
  function clockJumps(): void {
    const now = performance.now.bind(performance);
    vi.spyOn(performance, 'now').mockImplementation(() => now() + 60_000);
    onTestFinished(() => void vi.restoreAllMocks());
  }

  test('a frame of a client is not obeyed', async () => {
    const [node, other] = [await startNode(redis()), await spawnNode(redis())];
    const room = randomRoom();
    const witness = await join(other, 'witness', room);
    const client = await enter(node, 'user');
    clockJumps();
    client.send({ type: 'publish', room, data: 'stale' });
    expect(await client.closed).toMatchObject({ code: 4005 });
    await witness.publish(room, 'after');
    await witness.next(carrying(room, 'after'));
    expect(dataOf(witness, room)).toEqual(['after']);
  });

  test('a message from Redis is not delivered', async () => {
    const [node, other] = [await startNode(redis()), await spawnNode(redis())];
    const room = randomRoom();
    const publisher = await enter(other, 'publisher');
    const member = await join(node, 'member', room);
    clockJumps();
    await publisher.publish(room, 'stale');
    expect(await member.closed).toMatchObject({ code: 4005 });
    expect(dataOf(member, room)).toEqual([]);
  });
});

test('after less, clients receive what was published meanwhile, in order, and what they sent is done', async () => {
  const paused = await spawnNode(redis());
  const other = await spawnNode(redis());
  const room = randomRoom();
  const members = await Promise.all(names('member', 10).map((user) => join(paused, user, room)));
  const publisher = await enter(other, 'publisher');
  const sent = await standStill([paused], 1_500, publisher, room);
  const answers = members.map((member) => member.request({ type: 'unsubscribe', room: 'elsewhere' }, 15_000));
  paused.kill('SIGCONT');
  await publisher.publish(room, 'after');
  for (const member of members) {
    await member.next(carrying(room, 'after'), 15_000);
    expect(dataOf(member, room)).toHaveLength(sent + 1);
  }
  for (const answer of answers) expect(await answer).toMatchObject({ type: 'ok' });
  expect(await metric(paused, 'gateway_freezes_total')).toBe(0);
}, 40_000);

test('Redis messages that waited find nobody: a client that comes right after the thaw gets none of them', async () => {
  const frozen = await spawnNode(redis());
  const other = await spawnNode({ ...redis(), MAX_MESSAGE_BYTES: 131_072 });
  const room = randomRoom();
  const member = await join(frozen, 'member', room);
  const publisher = await enter(other, 'publisher');
  frozen.kill('SIGSTOP');
  const stoppedAt = performance.now();
  // More than the kernel takes: Redis itself holds the rest, and hands it over long after the thaw.
  const old = 'x'.repeat(100_000);
  for (let sent = 0; sent < 200; sent++) await publisher.publish(room, old);
  await until(() => performance.now() - stoppedAt > 5_500, 10_000, 'it has stood still for long enough');
  frozen.kill('SIGCONT');
  expect(await member.closed).toMatchObject({ code: 4005 });
  const next = await until(() => join(frozen, 'next', room), 10_000, 'the node serves again');
  await publisher.publish(room, 'new');
  await next.next(carrying(room, 'new'), 10_000);
  expect(dataOf(next, room).filter((data) => data === old)).toEqual([]);
}, 40_000);
