/**
 * A replica that lacks the last messages becomes the master: whoever asks it first, and however the node came to it, a
 * room begins a new epoch. An offset that was told is never given to another message, and what the replica had is kept.
 */
import { expect, test } from 'vitest';
import type { Position } from '../../shared/protocol.ts';
import { faultProxy } from '../support/fault-proxy.ts';
import { ownRedisOnDisk } from '../support/own-redis.ts';
import type { OwnRedis } from '../support/redis-process.ts';
import { until } from '../support/until.ts';
import { keptWhenBack, pageOf, publishKept } from './kept-room.ts';
import { channelOf, deadlineMs, prefix, redisClient, redisNode, started } from './redis-node.ts';

/** A replica is served as soon as it asks. */
const promptly = ['--repl-diskless-sync-delay', '0'];

interface Lagging {
  replica: OwnRedis;
  /** The last position that was told by the master, and is not known to the replica. */
  told: Position;
  killMaster(): Promise<void>;
}

/** A master that has 7 messages of each room, and its replica, cut off, that has 3. Both keep an append-only file. */
async function laggingReplica(...rooms: string[]): Promise<Lagging> {
  const [master, replica] = [await ownRedisOnDisk(...promptly), await ownRedisOnDisk()];
  const proxy = await faultProxy(master.url);
  const follower = redisClient(replica.url);
  await follower.replicaof('127.0.0.1', `${proxy.port}`);
  const one = await started(master.url);
  for (const room of rooms) await publishKept(one, room, 3);
  const offsets = () => Promise.all(rooms.map((room) => follower.hget(`${channelOf(room)}:position`, 'offset')));
  await until(async () => (await offsets()).every((offset) => offset === '3'), deadlineMs, 'the replica has 3');
  const isWritten = async () => /aof_rewrite_in_progress:0/.test(await follower.info('persistence'));
  await until(isWritten, deadlineMs, 'the file of the replica holds what it was given');
  proxy.mode = 'blackhole';
  let told: Position | undefined;
  for (const room of rooms) told = (await publishKept(one, room, 4)).at(-1)?.position;
  expect(told?.offset).toBe(7);
  expect(await offsets()).toEqual(rooms.map(() => '3'));
  const killMaster = async () => {
    await master.kill();
    await proxy.close();
  };
  return { replica, told: told ?? { epoch: '', offset: 0 }, killMaster };
}

async function promote({ url }: OwnRedis): Promise<void> {
  await redisClient(url).replicaof('NO', 'ONE');
}

test('a node that comes to it afterwards, and knows nothing, begins a new epoch behind what is left, by reading as by publishing', async () => {
  const { replica, told, killMaster } = await laggingReplica('read', 'published');
  await killMaster();
  await promote(replica);
  const one = await started(replica.url);
  const page = await pageOf(one, 'read');
  expect(page).toMatchObject({ top: 3, base: 3, first: 1, messages: { length: 3 } });
  const [next] = await publishKept(one, 'published', 1);
  expect(next.position?.offset).toBe(4);
  expect([told.epoch, page.epoch]).not.toContain(next.position?.epoch);
  // It happens once, not with every message or node.
  const other = await started(replica.url);
  expect((await publishKept(other, 'published', 1))[0].position).toEqual({ ...next.position, offset: 5 });
  expect((await pageOf(other, 'read')).epoch).toBe(page.epoch);
});

test('a node that was connected to it before it was promoted begins a new epoch too', async () => {
  const { replica, told, killMaster } = await laggingReplica('a');
  await killMaster();
  const one = await redisNode(replica.url).start();
  // A replica is none to serve with: what is published there reaches only those who are subscribed there.
  expect(one.backplane.up).toBe(false);
  await promote(replica);
  const { position } = await keptWhenBack(one, 'a');
  expect(position?.offset).toBe(4);
  expect(position?.epoch).not.toBe(told.epoch);
});

test('so does a room that nobody used before the promoted one was restarted', async () => {
  const { replica, told, killMaster } = await laggingReplica('used', 'a');
  await killMaster();
  await promote(replica);
  const one = await started(replica.url);
  await publishKept(one, 'used', 1);
  await replica.kill();
  await replica.start();
  const { position } = await keptWhenBack(one, 'a');
  expect(position?.offset).toBe(4);
  expect(position?.epoch).not.toBe(told.epoch);
  // What was published on the promoted one itself is all there.
  expect((await keptWhenBack(one, 'used')).position?.offset).toBe(5);
});

test('a line that a version without promotions has left for a promoted Redis is taken up: rooms go on', async () => {
  const { replica, killMaster } = await laggingReplica('a');
  await killMaster();
  await promote(replica);
  const one = await started(replica.url);
  const { position } = await keptWhenBack(one, 'a');
  // As it stands after nodes of that version alone.
  await redisClient(replica.url).hdel(`${prefix}:line`, 'promotion');
  const other = await started(replica.url);
  expect((await keptWhenBack(other, 'a')).position).toEqual({ epoch: position?.epoch, offset: 5 });
  expect((await keptWhenBack(one, 'a')).position).toEqual({ epoch: position?.epoch, offset: 6 });
});

test('the file of the master that was killed has everything: started again, it goes on', async () => {
  const [master, replica] = [await ownRedisOnDisk(...promptly), await ownRedisOnDisk()];
  const follower = redisClient(replica.url);
  await follower.replicaof('127.0.0.1', `${master.port}`);
  const one = await started(master.url);
  const [{ position }] = await publishKept(one, 'a', 3);
  await master.kill();
  await master.start();
  const next = await keptWhenBack(one, 'a');
  expect(next.position).toEqual({ epoch: position?.epoch, offset: 4 });
});

test('with ACK=replicated what was acknowledged is there after a failover, though in a new epoch', async () => {
  const [master, replica] = [await ownRedisOnDisk(...promptly), await ownRedisOnDisk()];
  const follower = redisClient(replica.url);
  await follower.replicaof('127.0.0.1', `${master.port}`);
  const isLinked = async () => /master_link_status:up/.test(await follower.info('replication'));
  await until(isLinked, deadlineMs, 'the replica follows');
  const one = await redisNode(master.url, { replicated: true }).start();
  await one.untilUp(true);
  const acknowledged = await publishKept(one, 'a', 20);
  await master.kill();
  await promote(replica);
  const other = await started(replica.url);
  const page = await pageOf(other, 'a');
  expect(page.messages.map(({ offset }) => offset)).toEqual(acknowledged.map(({ position }) => position?.offset));
  expect(page.epoch).not.toBe(acknowledged[0].position?.epoch);
});
