/** Nodes on a Redis Cluster: their backplane, presence and control channel, as gateway/stores.ts makes them. */
import { randomBytes } from 'node:crypto';
import { eventTypes } from '../../gateway/backplane/outbox.ts';
import { ClusterBackplane } from '../../gateway/redis/cluster/backplane.ts';
import { ShardConnections } from '../../gateway/redis/cluster/connections.ts';
import { ClusterOutbox } from '../../gateway/redis/cluster/outbox.ts';
import { Shards } from '../../gateway/redis/cluster/shards.ts';
import { addressOf } from '../../gateway/redis/connection/address.ts';
import type { EnvelopeVersion } from '../../gateway/redis/envelope.ts';
import { RedisNames, sharedHome } from '../../gateway/redis/names.ts';
import { RedisPresence } from '../../gateway/redis/presence/presence.ts';
import { createLog, type Logger } from '../../gateway/telemetry/log.ts';
import type { RedisCluster } from '../support/redis-cluster.ts';
import { OutboxNode, type OutboxOptions, quiet } from './outbox-suite.ts';
import { announces, PresenceNode } from './presence-node.ts';
import { Recorder } from './recorder.ts';

interface Options {
  prefix?: string;
  node?: string;
  dedupeMs?: number;
  replicated?: boolean;
  envelopeVersion?: EnvelopeVersion;
  log?: Logger;
}

export const ownPrefix = (): string => `rct:${randomBytes(6).toString('hex')}`;

export function shardsOf({ url }: Pick<RedisCluster, 'url'>, log: Logger = createLog('silent')): Shards {
  const address = addressOf(url);
  if (address.kind !== 'cluster') throw new Error('the URL names a cluster');
  return new Shards(address, log);
}

export function clusterBackplane(cluster: Pick<RedisCluster, 'url'>, options: Options = {}): ClusterBackplane {
  const { prefix = ownPrefix(), node = 'node', dedupeMs = 60_000, replicated = false, envelopeVersion, log } = options;
  const shards = shardsOf(cluster, log);
  const version = envelopeVersion === undefined ? {} : { envelopeVersion };
  return new ClusterBackplane({ shards, prefix, node, dedupeMs, replicated, ...version }, log ?? createLog('silent'));
}

export function clusterPresenceNode(cluster: RedisCluster, options: Options = {}): PresenceNode {
  const { prefix = ownPrefix(), envelopeVersion, log = createLog('silent') } = options;
  const instance = `node.${randomBytes(3).toString('hex')}`;
  const shards = shardsOf(cluster, log);
  const connections = new ShardConnections(shards);
  const names = new RedisNames(prefix, 0, sharedHome);
  const version = envelopeVersion === undefined ? {} : { envelopeVersion };
  const store = new RedisPresence({ connections, names, instance, announces, ...version }, log);
  return new PresenceNode(store, instance, new Recorder(clusterBackplane(cluster, { ...options, prefix })));
}

/** With an outbox for webhooks; nobody is told by `join` and `leave`. */
export function clusterOutboxNode(
  cluster: Pick<RedisCluster, 'url'>,
  { prefix = ownPrefix(), types = eventTypes, most = 1_000 }: OutboxOptions = {},
): OutboxNode {
  const log = createLog('silent');
  const instance = `node.${randomBytes(3).toString('hex')}`;
  const shards = shardsOf(cluster);
  const outbox = new ClusterOutbox({ shards, prefix, instance, types, most }, log);
  const connections = new ShardConnections(shards);
  const names = new RedisNames(prefix, 0, sharedHome);
  const { telling } = outbox;
  const tells = (room: string) => room !== quiet;
  const store = new RedisPresence({ connections, names, instance, announces: () => false, tells, telling }, log);
  return new OutboxNode(instance, outbox, store.occupancy, store);
}
