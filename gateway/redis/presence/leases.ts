/**
 * The leases of all nodes in Redis: this node's beat, the index of its rooms, and reaping expired leases.
 *
 * `rc:nodes` has the beat of each lease (gateway/redis/presence/lease.ts). `rc:node:<lease>:rooms`, the index, has the rooms
 * in which the lease may have members: a room is added before its first member. All other nodes reap an expired lease; they
 * take rooms at random, and so share the work.
 *
 * Both keys may be deleted or replaced. A node notices with its next beat. Members of a lease that is not in `rc:nodes` are
 * orphans: a node that finds them adopts their lease, which is then watched, and reaped, like any other. Removing the members
 * of one room is gateway/redis/presence/presence.ts.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { BackplaneError } from '../../backplane/backplane.ts';
import type { Logger } from '../../telemetry/log.ts';
import { integerOf, listOf, textsOf } from '../connection/answer.ts';
import type { RedisConnection } from '../connection/connection.ts';
import type { Reply, Words } from '../connection/resp.ts';
import { runOn } from '../connection/run.ts';
import type { RedisNames } from '../names.ts';
import { readScript } from '../script.ts';
import type { PresenceConnections } from './connections.ts';
import { beatMs, Lease, leaseMs, nodeOf, ownerOf } from './lease.ts';

export const indexScript = readScript('presence/index.lua');

/** Of one read of the index. */
const roomsPerRead = 100;
/** Of one command that removes rooms. It bounds how long Redis is blocked. */
const roomsPerRemoval = 1_000;
/** The beat of an adopted lease. A node's own begins at 1. */
const orphanBeat = '0';
/** In a cluster: far longer than a replica may be behind. */
const leftMs = 30_000;
/** After all leases were lost: a node that lives has a new one long before. */
const backMs = leaseMs + 2 * beatMs;

export interface LeasesOwner {
  /** Removes all members of the lease from the room. */
  reap(lease: string, room: string): Promise<void>;
  /** The lease holds, but Redis may not have what this node wrote. */
  outOfSync(): void;
}

export class Leases {
  readonly #names: RedisNames;
  readonly #connections: PresenceConnections;
  readonly #owner: LeasesOwner;
  readonly #log: Logger;
  readonly #lease: Lease;
  /** Rooms that are in the index. */
  readonly #indexed = new Set<string>();
  /** In a cluster: rooms that go from the index once a failover cannot bring back what this node removed from them; and when. */
  readonly #leaving = new Map<string, number>();
  readonly #reaping = new Set<string>();
  /** Instances with a lease of their own, expired or not, as of the last beat. */
  #instances = new Set<string>();
  /** The leases of all were lost: instances that had one and have none yet; and since when. */
  readonly #missing = new Map<string, number>();
  /** Leases whose beat stands still, as of the last beat. */
  #expired = new Set<string>();
  #beating = false;
  /** The Redis that each connection led to. */
  readonly #servers = new Map<RedisConnection, string>();
  /** The connection or the lease is new: Redis may lack the last writes. */
  #isOutOfSync = true;
  #ended = false;

  /** `instance`: this run of this node. */
  constructor(names: RedisNames, instance: string, connections: PresenceConnections, owner: LeasesOwner, log: Logger) {
    this.#names = names;
    this.#connections = connections;
    this.#owner = owner;
    this.#log = log;
    this.#lease = new Lease(instance);
  }

  /** The present lease of this node. */
  get name(): string {
    return this.#lease.name;
  }

  /** Returns the life to write with. Throws a BackplaneError while this node does not hold its lease. */
  requireLife(): string {
    if (this.#isOutOfSync || !this.#lease.holds(performance.now())) {
      throw new BackplaneError('unavailable', 'Redis is away, or was until now');
    }
    return this.#lease.life;
  }

