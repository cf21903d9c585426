/**
 * The Redis presence store. Keeps the contract of gateway/backplane/presence.ts.
 *
 * Under the name of the room, `rc:{room}`, lie three keys: `:members`, a sorted set in which all connections of one node are one
 * range; `:users`, connections by user; and `:counted`, from how many members these were counted, so that it shows where they
 * do not add up (presence/change.lua). Each sync looks, and has them counted anew, in parts. Which nodes live and whose
 * members are to be taken out is gateway/redis/presence/leases.ts. It has a connection of its own, so that reaping a large room
 * holds up no message.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { BackplaneError } from '../../backplane/backplane.ts';
import {
  batchOf,
  maxBatchBytes,
  type PresenceListener,
  type PresencePage,
  type PresenceQuery,
  type PresenceStore,
  type Present,
  writeIntervalMs,
} from '../../backplane/presence.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { RedisConnection } from '../connection/connection.ts';
import type { RedisConnections } from '../connection/connections.ts';
import { type EnvelopeVersion, EnvelopeWriter } from '../envelope.ts';
import { RedisNames } from '../names.ts';
import { readScript } from '../script.ts';
import { ownerOf } from './lease.ts';
import { indexScript, Leases } from './leases.ts';

const changeScript = readScript('presence/room.lua', 'presence/change.lua');
const pageScript = readScript('presence/room.lua', 'presence/page.lua');
const ownersScript = readScript('presence/owners.lua');

const startTimeoutMs = 3_000;
/** Members that one run of the script looks at. */
const maxLookedAt = 1_000;
/** Members that one run counts anew: 2 to 3 ms of Redis. Between two runs others have their turn. */
const maxCounted = 500;
const countPauseMs = 5;
/** Longer than a room ever goes without a sync. */
const countedTtlMs = 3_600_000;
/** Nodes that one look finds in a room. */
const maxOwners = 1_000;
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
  /** Of the envelopes that it writes. */
  envelopeVersion?: EnvelopeVersion;
}

/** A range of members as ZRANGEBYLEX takes it; only those of this life, or all. */
interface Range {
  from: string;
  to: string;
  life?: string;
}

interface Changes {
  entered?: string[];
  left?: string[];
  /** Whoever is in it and has not entered is taken out. */
  range?: Range;
  /** Sees to it that users add up to members. */
  looks?: boolean;
}

export class RedisPresence implements PresenceStore {
  readonly #options: RedisPresenceOptions;
  readonly #connection: RedisConnection;
  readonly #leases: Leases;
  readonly #names: RedisNames;
  readonly #envelopes: EnvelopeWriter;
  #listener: PresenceListener | undefined;
  #onBegun: () => void = () => undefined;

