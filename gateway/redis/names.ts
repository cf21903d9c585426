/**
 * Every name of a key or channel in Redis. All begin with the prefix.
 *
 * A key belongs to a database, a channel to the whole server: channels have the number of the database in their name, unless
 * it is 0. Braces are the hash tag of Redis Cluster: all keys of a room, and its channel, lie in one slot. What belongs to no
 * room has no braces with one Redis. In a cluster it lies in a slot of its own, its home.
 */
import { slotOf, tagOf } from './cluster/slots.ts';

/** In a cluster, the home of what all nodes share: commands, blocks, leases. */
export const sharedHome = 'control';

export class RedisNames {
  readonly #prefix: string;
  readonly #database: number;
  readonly #keys: string;
  readonly #channels: string;
  /** In a cluster `{home}:`, else ''. */
  readonly #tag: string;
  readonly #home: string | undefined;
  /** Undefined in a cluster. */
  readonly #line: string | undefined;

  /** `home`: only in a cluster. */
  constructor(prefix: string, database: number, home?: string) {
    this.#prefix = prefix;
    this.#database = database;
    this.#keys = `${prefix}:`;
    // A prefix holds no `@` (gateway/settings.ts): no other deployment has these channels.
    this.#channels = database === 0 ? this.#keys : `${prefix}:@${database}:`;
    this.#tag = home === undefined ? '' : `{${home}}:`;
    this.#home = home;
    this.#line = home === undefined ? `${prefix}:line` : undefined;
  }

  /** The same deployment, with another home. */
  at(home: string): RedisNames {
    return new RedisNames(this.#prefix, this.#database, home);
  }

  /** Prefix of every key of a room: `<this>:position`, for one. */
  room(room: string): string {
    return `${this.#keys}{${room}}`;
  }

  channel(room: string): string {
    return `${this.#channels}{${room}}`;
  }

  /** The line of writes that the room belongs to (gateway/redis/history/room.lua): one for all; in a cluster, that of its slot. */
  line(room: string): string {
    return this.#line ?? this.lineOf(slotOf(room));
  }

  /** In a cluster. */
  lineOf(slot: number): string {
    return `${this.#keys}{${tagOf(slot)}}:line`;
  }

  /** The line of what lies at home: of write probes. */
  get homeLine(): string {
    return this.line(this.#home ?? '');
  }

  /** Prefix of the keys of write probes (gateway/redis/canary.ts). */
  get canary(): string {
    return `${this.#keys}${this.#tag}canary`;
  }

  /** `run`: random for each process. Two nodes with the same name do not take each other's canaries for their own. */
  canaryChannel(node: string, run: string): string {
    return `${this.#channels}${this.#tag}canary:${node}:${run}`;
  }

  /** Commands to all nodes (gateway/redis/control/control.ts). */
  get commands(): string {
    return `${this.#channels}${this.#tag}control`;
  }

  /** Commands to one run of a node. */
  commandsTo(instance: string): string {
    return `${this.#channels}${this.#tag}commands:${instance}`;
  }

  /** Answers to the questions of one run of a node. */
  answers(instance: string): string {
    return `${this.#channels}${this.#tag}control:${instance}`;
  }

  get blocks(): string {
    return `${this.#keys}${this.#tag}blocks`;
  }

  /** Events for the operator's backend (gateway/redis/outbox/outbox.ts). */
  get outbox(): string {
    return `${this.#keys}${this.#tag}outbox`;
  }

  /** In a cluster: what is told of the rooms of a slot (gateway/redis/cluster/outbox.ts). */
  outboxOf(slot: number): string {
    return `${this.#keys}{${tagOf(slot)}}:outbox`;
  }

  get outboxSender(): string {
    return `${this.#keys}${this.#tag}outbox:sender`;
  }

  /** In a cluster a room may be called like the home, and has a key `…:nodes` then (gateway/redis/presence/occupancy.ts). */
  get nodes(): string {
    return `${this.#keys}${this.#tag}${this.#home === undefined ? 'nodes' : 'leases'}`;
  }

  leaseRooms(lease: string): string {
    return `${this.#keys}${this.#tag}node:${lease}:rooms`;
  }
}