  /** Call it before the first member of a room is written. */
  async enter(room: string, life: string): Promise<void> {
    if (this.#indexed.has(room)) return;
    if (this.#leaving.delete(room)) {
      this.#indexed.add(room);
      return;
    }
    await this.#index(this.#lease.name, room);
    if (this.requireLife() !== life) throw new BackplaneError('unavailable', 'the lease was lost');
    this.#indexed.add(room);
  }

  async leave(room: string): Promise<void> {
    if (!this.#indexed.delete(room)) return;
    // In a cluster another server has the room. If it fails over and its replica still has this member, the index tells.
    if (!this.#connections.isOne) this.#leaving.set(room, performance.now() + leftMs);
    else await this.#remove([room]);
  }

  /**
   * The room has members of these leases. Adopts the orphans among them: adds the lease to `rc:nodes` with a beat that does not
   * change. If its node is alive, its next beat finds that.
   */
  async adopt(room: string, leases: Iterable<string>): Promise<void> {
    for (const lease of leases) {
      const { instance, life } = ownerOf(lease);
      if (instance === this.#lease.instance || this.#instances.has(instance)) continue;
      // No node wrote it.
      if (instance === '' || !/^\d+$/.test(life)) continue;
      this.requireLife();
      await this.#index(lease, room);
      await this.#run(['HINCRBY', this.#names.nodes, lease, orphanBeat]);
    }
  }

  /**
   * The runs of nodes that live, this one included: they have a lease now, and its beat moves. A node that died is among them
   * for `leaseMs` and one beat more. Rejects with a BackplaneError.
   */
  async live(): Promise<string[]> {
    const beats = recordOf(await this.#run(['HGETALL', this.#names.nodes]));
    const moving = Object.entries(beats).filter(([lease, beat]) => beat !== orphanBeat && !this.#expired.has(lease));
    return [...new Set([this.#lease.instance, ...moving.map(([lease]) => ownerOf(lease).instance)])];
  }

  /** Call it every `beatMs`, and when the connection is ready. */
  beat(): void {
    if (this.#beating || this.#ended || this.#connections.shared?.ready !== true) return;
    this.#beating = true;
    this.#removeLeft();
    const sentAt = performance.now();
    const { name } = this.#lease;
    Promise.all([
      this.#run(['HINCRBY', this.#names.nodes, name, 1]),
      this.#run(['HGETALL', this.#names.nodes]),
      this.#indexed.size > 0 ? this.#index(name) : 0,
    ])
      .finally(() => {
        this.#beating = false;
      })
      .then(([beat, beats, begun]) => {
        this.#confirmBeat(name, integerOf(beat), recordOf(beats), begun === 1, sentAt);
      })
      .catch((error: Error) => {
        const fields = { key: this.#names.nodes, error: error.message };
        this.#log.warn(fields, 'a beat failed; without beats presence is unavailable');
      });
  }

  /**
   * The connection is new. Redis is another one than before, or was restarted, and may lack the last writes: then it may also have
   * members of this node that have left. With a new lease the old one expires, and everything in its index is reaped.
   */
  connected(connection: RedisConnection): void {
    const { run, promotion, mayHaveLost } = connection.server;
    const [server, before] = [`${run} ${promotion}`, this.#servers.get(connection)];
    // In a cluster a server that this node was not connected to may have the rooms of one that it was.
    const isOther = before === undefined ? this.#indexed.size + this.#leaving.size > 0 : before !== server;
    if (mayHaveLost && isOther) {
      this.#lease.lose();
      this.#expectAll();
      this.#leaving.clear();
    }
    this.#servers.set(connection, server);
    this.#isOutOfSync = true;
    this.beat();
  }

  /** The connection of the leases was lost. */
  interrupted(): void {
    this.#isOutOfSync = true;
    this.#expired.clear();
    this.#lease.interrupted();
  }

  /** The server has no rooms any more. */
  forget(connection: RedisConnection): void {
    this.#servers.delete(connection);
  }

  /** Deletes the lease if it has no rooms left. Else other nodes reap it. */
  async close(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#connections.shared?.ready !== true || this.#indexed.size > 0) return;
    await this.#delete(this.#lease.name).catch((error: Error) =>
      this.#log.warn({ error: error.message }, 'the lease was not deleted; other nodes will reap it'),
    );
  }

  #confirmBeat(name: string, beat: number, beats: Record<string, string>, indexWasLost: boolean, sentAt: number): void {
    if (this.#ended) return;
    // It was sent for a lease that was lost meanwhile.
    if (name !== this.#lease.name) {
      this.beat();
      return;
    }
    const now = performance.now();
    const confirmed = this.#lease.confirm(beat, sentAt, now);
    if (confirmed && indexWasLost) this.#lease.lose();
    if (!confirmed || indexWasLost) {
      this.#log.warn({ lease: name }, 'the lease was lost; entering all rooms again with a new one');
      if (beat === 1) this.#expectAll();
      this.#indexed.clear();
      this.#leaving.clear();
      this.#isOutOfSync = true;
      this.beat();
      // This beat has created the deleted lease again; or it has no index, and could not be reaped. Delete it.
      if (beat === 1 || indexWasLost) this.#delete(name).catch(() => undefined);
      return;
    }
    const own = Object.entries(beats).filter(([, value]) => value !== orphanBeat);
    this.#instances = new Set(own.map(([lease]) => ownerOf(lease).instance));
    this.#tellMissing(now);
    if (this.#isOutOfSync) {
      this.#indexed.clear();
      this.#isOutOfSync = false;
      // Adds the mark: else an index without rooms looks like a lost one.
      this.#index(name).catch(() => undefined);
      this.#owner.outOfSync();
    }
    this.#expired = new Set(this.#lease.expired(beats, now));
    for (const lease of this.#expired) this.#reap(lease);
  }

  /** The leases of all are lost. A node that has died meanwhile enters its rooms no more, and nobody knows them. */
  #expectAll(): void {
    const now = performance.now();
    for (const instance of this.#instances) if (instance !== this.#lease.instance) this.#missing.set(instance, now);
  }

  #tellMissing(now: number): void {
    for (const [instance, since] of this.#missing) {
      const isBack = this.#instances.has(instance);
      if (!isBack && now - since < backMs) continue;
      this.#missing.delete(instance);
      if (isBack) continue;
      const line = 'a node is gone since all leases were lost: who was in its rooms is told only where others are';
      this.#log.error({ reason: nodeOf(instance), instance }, line);
    }
  }

  async #remove(rooms: readonly string[]): Promise<void> {
    const key = this.#names.leaseRooms(this.#lease.name);
    const parts: Promise<Reply>[] = [];
    for (let at = 0; at < rooms.length; at += roomsPerRemoval) {
      parts.push(this.#run(['SREM', key, ...rooms.slice(at, at + roomsPerRemoval)]));
    }
    await Promise.all(parts);
  }

  #removeLeft(): void {
    const now = performance.now();
    const left = [...this.#leaving].filter(([, at]) => now >= at).map(([room]) => room);
    if (left.length === 0) return;
    for (const room of left) this.#leaving.delete(room);
    // If it fails they stay in the index, which may have rooms without members.
    this.#remove(left).catch(() => undefined);
  }

  /** Adds rooms, and the mark, to the index. Returns 1 if the mark was missing: the index is new, or was lost. */
  async #index(lease: string, ...rooms: string[]): Promise<number> {
    return integerOf(await this.#runIndex(lease, 0, ...rooms));
  }

  /** Some rooms of the index, at random, and perhaps the mark ''. None at all: the index was lost. */
  async #someRoomsOf(lease: string): Promise<string[]> {
    return textsOf(await this.#runIndex(lease, roomsPerRead));
  }

  #runIndex(lease: string, ...words: Words): Promise<Reply> {
    return runOn(this.#connections.shared, (connection) =>
      connection.evaluation(indexScript, [this.#names.leaseRooms(lease)], words),
    );
  }

  #run(words: Words): Promise<Reply> {
    return runOn(this.#connections.shared, () => words);
  }

  /** Returns false if another node has deleted it before. */
  async #delete(lease: string): Promise<boolean> {
    const deletions = [
      this.#run(['DEL', this.#names.leaseRooms(lease)]),
      this.#run(['HDEL', this.#names.nodes, lease]),
    ];
    return (await Promise.all(deletions))[1] === 1;
  }

  #reap(lease: string): void {
    if (this.#reaping.has(lease)) return;
    this.#reaping.add(lease);
    this.#reapRooms(lease)
      .catch((error: Error) => this.#log.warn({ lease, error: error.message }, 'reaping was interrupted'))
      .finally(() => this.#reaping.delete(lease));
  }

  async #reapRooms(lease: string): Promise<void> {
    let rooms = await this.#someRoomsOf(lease);
    if (rooms.length === 0) await this.#reapWithoutIndex(lease);
    for (; rooms.some((room) => room !== ''); rooms = await this.#someRoomsOf(lease)) {
      await this.#reapAll(
        lease,
        rooms.filter((room) => room !== ''),
      );
    }
    if (await this.#delete(lease))
      this.#log.warn({ lease }, 'a lease expired; its members were removed from their rooms');
  }

  /** Each node searches the rooms in which it has members. In other rooms the next page finds the orphans. */
  async #reapWithoutIndex(lease: string): Promise<void> {
    const [beat] = listOf(await this.#run(['HMGET', this.#names.nodes, lease]));
    // Another node has deleted it.
    if (beat === null) return;
    this.#log.warn({ lease }, 'a lease expired, and its index is lost; searching all rooms of this node');
    const rooms = [...this.#indexed];
    while (rooms.length > 0) await this.#reapAll(lease, rooms.splice(0, roomsPerRead));
    // The other nodes search only while it exists.
    await delay(2 * beatMs, undefined, { ref: false });
  }

  async #reapAll(lease: string, rooms: string[]): Promise<void> {
    await Promise.all(
      rooms.map(async (room) => {
        await this.#owner.reap(lease, room);
        await this.#run(['SREM', this.#names.leaseRooms(lease), room]);
      }),
    );
  }
}

/** The reply to HGETALL: names and values in turn. */
function recordOf(reply: Reply): Record<string, string> {
  const flat = textsOf(reply);
  const pairs = flat.flatMap((name, index) => (index % 2 === 0 ? [[name, flat[index + 1] ?? '']] : []));
  return Object.fromEntries(pairs);
}
