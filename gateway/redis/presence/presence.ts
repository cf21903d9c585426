/**
 * The presence store over Redis. Contract: gateway/backplane/presence.ts.
 *
 * A room has three keys: `rc:{room}:members`, a sorted set in which the connections of one node are one range; `:users`, a
 * hash of connections by user; `:counted`, a note that shows if the two disagree (presence/room.lua). Each sync checks that,
 * and recounts in batches. Which nodes are alive, and whose members are reaped, is gateway/redis/presence/leases.ts. The store
 * has a connection of its own: reaping a large room delays no message.
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
import { integerOf, listOf, textOf, textsOf } from '../connection/answer.ts';
import type { Reply, Words } from '../connection/resp.ts';
import { runOn } from '../connection/run.ts';
import { type EnvelopeVersion, EnvelopeWriter } from '../envelope.ts';
import type { RedisNames } from '../names.ts';
import { type Telling, tellNothing } from '../outbox/telling.ts';
import { readScript, type Script } from '../script.ts';
import type { PresenceConnections } from './connections.ts';
import { ownerOf } from './lease.ts';
import { indexScript, Leases } from './leases.ts';
import { occupancyScript, RedisOccupancy } from './occupancy.ts';

const changeScript = readScript('outbox/tell.lua', 'presence/room.lua', 'presence/change.lua');
const pageScript = readScript('presence/room.lua', 'presence/page.lua');
const ownersScript = readScript('presence/owners.lua');

const startTimeoutMs = 3_000;
/** Members that one run of the script scans. */
const maxScanned = 1_000;
/** Members that one run recounts: 2 to 3 ms of Redis. */
const maxRecounted = 500;
/** Between two runs, for other clients of Redis. */
const recountPauseMs = 5;
/** Lifetime of `:counted`. A room is synced far more often. */
const countedTtlMs = 3_600_000;
/** Leases that one sync finds in a room. */
const maxOwners = 1_000;
/** Bytes that a member takes in an answer beyond what is stored of it. */
const memberOverheadBytes = 40;

export interface RedisPresenceOptions {
  connections: PresenceConnections;
  names: RedisNames;
  /** This run of this node, unique. The id of each of its connections is this, `-`, and more. */
  instance: string;
  /** Says whether the room has `join` and `leave`. */
  announces(room: string): boolean;
  /** Events for the operator's backend. Undefined: nobody is told. */
  telling?: Telling | undefined;
  /** Says whether the backend is told of members of the room. */
  tells?(room: string): boolean;
  /** Of the envelopes that this node writes. */
  envelopeVersion?: EnvelopeVersion;
}

/** Members between `from` and `to`, for ZRANGEBYLEX; of one life, or of any. */
interface Range {
  from: string;
  to: string;
  life?: string;
}

interface Changes {
  entered?: string[];
  left?: string[];
  /** Its members are removed, unless they are in `entered`. */
  range?: Range;
  /** Recounts if users and members disagree. */
  verifies?: boolean;
}

export class RedisPresence implements PresenceStore {
  readonly occupancy: RedisOccupancy;
  readonly #options: RedisPresenceOptions;
  readonly #connections: PresenceConnections;
  readonly #leases: Leases;
  readonly #names: RedisNames;
  readonly #envelopes: EnvelopeWriter;
  #listener: PresenceListener | undefined;
  #onStarted: () => void = () => undefined;

