/**
 * Every name of a key or channel in Redis. All begin with the prefix.
 *
 * A key belongs to a database, a channel to the whole server: channels have the number of the database in their name, unless
 * it is 0. Braces are the hash tag of Redis Cluster: all keys of a room, and its channel, lie in one slot.
 */
export class RedisNames {
  readonly #keys: string;
  readonly #channels: string;

  constructor(prefix: string, database: number) {
    this.#keys = `${prefix}:`;
    // A prefix holds no `@` (gateway/settings.ts): no other deployment has these channels.
    this.#channels = database === 0 ? this.#keys : `${prefix}:@${database}:`;
  }

  /** Prefix of every key of a room: `<this>:position`, for one. */
  room(room: string): string {
    return `${this.#keys}{${room}}`;
  }

  channel(room: string): string {
    return `${this.#channels}{${room}}`;
  }

  /** The line of writes, one key for all rooms (gateway/redis/history/room.lua). */
  get line(): string {
    return `${this.#keys}line`;
  }

  /** Prefix of the keys of write probes (gateway/redis/canary.ts). */
  get canary(): string {
    return `${this.#keys}canary`;
  }

  /** `run`: random for each process. Two nodes with the same name do not take each other's canaries for their own. */
  canaryChannel(node: string, run: string): string {
    return `${this.#channels}canary:${node}:${run}`;
  }

  /** Commands to all nodes (gateway/redis/control/control.ts). */
  get commands(): string {
    return `${this.#channels}control`;
  }

  /** Answers to the questions of one run of a node. */
  answers(instance: string): string {
    return `${this.#channels}control:${instance}`;
  }

  get blocks(): string {
    return `${this.#keys}blocks`;
  }

  get nodes(): string {
    return `${this.#keys}nodes`;
  }

  leaseRooms(lease: string): string {
    return `${this.#keys}node:${lease}:rooms`;
  }
}
