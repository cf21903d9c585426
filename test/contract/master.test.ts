/**
 * A node serves with one Redis, and with a master only, also when nobody cuts its connections: test/support/fault-proxy.ts
 * stands for a name that is pointed at the new master while old connections stay open. What one connection learns concerns
 * all of them, and nothing stays acknowledged that others never heard of and were not told to miss.
 */
import { describe, expect, test } from 'vitest';
import { type FaultProxy, faultProxy } from '../support/fault-proxy.ts';
import { freePort } from '../support/free-port.ts';
import { ownRedisOnDisk } from '../support/own-redis.ts';
import type { OwnRedis } from '../support/redis-process.ts';
import { until } from '../support/until.ts';
import { keptWhenBack, pageOf, publishKept } from './kept-room.ts';
import { keptPublication, outcome, publication, type Recorder } from './recorder.ts';
import { channelOf, deadlineMs, publishWhenBack, redisClient, redisNode, started, untilBack } from './redis-node.ts';

/** A replica is served as soon as it asks. */
const promptly = ['--repl-diskless-sync-delay', '0'];

interface Pair {
  old: OwnRedis;
  next: OwnRedis;
  /** Leads to the old master at first. */
  name: FaultProxy;
}

/** A master and its replica, which has everything. */
async function masterAndReplica(): Promise<Pair> {
  const [old, next] = [await ownRedisOnDisk(...promptly), await ownRedisOnDisk(...promptly)];
  await follow(next, old.port);
  return { old, next, name: await faultProxy(old.url) };
}

async function follow(redis: OwnRedis, port: number): Promise<void> {
  const client = redisClient(redis.url);
  await client.replicaof('127.0.0.1', `${port}`);
  await until(async () => /master_link_status:up/.test(await client.info('replication')), deadlineMs, 'it follows');
}

async function untilHas(redis: OwnRedis, room: string, offset: number): Promise<void> {
  const has = async () => (await redisClient(redis.url).hget(`${channelOf(room)}:position`, 'offset')) === `${offset}`;
  await until(has, deadlineMs, `the replica has ${offset} messages of ${room}`);
}

async function promote(redis: OwnRedis): Promise<void> {
  await redisClient(redis.url).replicaof('NO', 'ONE');
}

/** Connections of nodes that are open there. */
async function connectionsOf(redis: OwnRedis): Promise<number> {
  const list = String(await redisClient(redis.url).call('CLIENT', 'LIST'));
  return list.split('\n').filter((line) => line.includes('name=roomcast:')).length;
}

