/**
 * What load balancers see of nodes on a Redis Cluster that lacks a shard: all nodes lack it, so to take them out would cut new
 * clients off from the rooms that work.
 */
import { expect, test } from 'vitest';
import { slotOf } from '../../gateway/redis/cluster/slots.ts';
import { get, metric, readiness } from '../integration/admin.ts';
import { roomsFile } from '../integration/files.ts';
import { enter } from '../integration/people.ts';
import { startNode } from '../support/node.ts';
import { RedisCluster, roomIn } from '../support/redis-cluster.ts';
import { until } from '../support/until.ts';

const deadlineMs = 20_000;

/** Writes the newest message of a room once more, and publishes it to nobody. KEYS: the messages, the position. */
const writeUnheard = `
local _, newest = unpack(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1])
local frame, before = newest[2], tonumber(newest[4])
redis.call('XADD', KEYS[1], '2-0', 'f', frame, 'w', before + #frame)
redis.call('HSET', KEYS[2], 'offset', 2, 'written', before + 2 * #frame)`;

test('while one of three shards is away nodes stay ready and say which, and the other rooms work, also for new clients; without two they are not', async () => {
  const cluster = await RedisCluster.start({ replicas: 0 });
  const node = await startNode({
    REDIS_URL: cluster.url,
    ROOMS_FILE: roomsFile({ match: '*', subscribe: 'user', publish: 'user', history: {} }),
  });
  const isUp = () => metric(node, 'gateway_backplane_up');
  await until(async () => (await isUp()) === 1, deadlineMs, 'all shards are there');
  const victim = await cluster.ownerOf(slotOf('a'));
  const other = await cluster.anotherThan(victim);
  const [away, there] = [roomIn(await cluster.slotsOf(victim)), roomIn(await cluster.slotsOf(other))];

  await victim.kill();
  await until(async () => (await isUp()) === 0, deadlineMs, 'the node notices');
  expect(await readiness(node)).toBe(200);
  const said = await (await get(node, '/readyz')).text();
  expect(said).toMatch(
    new RegExp(`^ready, but shard 127.0.0.1:${victim.port} \\(slots \\d+-\\d+\\): Redis cannot be used`),
  );
  const ann = await enter(node, 'ann');
  await ann.subscribe(there);
  await ann.publish(there, 1);
  await ann.next('message');
  // What nobody was told of is still found by probes.
  await cluster.ask(other, 'EVAL', writeUnheard, 2, `rc:{${there}}:messages`, `rc:{${there}}:position`);
  await ann.next('message', deadlineMs);
  expect(await isUp()).toBe(0);
  expect(await ann.request({ type: 'publish', room: away, data: 1 })).toMatchObject({ code: 'unavailable' });

  await other.kill();
  await until(async () => (await readiness(node)) === 503, deadlineMs, 'the node is not ready');
  await Promise.all([victim.start(), other.start()]);
  await until(async () => (await isUp()) === 1, deadlineMs, 'all shards are there again');
  expect(await (await get(node, '/readyz')).text()).toBe('ready\n');
}, 60_000);
