/**
 * The contracts of gateway/backplane over a Redis Cluster of three primaries with a replica each: the same suites as over one
 * Redis and in memory. Rooms of a test lie in all shards.
 */
import { expect, inject, test } from 'vitest';
import type { ClusterBackplane } from '../../gateway/redis/cluster/backplane.ts';
import { slotOf, tagOf } from '../../gateway/redis/cluster/slots.ts';
import type { EnvelopeVersion } from '../../gateway/redis/envelope.ts';
import { RedisCluster } from '../support/redis-cluster.ts';
import { backplaneSuite } from './backplane-suite.ts';
import { clusterBackplane, clusterPresenceNode, ownPrefix } from './cluster-node.ts';
import { clusterNode } from './control-node.ts';
import { controlSuite } from './control-suite.ts';
import { historySuite } from './history-suite.ts';
import { presenceSuite } from './presence-suite.ts';
import { Recorder } from './recorder.ts';
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
