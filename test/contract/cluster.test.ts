/**
 * The contracts of gateway/backplane over a Redis Cluster of three primaries with a replica each: the same suites as over one
 * Redis and in memory. Rooms of a test lie in all shards.
 */
import { Redis } from 'ioredis';
import { expect, inject, test } from 'vitest';
import type { ClusterBackplane } from '../../gateway/redis/cluster/backplane.ts';
import { slotOf, tagOf } from '../../gateway/redis/cluster/slots.ts';
import type { EnvelopeVersion } from '../../gateway/redis/envelope.ts';
import { RedisNames, sharedHome } from '../../gateway/redis/names.ts';
import { onCleanup } from '../support/cleanup.ts';
import { type ClusterServer, RedisCluster } from '../support/redis-cluster.ts';
import { until } from '../support/until.ts';
import { backplaneSuite } from './backplane-suite.ts';
import { clusterBackplane, clusterOutboxNode, clusterPresenceNode, ownPrefix } from './cluster-node.ts';
import { clusterNode } from './control-node.ts';
import { controlSuite } from './control-suite.ts';
import { historySuite } from './history-suite.ts';
import { outboxSuite } from './outbox-suite.ts';
import { presenceSuite } from './presence-suite.ts';
import { keptPublication, outcome, publication, Recorder } from './recorder.ts';
import { redisNode } from './redis-node.ts';

const cluster = await RedisCluster.start();
const versions: EnvelopeVersion[] = [1, 2];

for (const suite of [backplaneSuite, historySuite]) {
  suite('over Redis Cluster, two nodes that write different envelopes', (dedupeMs): ClusterBackplane[] => {
    const prefix = ownPrefix();
    return versions.map((envelopeVersion) =>
      clusterBackplane(cluster, { prefix, dedupeMs, envelopeVersion, node: `node-${envelopeVersion}` }),
    );
  });
}

presenceSuite('presence over Redis Cluster, two nodes', () => {
  const prefix = ownPrefix();
  return versions.map((envelopeVersion) => clusterPresenceNode(cluster, { prefix, envelopeVersion }));
});

controlSuite('the control channel over Redis Cluster, three nodes', () => {
  const prefix = ownPrefix();
  return [1, 2, 3].map(() => clusterNode(cluster, prefix));
});

outboxSuite('the outbox over Redis Cluster, two nodes', (options) => {
  const prefix = ownPrefix();
  return [1, 2].map(() => clusterOutboxNode(cluster, { prefix, ...options }));
});

test('while a slot moves, nothing of who is in its rooms is changed half-way: users are counted, and told as gone, after the move', async () => {
  const prefix = ownPrefix();
  const node = await clusterOutboxNode(cluster, { prefix }).start();
  onCleanup(() => node.close());
  const slot = slotOf('counted');
  const owner = await cluster.ownerOf(slot);
  const target = await cluster.anotherThan(owner);
  onCleanup(() => cluster.moveSlot(slot, owner));
  const ann = node.present('ann');
  await node.store.change('counted', [ann], []);
  // As a write leaves it that was refused in its middle: users are to be counted again, which begins with deleting their key.
  await cluster.ask(owner, 'SET', `${prefix}:{counted}:counted`, 'again');
  await cluster.moveSlot(slot, target, async () => {
    expect(await outcome(node.store.sync('counted', () => [ann]))).toBe('unavailable');
  });
  const isWritten = async () => (await outcome(node.store.change('counted', [], [ann]))) === 'taken';
  await until(isWritten, 10_000, 'the slot is there');
  const types = async () => (await node.outbox.take(100, [])).events.map(({ text }) => JSON.parse(`{${text}}`).type);
  await until(async () => (await types()).length > 1, 5_000, 'the end is told').catch(() => undefined);
  expect(await types()).toEqual(['member.joined', 'member.left']);
});

test('keys of another type are deleted, whatever shard they lie in; a room that is called like what nodes share disturbs nothing', async () => {
  const prefix = ownPrefix();
  const node = await clusterOutboxNode(cluster, { prefix }).start();
  onCleanup(() => node.close());
  const leases = () =>
    cluster.ownerOf(slotOf(sharedHome)).then((at) => cluster.ask(at, 'TYPE', `${prefix}:{${sharedHome}}:leases`));
  for (const room of [sharedHome, 'a', 'b', 'c']) {
    const owner = await cluster.ownerOf(slotOf(room));
    const key = (name: string) => `${prefix}:{${room}}:${name}`;
    const ann = node.present('ann');
    await node.store.change(room, [ann], []);
    await node.occupancy.occupy(room);
    for (const name of ['members', 'users', 'counted', 'nodes']) {
      await cluster.ask(owner, 'SET', key(name), 'text');
      const write = () => (name === 'nodes' ? node.occupancy.occupy(room) : node.store.sync(room, () => [ann]));
      await until(async () => (await outcome(write())) === 'taken', 5_000, `${key(name)} is deleted`);
    }
    expect(await node.store.page(room, { after: undefined, limit: 10, maxBytes: 10_000 })).toMatchObject({
      count: 1,
      users: 1,
    });
    expect(await cluster.ask(owner, 'TYPE', key('nodes'))).toBe('set');
  }
  expect(await leases()).toBe('hash');
});

/** In front of what is published at this server. */
async function markOf(server: ClusterServer): Promise<string> {
  const info = await cluster.ask(server, 'INFO', 'server');
  return `@${/run_id:(\w{8})/.exec(info)?.[1]}`;
}