  constructor(options: RedisPresenceOptions, log: Logger) {
    this.#options = options;
    this.#envelopes = new EnvelopeWriter(options.envelopeVersion);
    const { connections, instance, names } = options;
    this.#names = names;
    this.#connections = connections;
    const scripts = [changeScript, pageScript, ownersScript, indexScript, occupancyScript];
    connections.open(
      { role: 'presence', name: `roomcast:presence:${instance}`, scripts },
      {
        ready: (connection) => this.#leases.connected(connection),
        second: () => this.#leases.beat(),
        lost: (_, isShared) => {
          if (isShared) this.#leases.interrupted();
        },
        removed: (connection) => this.#leases.forget(connection),
      },
    );
    const owner = {
      reap: (lease: string, entry: string) => {
        const room = this.occupancy.roomOf(entry);
        return room === undefined ? this.#reap(lease, entry) : this.occupancy.reap(lease, room);
      },
      outOfSync: () => {
        this.#onStarted();
        this.#listener?.outOfSync();
      },
    };
    this.#leases = new Leases(names, instance, connections, owner, log);
    const { telling } = options;
    this.occupancy = new RedisOccupancy({ names, connections, leases: this.#leases, telling });
  }

  async start(listener: PresenceListener): Promise<void> {
    this.#listener = listener;
    this.#connections.connect();
    await new Promise<void>((resolve) => {
      this.#onStarted = resolve;
      setTimeout(resolve, startTimeoutMs).unref();
    });
  }

  /** The runs of all nodes that live: gateway/redis/presence/leases.ts. */
  liveInstances(): Promise<string[]> {
    return this.#leases.live();
  }

  async change(room: string, entered: Present[], left: Present[]): Promise<void> {
    const life = this.#leases.requireLife();
    const members = (presents: Present[]) => presents.map((present) => memberOf(present, life));
    if (entered.length > 0) await this.#leases.enter(room, life);
    await this.#run(room, { entered: members(entered), left: members(left) });
  }

  async sync(room: string, present: () => Iterable<Present>): Promise<void> {
    const { instance } = this.#options;
    const end = `${instance}.`;
    // Members up to here are done, in the order of Redis. A stored member is its connection, \n, and more; \v is behind \n.
    let from = `${instance}-`;
    for (;;) {
      const life = this.#leases.requireLife();
      const rest = [...present()].filter(({ connection }) => `${connection}\v` > from);
      const batch = batchOf(rest.sort((one, other) => (one.connection < other.connection ? -1 : 1)));
      const last = batch.length < rest.length ? batch.at(-1)?.connection : undefined;
      const to = last === undefined ? end : `${last}\v`;
      if (batch.length > 0) await this.#leases.enter(room, life);
      const entered = batch.map((each) => memberOf(each, life));
      const range = { from: `(${from}`, to: `(${to}` };
      const { stoppedAt, frames, isCounted } = await this.#run(room, { entered, range, verifies: true });
      if (stoppedAt === '' && to === end) {
        if (!isCounted) await this.#recount(room);
        break;
      }
      from = stoppedAt === '' ? to : stoppedAt;
      if (frames > 0) await pause();
    }
    const owners = await this.#evaluate(room, ownersScript, [this.#keys(room)[0]], [maxOwners]);
    await this.#leases.adopt(room, textsOf(owners));
  }

  async release(room: string): Promise<void> {
    await this.#leases.leave(room);
  }

  async page(room: string, { after, limit, maxBytes }: PresenceQuery): Promise<PresencePage> {
    const from = after === undefined ? '-' : `(${after}\v`;
    const asked = [from, limit, maxBytes, memberOverheadBytes, maxRecounted];
    const read = () => this.#evaluate(room, pageScript, this.#keys(room), asked);
    let reply = listOf(await read());
    if (reply.length === 0) {
      await this.#recount(room);
      reply = listOf(await read());
    }
    if (reply.length === 0) throw new BackplaneError('unavailable', 'the members of the room are being recounted');
    const [count, users, more, members] = reply;
    const page = textsOf(members);
    this.#adoptOrphans(room, page);
    return {
      count: integerOf(count),
      users: integerOf(users),
      more: more === 1,
      members: page.map(presentOf).filter(isThere),
    };
  }

  async close(): Promise<void> {
    const isStarted = this.#listener !== undefined;
    this.#listener = undefined;
    if (isStarted) await this.#leases.close();
    this.#connections.close();
  }

  /** Runs presence/change.lua. */
  async #run(room: string, { entered = [], left = [], range, verifies = false }: Changes) {
    const keys = this.#keys(room);
    const mark = this.#connections.of(room)?.server.mark ?? '';
    const header = mark + this.#envelopes.presenceHeader(Date.now());
    const announcing = [this.#names.channel(room), room, header];
    const within = [range?.from ?? '', range?.to ?? '', range?.life ?? '', maxScanned, maxBatchBytes];
    const counting = [verifies ? 1 : 0, maxRecounted, countedTtlMs];
    const { telling, tells } = this.#options;
    const events = (tells?.(room) ? telling?.wordsFor(room, 'member.joined', 'member.left') : undefined) ?? tellNothing;
    const all = [...keys, ...events.keys];
    const announces = this.#options.announces(room) ? 1 : 0;
    const changed = [announces, entered.length, ...entered, ...left];
    const rest = [...announcing, ...within, ...counting, ...events.words, ...changed];
    const reply = await this.#evaluate(room, changeScript, all, rest);
    const [stoppedAt, removed, frames, more, dropped, refusal] = listOf(reply);
    telling?.told(room, integerOf(dropped), textOf(refusal));
    return {
      stoppedAt: textOf(stoppedAt),
      removed: integerOf(removed),
      frames: integerOf(frames),
      isCounted: integerOf(more) === 0,
    };
  }

  /** Finishes the recount, in batches. */
  async #recount(room: string): Promise<void> {
    while (!(await this.#run(room, { verifies: true })).isCounted)
      await delay(recountPauseMs, undefined, { ref: false });
  }

  async #reap(lease: string, room: string): Promise<void> {
    const { instance, life } = ownerOf(lease);
    let from = `${instance}-`;
    for (;;) {
      const range = { from: `(${from}`, to: `(${instance}.`, life };
      const { stoppedAt, removed, frames } = await this.#run(room, { range });
      if (removed > 0) this.#listener?.reaped(removed);
      if (stoppedAt === '') return;
      from = stoppedAt;
      if (frames > 0) await pause();
    }
  }

  /** Some members may be orphans. */
  #adoptOrphans(room: string, members: readonly string[]): void {
    const leases = new Set(members.map(leaseOf));
    // If it fails, the next page or sync finds them again.
    this.#leases.adopt(room, leases).catch(() => undefined);
  }

  #evaluate(room: string, script: Script, keys: readonly string[], values: Words): Promise<Reply> {
    return runOn(this.#connections.of(room), (connection) => connection.evaluation(script, keys, values));
  }

  #keys(room: string): [members: string, users: string, counted: string] {
    const keys = this.#names.room(room);
    return [`${keys}:members`, `${keys}:users`, `${keys}:counted`];
  }
}

/** Between two writes to one room that published frames. */
function pause(): Promise<void> {
  return delay(writeIntervalMs, undefined, { ref: false });
}

/** JSON escapes line feeds and lower characters; a connection id has none. */
function memberOf({ connection, user, info }: Present, life: string): string {
  return `${connection}\n${life}\n${user === null ? '' : JSON.stringify(user)}\n${info ?? ''}`;
}

/** The lease of a member, as in presence/owners.lua. Of a string that no node wrote: no lease. */
function leaseOf(member: string): string {
  const [connection = '', life = ''] = member.split('\n', 2);
  return `${connection.slice(0, connection.lastIndexOf('-'))}.${life}`;
}

/** Undefined: no node of this version wrote it. */
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