/** Publishes to a plain room without a pause. `stop` returns the frames that were acknowledged. */
function steadily(node: Recorder, room: string): { stop(): Promise<string[]> } {
  const acknowledged: string[] = [];
  let going = true;
  const done = (async () => {
    while (going) {
      const sent = publication(room);
      if ((await outcome(node.backplane.publish(sent))) === 'taken') acknowledged.push(sent.frame);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  })();
  return {
    async stop() {
      going = false;
      await done;
      return acknowledged;
    },
  };
}

describe.each([
  ['follows the new one', (pair: Pair) => follow(pair.old, pair.next.port)],
  [
    'cannot reach the new one',
    async (pair: Pair) => void (await redisClient(pair.old.url).replicaof('127.0.0.1', `${await freePort()}`)),
  ],
])('a master becomes a replica, which %s, and cuts nobody', (_, demote) => {
  test('its nodes move to the new master with all connections; all members are told, also those there', async () => {
    const pair = await masterAndReplica();
    const one = await started(pair.name.url, 'plain', 'kept');
    await publishKept(one, 'kept', 3);
    await one.untilFrames('kept', 3);
    const publishing = steadily(one, 'plain');
    await one.untilFrames('plain', 10);
    await untilHas(pair.next, 'kept', 3);
    await promote(pair.next);
    pair.name.target = pair.next.url;
    const other = await started(pair.name.url, 'plain', 'kept');
    await demote(pair);
    await until(() => one.roomsWithGap().length === 2, deadlineMs, 'the rooms of the node were interrupted');
    await untilBack(one, 'plain', 'kept');
    expect(await connectionsOf(pair.old)).toBe(0);
    const acknowledged = await publishing.stop();
    const last = await publishWhenBack(one, 'plain');
    await until(() => other.frames('plain').includes(last), deadlineMs, 'the other node has the last message');
    // Before the first message that it has of them all, or before the first one after a hole, the other node was told.
    const story = other.story('plain').filter((line) => line === 'interrupted' || acknowledged.includes(line));
    const heard = story.filter((line) => line !== 'interrupted');
    expect(heard).toEqual(acknowledged.slice(-heard.length));
    expect(story[0]).toBe('interrupted');
    const { position } = await keptWhenBack(one, 'kept');
    expect(position?.offset).toBe(4);
    await other.untilFrames('kept', 1);
  });

  test('a node that knows no other address serves nobody there: nothing is acknowledged, and it says why', async () => {
    const pair = await masterAndReplica();
    const one = await started(pair.old.url, 'plain');
    await promote(pair.next);
    await demote(pair);
    await one.untilUp(false);
    const sent = [
      publication('plain'),
      publication('plain', { dedupe: { by: 'a', key: 'k' } }),
      keptPublication('kept'),
    ];
    for (const each of sent) expect(await outcome(one.backplane.publish(each))).toBe('unavailable');
    await until(() => /replica/.test(one.backplane.trouble ?? ''), deadlineMs, 'it says that this is a replica');
    await promote(pair.old);
    await untilBack(one, 'plain');
    expect(one.roomsWithGap()).toEqual(['plain']);
    expect(one.backplane.trouble).toBeUndefined();
  });
});

test('with ACK=replicated nothing is acknowledged by a master that became a replica', async () => {
  const pair = await masterAndReplica();
  const one = await redisNode(pair.name.url, { replicated: true }).start();
  await one.untilUp(true);
  await one.backplane.publish(publication('a'));
  await promote(pair.next);
  await follow(pair.old, pair.next.port);
  for (const each of [publication('a'), keptPublication('kept')]) {
    expect(await outcome(one.backplane.publish(each))).not.toBe('taken');
  }
});

test('one connection is made anew and reaches another master: none stays with the old one', async () => {
  const pair = await masterAndReplica();
  const one = await started(pair.name.url, 'a');
  await promote(pair.next);
  // Both are masters now, and take everything.
  pair.name.target = pair.next.url;
  await redisClient(pair.old.url).call('CLIENT', 'KILL', 'TYPE', 'pubsub');
  await until(async () => (await connectionsOf(pair.next)) === 2, deadlineMs, 'both are with the new one');
  expect(await connectionsOf(pair.old)).toBe(0);
  await untilBack(one, 'a');
  expect(one.roomsWithGap()).toEqual(['a']);
});

test('what a node was told by a master that was a replica meanwhile is forgotten: no offset stands for two messages', async () => {
  const pair = await masterAndReplica();
  const way = await faultProxy(pair.old.url);
  await follow(pair.next, way.port);
  const one = await started(pair.old.url);
  const [{ position }] = await publishKept(one, 'a', 3);
  await untilHas(pair.next, 'a', 3);
  way.mode = 'blackhole';
  const lost = await publishKept(one, 'a', 2);
  expect(lost.at(-1)?.position).toEqual({ epoch: position?.epoch, offset: 5 });
  // There and back: the two messages are gone, in the same process.
  await promote(pair.next);
  await follow(pair.old, pair.next.port);
  await one.untilUp(false);
  await promote(pair.old);
  const after = await keptWhenBack(one, 'a');
  expect(after.position?.offset).toBe(4);
  expect(after.position?.epoch).not.toBe(position?.epoch);
  expect((await pageOf(one, 'a')).base).toBe(3);
});