test('what another server of the shard passes on is not delivered: it may be old. A gap stands for it', async () => {
  const room = 'passed-on';
  const prefix = ownPrefix();
  const node = await new Recorder(clusterBackplane(cluster, { prefix })).start();
  await node.untilUp(true);
  await node.backplane.subscribe(room);
  const owner = await cluster.ownerOf(slotOf(room));
  const replica = await cluster.replicaOf(owner);
  const channel = new RedisNames(prefix, 0).channel(room);
  const envelope = async (server: ClusterServer, data: number) =>
    `${await markOf(server)}1m${Date.now()}\n{"room":"${room}","data":${data}}`;
  await cluster.ask(owner, 'SPUBLISH', channel, await envelope(owner, 1));
  // It takes it, though it is a replica.
  await cluster.ask(replica, 'SPUBLISH', channel, await envelope(replica, 2));
  await until(() => node.roomsWithGap().includes(room), 5_000, 'a gap is told');
  await cluster.ask(owner, 'SPUBLISH', channel, await envelope(owner, 3));
  await node.untilFrames(room, 2);
  expect(node.story(room)).toEqual(['{"room":"passed-on","data":1}', 'interrupted', '{"room":"passed-on","data":3}']);
});

test('messages of plain rooms, and who comes and goes, say at which server they were published', async () => {
  const room = 'marked';
  const prefix = ownPrefix();
  const node = await clusterPresenceNode(cluster, { prefix }).start();
  const publisher = await new Recorder(clusterBackplane(cluster, { prefix })).start();
  await publisher.untilUp(true);
  const owner = await cluster.ownerOf(slotOf(room));
  const listener = new Redis(owner.url, { protocol: 2 });
  onCleanup(() => listener.disconnect());
  const heard: string[] = [];
  listener.on('smessage', (_, message: string) => heard.push(message));
  await listener.ssubscribe(new RedisNames(prefix, 0).channel(room));
  const ann = node.present('ann');
  await node.store.change(room, [ann], []);
  await node.store.change(room, [], [ann]);
  await publisher.backplane.publish(publication(room));
  await until(() => heard.length === 3, 5_000, 'all three are heard');
  const kinds = heard.map((message) => message.slice(0, 11));
  const mark = await markOf(owner);
  expect(kinds).toEqual(['p', 'p', 'm'].map((kind) => `${mark}1${kind}`));
});

test('Redis has the same slots for rooms and for the tags of slots', async () => {
  const [server] = cluster.servers;
  if (server === undefined) throw new Error('there is a server');
  for (const name of ['a', 'chat:1', '@ann', '#$~=+%|,!', 'x'.repeat(200), ...[0, 1, 8_191, 16_383].map(tagOf)]) {
    expect(Number(await cluster.ask(server, 'CLUSTER', 'KEYSLOT', `rc:{${name}}:position`)), name).toBe(slotOf(name));
  }
});

test('a URL of the other kind is a mistake at the start, which says the right one', async () => {
  const one = redisNode(`redis://127.0.0.1:${cluster.servers[0]?.port}`);
  await expect(one.start()).rejects.toThrow('GATEWAY_REDIS_URL has to name it as a cluster: redis+cluster://');
  const other = new Recorder(clusterBackplane({ url: inject('redisUrl').replace('redis:', 'redis+cluster:') }));
  await expect(other.start()).rejects.toThrow('GATEWAY_REDIS_URL has to name it as one Redis, redis://');
});

test('three shards share the work of 10,000 rooms, and a message costs them as many commands as it costs one Redis', async () => {
  const node = await new Recorder(clusterBackplane(cluster, { prefix: ownPrefix() })).start();
  await node.untilUp(true);
  const rooms = Array.from({ length: 10_000 }, (_, index) => `r${index}`);
  await Promise.all(rooms.map((room) => node.backplane.subscribe(room)));
  const primaries = await Promise.all([0, 6_000, 12_000].map((slot) => cluster.ownerOf(slot)));
  const calls = async (name: string) =>
    Promise.all(
      primaries.map(async (server) =>
        Number(
          new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(await cluster.ask(server, 'INFO', 'commandstats'))?.[1] ?? 0,
        ),
      ),
    );
  const during = async (name: string, work: () => Promise<unknown>) => {
    const before = await calls(name);
    await work();
    return (await calls(name)).map((count, index) => count - (before[index] ?? 0));
  };
  const total = (counts: number[]) => counts.reduce((sum, count) => sum + count, 0);
  const even = (counts: number[]) => {
    const mean = total(counts) / counts.length;
    for (const count of counts) expect(Math.abs(count - mean) / mean, String(counts)).toBeLessThan(0.15);
  };

  const seen: number[] = [];
  const isStill = async () => {
    seen.push(total(await calls('evalsha')));
    return seen.length > 20 && seen.at(-20) === seen.at(-1);
  };
  await until(isStill, 10_000, 'the lines of all slots are settled');

  const plain = await during('spublish', () =>
    Promise.all(rooms.map((room) => node.backplane.publish(publication(room)))),
  );
  even(plain);
  // And canaries.
  expect(total(plain)).toBeLessThan(10_100);
  const kept = () => Promise.all(rooms.map((room) => node.backplane.publish(keptPublication(room))));
  const scripts = await during('evalsha', kept);
  // All in one turn: batches of 32, as with one Redis.
  expect(total(scripts)).toBeLessThan(10_000 / 32 + 50);
  even(await during('xadd', kept));
}, 60_000);