  constructor(options: RedisPresenceOptions, log: Logger) {
    this.#options = options;
    this.#envelopes = new EnvelopeWriter(options.envelopeVersion);
    const { instance, prefix, redis } = options;
    this.#names = new RedisNames(prefix, redis.database);
    this.#connection = redis.add({
      role: 'presence',
      name: `roomcast:presence:${instance}`,
      scripts: [changeScript, pageScript, ownersScript, indexScript],
      onReady: () => this.#leases.beat(),
      onSecond: () => this.#leases.beat(),
      onLost: () => this.#leases.interrupted(),
    });
    const owner = {
      reap: (lease: string, room: string) => this.#reap(lease, room),
      doubtful: () => {
        this.#onBegun();
        this.#listener?.doubtful();
      },
    };
    this.#leases = new Leases(this.#names, instance, this.#connection, owner, log);
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
    const life = this.#leases.heldLife();
    const members = (presents: Present[]) => presents.map((present) => memberOf(present, life));
    if (entered.length > 0) await this.#leases.enter(room, life);
    await this.#run(room, { entered: members(entered), left: members(left) });
  }

  async sync(room: string, present: () => Iterable<Present>): Promise<void> {
    const { instance } = this.#options;
    const end = `${instance}.`;
    // Behind everything that was dealt with, in the order of Redis: connections, each with a line end or a \v behind it.
    let from = `${instance}-`;
    for (;;) {
      const life = this.#leases.heldLife();
      const left = [...present()].filter(({ connection }) => `${connection}\v` > from);
      const batch = batchOf(left.sort((one, other) => (one.connection < other.connection ? -1 : 1)));
      const last = batch.length < left.length ? batch.at(-1)?.connection : undefined;
      const to = last === undefined ? end : `${last}\v`;
      if (batch.length > 0) await this.#leases.enter(room, life);
      const entered = batch.map((each) => memberOf(each, life));
      const range = { from: `(${from}`, to: `(${to}` };
      const { stoppedAt, frames, isCounted } = await this.#run(room, { entered, range, looks: true });
      if (stoppedAt === '' && to === end) {
        if (!isCounted) await this.#countAll(room);
        break;
      }
      from = stoppedAt === '' ? to : stoppedAt;
      if (frames > 0) await pause();
    }
    const owners = ['EVALSHA', ownersScript.sha, 1, this.#keys(room)[0], maxOwners];
    await this.#leases.takeUp(room, ((await this.#connection.run(owners)) as Buffer[]).map(String));
  }

  async release(room: string): Promise<void> {
    await this.#leases.leave(room);
  }

  async page(room: string, { after, limit, maxBytes }: PresenceQuery): Promise<PresencePage> {
    const from = after === undefined ? '-' : `(${after}\v`;
    const asked = [from, limit, maxBytes, memberOverheadBytes, maxCounted];
    const read = () => this.#connection.run(['EVALSHA', pageScript.sha, 3, ...this.#keys(room), ...asked]);
    let reply = (await read()) as [] | [number, number, number, Buffer[]];
    if (reply.length === 0) {
      await this.#countAll(room);
      reply = (await read()) as typeof reply;
    }
    if (reply.length === 0) throw new BackplaneError('unavailable', 'who is in the room is being counted');
    const [count, users, more, members] = reply;
    const page = members.map(String);
    this.#notice(room, page);
    return { count, users, more: more === 1, members: page.map(presentOf).filter(isThere) };
  }

  async close(): Promise<void> {
    const listening = this.#listener !== undefined;
    this.#listener = undefined;
    if (listening) await this.#leases.close();
    this.#connection.close();
  }

  /** Runs presence/change.lua. */
  async #run(room: string, { entered = [], left = [], range, looks = false }: Changes) {
    const keys = this.#keys(room);
    const header = this.#envelopes.presenceHeader(Date.now());
    const told = [this.#options.tells(room) ? this.#names.channel(room) : '', room, header];
    const within = [range?.from ?? '', range?.to ?? '', range?.life ?? '', maxLookedAt, maxBatchBytes];
    const counting = [looks ? 1 : 0, maxCounted, countedTtlMs];
    const changed = [entered.length, ...entered, ...left];
    const words = ['EVALSHA', changeScript.sha, 3, ...keys, ...told, ...within, ...counting, ...changed];
    const reply = (await this.#connection.run(words)) as [Buffer, number, number, number];
    const [stoppedAt, takenOut, frames, more] = reply;
    return { stoppedAt: String(stoppedAt), takenOut, frames, isCounted: more === 0 };
  }

  /** Has all members counted that are not, in parts. */
  async #countAll(room: string): Promise<void> {
    while (!(await this.#run(room, { looks: true })).isCounted) await delay(countPauseMs, undefined, { ref: false });
  }

  async #reap(lease: string, room: string): Promise<void> {
    const { instance, life } = ownerOf(lease);
    let from = `${instance}-`;
    for (;;) {
      const range = { from: `(${from}`, to: `(${instance}.`, life };
      const { stoppedAt, takenOut, frames } = await this.#run(room, { range });
      if (takenOut > 0) this.#listener?.reaped(takenOut);
      if (stoppedAt === '') return;
      from = stoppedAt;
      if (frames > 0) await pause();
    }
  }

  /** Some of the members may be of a node that nobody knows. */
  #notice(room: string, members: readonly string[]): void {
    const leases = new Set(members.map(leaseOf));
    // Whoever asks next, or syncs the room, finds them too.
    this.#leases.takeUp(room, leases).catch(() => undefined);
  }

  #keys(room: string): [members: string, users: string, counted: string] {
    const keys = this.#names.room(room);
    return [`${keys}:members`, `${keys}:users`, `${keys}:counted`];
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

/** Of whom a member is, as presence/owners.lua tells it; of what no node wrote, the name of no lease. */
function leaseOf(member: string): string {
  const [connection = '', life = ''] = member.split('\n', 2);
  return `${connection.slice(0, connection.lastIndexOf('-'))}.${life}`;
}

/** Undefined for what no node of this version wrote. */
function presentOf(member: string): Present | undefined {
  const [connection, life, user, info] = member.split('\n');
  if (connection === undefined || life === undefined || user === undefined || info === undefined) return undefined;
  try {
    return { connection, user: user === '' ? null : JSON.parse(user), info: info === '' ? undefined : info };
  } catch {
    return undefined;
  }
}

function isThere(present: Present | undefined): present is Present {
  return present !== undefined;
}
