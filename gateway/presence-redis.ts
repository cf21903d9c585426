/**
 * The Redis presence store. Keeps the contract of gateway/presence-store.ts.
 *
 * Under the channel's name `rc:{room}` lie two keys: `:members`, a sorted set in which all connections of one node are one
 * range, and `:users`, connections by user. `rc:nodes` holds the beats of all leases (gateway/lease.ts), and
 * `rc:node:<lease>:rooms` the rooms in which that lease may have members: a room is in it before its first member is. When
 * a lease is dead, every other node reaps it; they take rooms at random, and so share the work. It has a connection of its
 * own, so that reaping a large room holds up no message.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { BackplaneError } from './backplane.ts';
import { Lease, ownerOf } from './lease.ts';
import type { Logger } from './log.ts';
import {
  batchOf,
  maxBatchBytes,
  type PresenceListener,
  type PresencePage,
  type PresenceQuery,
  type PresenceStore,
  type Present,
  writeIntervalMs,
} from './presence-store.ts';
import { type RedisConnection, readScript } from './redis-connection.ts';
import type { RedisConnections } from './redis-connections.ts';
import { RedisNames } from './redis-names.ts';

const changeScript = readScript('presence-change.lua');
const pageScript = readScript('presence-page.lua');

const startTimeoutMs = 3_000;
const roomsPerReaping = 100;
/** Members that one run of the script looks at. */
const maxLookedAt = 1_000;
/** What a member takes in an answer beside what is stored of it. */
const memberOverheadBytes = 40;

export interface RedisPresenceOptions {
  redis: RedisConnections;
  /** Begins every key and channel. */
  prefix: string;
  /** This run of this node; begins the id of each of its connections, before a `-`. */
  instance: string;
  /** Join and leave are told in this room. */
  tells(room: string): boolean;
}

/** A range of members as ZRANGEBYLEX takes it; only those of this life, or all. */
interface Range {
  from: string;
  to: string;
  life?: string;
}

export class RedisPresence implements PresenceStore {
  readonly #options: RedisPresenceOptions;
  readonly #log: Logger;
  readonly #connection: RedisConnection;
  readonly #names: RedisNames;
  readonly #lease: Lease;
  /** The rooms that are known to be in the index of the lease. */
  readonly #indexed = new Set<string>();
  readonly #reaping = new Set<string>();
  #listener: PresenceListener | undefined;
  #onBegun: () => void = () => undefined;
  #beating = false;
  /** The connection is new: Redis may lack the last writes. */
  #inDoubt = true;

