/**
 * Every name that Roomcast gives in Redis. All begin with the prefix.
 *
 * Keys belong to a database, channels to the whole server: so channels carry the database, but for database 0. The braces
 * are the hash tag of Redis Cluster: all keys of a room, and its channel, live in one slot.
 */
export class RedisNames {
  readonly #keys: string;
  readonly #channels: string;

  constructor(prefix: string, database: number) {
    this.#keys = `${prefix}:`;
    // No prefix holds an `@`.
    this.#channels = database === 0 ? this.#keys : `${prefix}:@${database}:`;
  }

  /** Begins every key of a room: `<this>:position` and so on. */
  room(room: string): string {
    return `${this.#keys}{${room}}`;
  }

  channel(room: string): string {
    return `${this.#channels}{${room}}`;
  }

  /** One key for all rooms: the line of writes (gateway/redis/history/room.lua). */
  get line(): string {
    return `${this.#keys}line`;
  }

  /** Begins the keys by which nodes try whether Redis takes writes. */
  get canary(): string {
    return `${this.#keys}canary`;
  }

  /** `run` is of this node alone: two nodes that were given one name must not take each other's canaries for their own. */
  canaryChannel(node: string, run: string): string {
    return `${this.#channels}canary:${node}:${run}`;
  }

  get nodes(): string {
    return `${this.#keys}nodes`;
  }

  leaseRooms(lease: string): string {
    return `${this.#keys}node:${lease}:rooms`;
  }
}
