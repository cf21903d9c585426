/**
 * The contracts of gateway/backplane over a Redis Cluster of three primaries with a replica each: the same suites as over one
 * Redis and in memory. Rooms of a test lie in all shards.
 */
import type { ClusterBackplane } from '../../gateway/redis/cluster/backplane.ts';
import type { EnvelopeVersion } from '../../gateway/redis/envelope.ts';
import { RedisCluster } from '../support/redis-cluster.ts';
import { backplaneSuite } from './backplane-suite.ts';
import { clusterBackplane, clusterPresenceNode, ownPrefix } from './cluster-node.ts';
import { historySuite } from './history-suite.ts';
import { presenceSuite } from './presence-suite.ts';

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