  constructor(options: RedisPresenceOptions, log: Logger) {
    this.#options = options;
    this.#log = log;
    this.#names = new RedisNames(options.prefix, options.redis.database);
    this.#lease = new Lease(options.instance);
    this.#connection = options.redis.add({
      role: 'presence',
      name: `roomcast:presence:${options.instance}`,
      scripts: [changeScript, pageScript],
      onReady: () => this.#beat(),
      onSecond: () => this.#beat(),
      onLost: () => {
        this.#inDoubt = true;
        this.#lease.interrupted();
      },
    });
  }

  async start(listener: PresenceListener): Promise<void> {
    this.#listener = listener;
    this.#connection.connect();
    await new Promise<void>((resolve) => {
      this.#onBegun = resolve;
      setTimeout(resolve, startTimeoutMs).unref();
    });
  }

  async change(room: string, entered: Present[], left: Present[]): Promise<void> {
    const life = this.#heldLife();
    const members = (presents: Present[]) => presents.map((present) => memberOf(present, life));
    if (entered.length > 0) await this.#index(room, life);
    await this.#run(room, members(entered), members(left));
  }

  async sync(room: string, present: () => Iterable<Present>): Promise<void> {
    const { instance } = this.#options;
    const end = `${instance}.`;
    // Behind everything that was dealt with, in the order of Redis: connections, each with a line end or a \v behind it.
    let from = `${instance}-`;
    for (;;) {
      const life = this.#heldLife();
      const left = [...present()].filter(({ connection }) => `${connection}\v` > from);
      const batch = batchOf(left.sort((one, other) => (one.connection < other.connection ? -1 : 1)));
      const last = batch.length < left.length ? batch.at(-1)?.connection : undefined;
      const to = last === undefined ? end : `${last}\v`;
      if (batch.length > 0) await this.#index(room, life);
      const members = batch.map((each) => memberOf(each, life));
      const { stoppedAt, frames } = await this.#run(room, members, [], { from: `(${from}`, to: `(${to}` });
      if (stoppedAt === '' && to === end) return;
      from = stoppedAt === '' ? to : stoppedAt;
      if (frames > 0) await pause();
    }
  }

  async release(room: string): Promise<void> {
    if (!this.#indexed.delete(room)) return;
    const index = this.#names.leaseRooms(this.#lease.name);
    await this.#connection.run(['SREM', index, room]);
  }

  async page(room: string, { after, limit, maxBytes }: PresenceQuery): Promise<PresencePage> {
    const from = after === undefined ? '-' : `(${after}\v`;
    const [members, users] = this.#keys(room);
    const asked = [from, limit, maxBytes, memberOverheadBytes];
    const reply = await this.#connection.run(['EVALSHA', pageScript.sha, 2, members, users, ...asked]);
    const [count, userCount, more, page] = reply as [number, number, number, Buffer[]];
    return { count, users: userCount, more: more === 1, members: page.map(presentOf).filter(isThere) };
  }

  async close(): Promise<void> {
    const listening = this.#listener !== undefined;
    this.#listener = undefined;
    if (listening && this.#connection.ready && this.#indexed.size === 0) {
      await this.#end(this.#lease.name).catch((error: Error) =>
        this.#log.warn({ error: error.message }, 'the lease was not ended; other nodes will reap it'),
      );
    }
    this.#connection.close();
  }

  /** Nothing is written without a lease that holds, and never as another life. */
  #heldLife(): string {
    if (this.#inDoubt || !this.#lease.holds(performance.now())) {
      throw new BackplaneError('unavailable', 'Redis is away, or was until now');
    }
    return this.#lease.life;
  }

  async #index(room: string, life: string): Promise<void> {
    if (this.#indexed.has(room)) return;
    const index = this.#names.leaseRooms(this.#lease.name);
    await this.#connection.run(['SADD', index, room]);
    if (this.#heldLife() !== life) throw new BackplaneError('unavailable', 'the lease was lost');
    this.#indexed.add(room);
  }

  /** Runs presence-change.lua. */
  async #run(room: string, entered: string[], left: string[], range?: Range) {
    const [members, users, channel] = this.#keys(room);
    const at = String(Date.now()).padStart(13, '0');
    const told = [this.#options.tells(room) ? channel : '', room, at];
    const within = [range?.from ?? '', range?.to ?? '', range?.life ?? '', maxLookedAt, maxBatchBytes];
    const changed = [entered.length, ...entered, ...left];
    const words = ['EVALSHA', changeScript.sha, 2, members, users, ...told, ...within, ...changed];
    const [stoppedAt, takenOut, frames] = (await this.#connection.run(words)) as [Buffer, number, number];
    return { stoppedAt: String(stoppedAt), takenOut, frames };
  }

  /** Returns false if somebody else has ended the lease. */
  async #end(lease: string): Promise<boolean> {
    await this.#connection.run(['DEL', this.#names.leaseRooms(lease)]);
    return (await this.#connection.run(['HDEL', this.#names.nodes, lease])) === 1;
  }

  #beat(): void {
    if (this.#beating || this.#listener === undefined || !this.#connection.ready) return;
    this.#beating = true;
    const sentAt = performance.now();
    const { name } = this.#lease;
    Promise.all([
      this.#connection.run(['HINCRBY', this.#names.nodes, name, 1]),
      this.#connection.run(['HGETALL', this.#names.nodes]),
    ])
      .finally(() => {
        this.#beating = false;
      })
      .then(([beat, beats]) => this.#beaten(beat as number, recordOf(beats as Buffer[]), sentAt))
      .catch((error: Error) => this.#log.debug({ error: error.message }, 'a beat failed'));
  }

  #beaten(beat: number, beats: Record<string, string>, sentAt: number): void {
    const now = performance.now();
    const { name } = this.#lease;
    const became = this.#lease.beaten(beat, sentAt, now);
    if (became === 'lost') {
      this.#log.warn({ lease: name }, 'the lease was lost; entering all rooms again with a new one');
      this.#indexed.clear();
      this.#inDoubt = true;
      this.#beat();
      // It had been ended, and this beat has begun it again.
      if (beat === 1) this.#end(name).catch(() => undefined);
      return;
    }
    if (this.#inDoubt) {
      this.#indexed.clear();
      this.#inDoubt = false;
      this.#onBegun();
      this.#listener?.doubtful();
    }
    for (const lease of this.#lease.dead(beats, now)) this.#reap(lease);
  }

  #reap(lease: string): void {
    if (this.#reaping.has(lease)) return;
    this.#reaping.add(lease);
    this.#reapRooms(lease)
      .catch((error: Error) => this.#log.warn({ lease, error: error.message }, 'reaping was interrupted'))
      .finally(() => this.#reaping.delete(lease));
  }

  async #reapRooms(lease: string): Promise<void> {
    const index = this.#names.leaseRooms(lease);
    for (;;) {
      const rooms = (await this.#connection.run(['SRANDMEMBER', index, roomsPerReaping])) as Buffer[];
      if (rooms.length === 0) break;
      await Promise.all(rooms.map((room) => this.#reapRoom(lease, String(room))));
    }
    if (await this.#end(lease)) this.#log.warn({ lease }, 'a lease stood still; its members have left their rooms');
  }

  async #reapRoom(lease: string, room: string): Promise<void> {
    const { instance, life } = ownerOf(lease);
    let from = `${instance}-`;
    for (;;) {
      const range = { from: `(${from}`, to: `(${instance}.`, life };
      const { stoppedAt, takenOut, frames } = await this.#run(room, [], [], range);
      if (takenOut > 0) this.#listener?.reaped(takenOut);
      if (stoppedAt === '') break;
      from = stoppedAt;
      if (frames > 0) await pause();
    }
    await this.#connection.run(['SREM', this.#names.leaseRooms(lease), room]);
  }

  #keys(room: string): [members: string, users: string, channel: string] {
    const keys = this.#names.room(room);
    return [`${keys}:members`, `${keys}:users`, this.#names.channel(room)];
  }
}

/** Between two writes for one room that cause frames. */
function pause(): Promise<void> {
  return delay(writeIntervalMs, undefined, { ref: false });
}

/** Line ends and what lies below them are escaped in JSON, and stand in no connection id. */
function memberOf({ connection, user, info }: Present, life: string): string {
  return `${connection}\n${life}\n${user === null ? '' : JSON.stringify(user)}\n${info ?? ''}`;
}

/** Undefined for what no node of this version wrote. */
function presentOf(member: Buffer): Present | undefined {
  const [connection, life, user, info] = String(member).split('\n');
  if (connection === undefined || life === undefined || user === undefined || info === undefined) return undefined;
  try {
    return { connection, user: user === '' ? null : JSON.parse(user), info: info === '' ? undefined : info };
  } catch {
    return undefined;
  }
}

/** What HGETALL answers: names, each with its value behind it. */
function recordOf(flat: Buffer[]): Record<string, string> {
  const pairs = flat.flatMap((name, index) => (index % 2 === 0 ? [[String(name), String(flat[index + 1])]] : []));
  return Object.fromEntries(pairs);
}

function isThere(present: Present | undefined): present is Present {
  return present !== undefined;
}
