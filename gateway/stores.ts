/**
 * What a node shares with all others: the backplane, who is there, the control channel, events for the webhook. In Redis, or
 * in memory for a node that is alone. Here is decided which; what each does is in gateway/backplane.
 */
import type { Backplane } from './backplane/backplane.ts';
import type { ControlChannel } from './backplane/control.ts';
import { MemoryBackplane } from './backplane/memory/backplane.ts';
import { MemoryControl } from './backplane/memory/control.ts';
import { MemoryOccupancy } from './backplane/memory/occupancy.ts';
import { MemoryOutbox } from './backplane/memory/outbox.ts';
import { MemoryPresence } from './backplane/memory/presence.ts';
import type { OccupancyStore } from './backplane/occupancy.ts';
import { maxKeptEvents, type Outbox } from './backplane/outbox.ts';
import type { PresenceStore } from './backplane/presence.ts';
import type { Config } from './config.ts';
import { RedisBackplane } from './redis/backplane.ts';
import { ClusterBackplane } from './redis/cluster/backplane.ts';
import { ShardConnections } from './redis/cluster/connections.ts';
import { ClusterOutbox } from './redis/cluster/outbox.ts';
import { Shards } from './redis/cluster/shards.ts';
import type { RedisAddress } from './redis/connection/address.ts';
import { RedisConnections } from './redis/connection/connections.ts';
import { RedisControl } from './redis/control/control.ts';
import { RedisNames, sharedHome } from './redis/names.ts';
import { RedisOutbox } from './redis/outbox/outbox.ts';
import { OnePresenceConnection } from './redis/presence/connections.ts';
import { RedisPresence } from './redis/presence/presence.ts';
import type { Access } from './rooms/access.ts';
import type { Logger } from './telemetry/log.ts';

export interface Shared {
  backplane: Backplane;
  store: PresenceStore;
  control: ControlChannel;
  /** Undefined without a webhook. */
  occupancy: OccupancyStore | undefined;
  outbox: Outbox | undefined;
}

/** To one master, or to the shards of a cluster. Nothing is connected yet. */
export function redisAt(address: RedisAddress, log: Logger): RedisConnections | Shards {
  return address.kind === 'cluster' ? new Shards(address, log) : new RedisConnections(address, log);
}

/** Nothing is connected yet. `redis`: undefined for memory. */
export function createShared(
  { ack, dedupeMs, nodeId: node, redisPrefix: prefix, webhookEvents: types, webhookUrl }: Config,
  redis: RedisConnections | Shards | undefined,
  instance: string,
  access: Access,
  log: Logger,
): Shared {
  const announces = (room: string) => access.rule(room).joinLeave;
  const tells = (room: string) => access.rule(room).presence;
  const most = maxKeptEvents;
  if (redis === undefined) {
    const outbox = webhookUrl === undefined ? undefined : new MemoryOutbox({ types, instance, most });
    const occupancy = outbox && new MemoryOccupancy(outbox);
    const store = new MemoryPresence({ announces, tells, outbox });
    return {
      backplane: new MemoryBackplane(dedupeMs),
      store,
      control: new MemoryControl(instance, node),
      occupancy,
      outbox,
    };
  }
  const options = { prefix, node, dedupeMs, replicated: ack === 'replicated' };
  if (redis instanceof Shards) {
    const names = new RedisNames(prefix, redis.database, sharedHome);
    const backplane = new ClusterBackplane({ ...options, shards: redis }, log);
    const outbox =
      webhookUrl === undefined ? undefined : new ClusterOutbox({ shards: redis, prefix, instance, types, most }, log);
    const connections = new ShardConnections(redis);
    const telling = outbox?.telling;
    const store = new RedisPresence({ connections, names, instance, announces, tells, telling }, log);
    const { link } = backplane;
    const control = new RedisControl({ names, instance, link, liveInstances: () => store.liveInstances() }, log);
    return { backplane, store, control, occupancy: outbox && store.occupancy, outbox };
  }
  const names = new RedisNames(prefix, redis.database);
  const backplane = new RedisBackplane({ ...options, redis }, log);
  const outbox = webhookUrl === undefined ? undefined : new RedisOutbox({ redis, prefix, instance, types, most }, log);
  const connections = new OnePresenceConnection(redis);
  const telling = outbox?.telling;
  const store = new RedisPresence({ connections, names, instance, announces, tells, telling }, log);
  const { link } = backplane;
  const control = new RedisControl({ names, instance, link, liveInstances: () => store.liveInstances() }, log);
  return { backplane, store, control, occupancy: outbox && store.occupancy, outbox };
}
