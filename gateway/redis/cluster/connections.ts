/**
 * A connection to each shard, for presence, and another set for webhooks. What concerns a room is written where its slot is. What
 * concerns all nodes, their leases and who sends webhooks, lies in one slot of its own (docs/decisions/020-redis-cluster.md).
 */
import type { RedisConnection } from '../connection/connection.ts';
import { sharedHome } from '../names.ts';
import type { PresenceConnectionOptions, PresenceConnections, PresenceEvents } from '../presence/connections.ts';
import type { Shard, Shards, ShardUser } from './shards.ts';
import { slotOf } from './slots.ts';

export class ShardConnections implements PresenceConnections, ShardUser {
  readonly isOne = false;
  readonly #shards: Shards;
  readonly #connections = new Map<Shard, RedisConnection>();
  #opened: { options: PresenceConnectionOptions; events: PresenceEvents } | undefined;
  #connects = false;

  constructor(shards: Shards) {
    this.#shards = shards;
    shards.use(this);
  }

  get shared(): RedisConnection | undefined {
    return this.of(sharedHome);
  }

  of(room: string): RedisConnection | undefined {
    return this.ofSlot(slotOf(room));
  }

  /** As of now: when slots move there is nothing to be done. A write that failed meanwhile is followed by a sync of its room. */
  ofSlot(slot: number): RedisConnection | undefined {
    const shard = this.#shards.of(slot);
    return shard && this.#connections.get(shard);
  }

  /** The slots of each shard. */
  get slots(): number[][] {
    return [...this.#connections.keys()].map((shard) => this.#shards.slotsOf(shard));
  }

  open(options: PresenceConnectionOptions, events: PresenceEvents): void {
    this.#opened = { options, events };
  }

  connect(): void {
    this.#connects = true;
    this.#shards.start();
    for (const connection of this.#connections.values()) connection.connect();
  }

  close(): void {
    this.#connects = false;
    for (const connection of this.#connections.values()) connection.close();
    this.#connections.clear();
    this.#shards.close();
  }

  shardAdded(shard: Shard): void {
    if (this.#opened === undefined) return;
    const { options, events } = this.#opened;
    const connection: RedisConnection = shard.redis.add({
      ...options,
      onReady: () => events.ready(connection),
      onSecond: () => {
        if (connection === this.shared) events.second();
      },
      onLost: () => {
        events.lost(connection, connection === this.shared);
        this.#shards.refresh();
      },
    });
    this.#connections.set(shard, connection);
    if (this.#connects) connection.connect();
  }

  shardRemoved(shard: Shard): void {
    const connection = this.#connections.get(shard);
    if (connection === undefined) return;
    this.#connections.delete(shard);
    connection.close();
    this.#opened?.events.removed(connection);
  }
}
