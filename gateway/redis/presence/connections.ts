/**
 * The connections that presence writes on: one, or in a cluster one for each shard (gateway/redis/cluster/connections.ts).
 *
 * What concerns a room goes to the server that has the room. What concerns all nodes, their leases, is in one place.
 */
import type { RedisConnection, RedisConnectionOptions } from '../connection/connection.ts';
import type { RedisConnections } from '../connection/connections.ts';

/** What is done on each connection. */
export type PresenceConnectionOptions = Omit<RedisConnectionOptions, 'onReady' | 'onLost' | 'onSecond'>;

export interface PresenceEvents {
  ready(connection: RedisConnection): void;
  /** `isShared`: the one of the leases. */
  lost(connection: RedisConnection, isShared: boolean): void;
  /** Once a second while the one of the leases is ready. */
  second(): void;
  /** It has no rooms any more, and is closed. */
  removed(connection: RedisConnection): void;
}

export interface PresenceConnections {
  /** Of a room. Undefined: no server has it. */
  of(room: string): RedisConnection | undefined;
  /** Of the leases. */
  readonly shared: RedisConnection | undefined;
  /** True if the leases and the rooms are written in one place: what is lost of one is lost of the other, too. */
  readonly isOne: boolean;
  open(options: PresenceConnectionOptions, events: PresenceEvents): void;
  connect(): void;
  close(): void;
}

/** Connects to one Redis. */
export class OnePresenceConnection implements PresenceConnections {
  readonly isOne = true;
  readonly #redis: RedisConnections;
  #connection: RedisConnection | undefined;

  constructor(redis: RedisConnections) {
    this.#redis = redis;
  }

  get shared(): RedisConnection | undefined {
    return this.#connection;
  }

  of(): RedisConnection | undefined {
    return this.#connection;
  }

  open(options: PresenceConnectionOptions, events: PresenceEvents): void {
    const connection: RedisConnection = this.#redis.add({
      ...options,
      onReady: () => events.ready(connection),
      onSecond: () => events.second(),
      onLost: () => events.lost(connection, true),
    });
    this.#connection = connection;
  }

  connect(): void {
    this.#connection?.connect();
  }

  close(): void {
    this.#connection?.close();
  }
}
