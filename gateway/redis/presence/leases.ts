/**
 * The leases of nodes in Redis: this node's beat and the index of its rooms, and taking out what dead nodes left behind.
 *
 * `rc:nodes` holds the beats of all leases (gateway/redis/presence/lease.ts), `rc:node:<lease>:rooms` the rooms in which that lease may
 * have members: a room is in it before its first member is. When a lease is dead, every other node reaps it; they take
 * rooms at random, and so share the work. Both keys may be deleted or replaced by somebody: a node finds that out with its
 * next beat; and whoever comes across members of a lease that nobody knows takes it up, so that it is watched and reaped as
 * any other. What taking out members of a room is belongs to gateway/redis/presence/presence.ts.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { BackplaneError } from '../../backplane/backplane.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { RedisConnection } from '../connection/connection.ts';
import type { RedisNames } from '../names.ts';
import { readScript } from '../script.ts';
import { beatMs, Lease, ownerOf } from './lease.ts';

export const indexScript = readScript('presence/index.lua');

const roomsPerReaping = 100;
/** The beat of a lease that was taken up; that of a node begins at 1. Its rooms are entered by whoever comes across them. */
const takenUp = '0';

export interface LeasesOwner {
  /** Takes all members of a lease out of a room. */
  reap(lease: string, room: string): Promise<void>;
  /** The lease holds, and what Redis has of this node is in doubt. */
  doubtful(): void;
}

export class Leases {
  readonly #names: RedisNames;
  readonly #connection: RedisConnection;
  readonly #owner: LeasesOwner;
  readonly #log: Logger;
  readonly #lease: Lease;
  /** The rooms that are known to be in the index. */
  readonly #indexed = new Set<string>();
  readonly #reaping = new Set<string>();
  /** The nodes that have a lease of their own, whether it is dead or not, as of the last beat. */
  #known = new Set<string>();
  #beating = false;
  /** The connection is new: Redis may lack the last writes. */
  #inDoubt = true;
  #ended = false;

  /** `instance` is this run of this node. */
  constructor(names: RedisNames, instance: string, connection: RedisConnection, owner: LeasesOwner, log: Logger) {
    this.#names = names;
    this.#connection = connection;
    this.#owner = owner;
    this.#log = log;
    this.#lease = new Lease(instance);
  }

  /** Nothing is written without a lease that holds, and never as another life. Throws a BackplaneError. */
  heldLife(): string {
    if (this.#inDoubt || !this.#lease.holds(performance.now())) {
      throw new BackplaneError('unavailable', 'Redis is away, or was until now');
    }
    return this.#lease.life;
  }

  /** To be called before the first member of a room is written. */
  async enter(room: string, life: string): Promise<void> {
    if (this.#indexed.has(room)) return;
    await this.#index(this.#lease.name, room);
    if (this.heldLife() !== life) throw new BackplaneError('unavailable', 'the lease was lost');
    this.#indexed.add(room);
  }

  async leave(room: string): Promise<void> {
    if (!this.#indexed.delete(room)) return;
    await this.#connection.run(['SREM', this.#names.leaseRooms(this.#lease.name), room]);
  }

  /**
   * The room has members of these leases. One whose node has none is entered among all others with a beat that stands still:
   * if its node lives after all, it finds it lost with its next beat.
   */
  async takeUp(room: string, leases: Iterable<string>): Promise<void> {
    for (const lease of leases) {
      const { instance, life } = ownerOf(lease);
      if (instance === this.#lease.instance || this.#known.has(instance)) continue;
      // No node wrote it.
      if (instance === '' || !/^\d+$/.test(life)) continue;
      this.heldLife();
      await this.#index(lease, room);
      await this.#connection.run(['HINCRBY', this.#names.nodes, lease, takenUp]);
    }
  }

  /** To be called every `beatMs`, and when the connection is ready. */
  beat(): void {
    if (this.#beating || this.#ended || !this.#connection.ready) return;
    this.#beating = true;
    const sentAt = performance.now();
    const { name } = this.#lease;
    Promise.all([
      this.#connection.run(['HINCRBY', this.#names.nodes, name, 1]),
      this.#connection.run(['HGETALL', this.#names.nodes]),
      this.#indexed.size > 0 ? this.#index(name) : 0,
    ])
      .finally(() => {
        this.#beating = false;
      })
      .then(([beat, beats, begun]) => {
        this.#beaten(beat as number, recordOf(beats as Buffer[]), begun === 1, sentAt);
      })
      .catch((error: Error) => {
        const fields = { key: this.#names.nodes, error: error.message };
        this.#log.warn(fields, 'a beat failed; presence is unavailable without');
      });
  }

  /** The connection was lost. */
  interrupted(): void {
    this.#inDoubt = true;
    this.#lease.interrupted();
  }

  /** Ends the lease if it has left nothing behind; otherwise other nodes reap it. */
  async close(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    if (!this.#connection.ready || this.#indexed.size > 0) return;
    await this.#end(this.#lease.name).catch((error: Error) =>
      this.#log.warn({ error: error.message }, 'the lease was not ended; other nodes will reap it'),
    );
  }

  #beaten(beat: number, beats: Record<string, string>, indexWasLost: boolean, sentAt: number): void {
    if (this.#ended) return;
    const now = performance.now();
    const { name } = this.#lease;
    const confirmed = this.#lease.confirm(beat, sentAt, now);
    if (confirmed && indexWasLost) this.#lease.lose();
    if (!confirmed || indexWasLost) {
      this.#log.warn({ lease: name }, 'the lease was lost; entering all rooms again with a new one');
      this.#indexed.clear();
      this.#inDoubt = true;
      this.beat();
      // Somebody has ended it, and this beat has begun it again; or nobody would find its members.
      if (beat === 1 || indexWasLost) this.#end(name).catch(() => undefined);
      return;
    }
    const own = Object.entries(beats).filter(([, value]) => value !== takenUp);
    this.#known = new Set(own.map(([lease]) => ownerOf(lease).instance));
    if (this.#inDoubt) {
      this.#indexed.clear();
      this.#inDoubt = false;
      // Without it an index that is empty would seem to have been lost.
      this.#index(name).catch(() => undefined);
      this.#owner.doubtful();
    }
    for (const lease of this.#lease.dead(beats, now)) this.#reap(lease);
  }

  /** Enters a room, or nothing. Returns 1 if the index had not been begun. */
  async #index(lease: string, ...rooms: string[]): Promise<number> {
    const words = ['EVALSHA', indexScript.sha, 1, this.#names.leaseRooms(lease), 0, ...rooms];
    return (await this.#connection.run(words)) as number;
  }

  /** Some of the rooms, and perhaps ''. None at all: the index was lost. */
  async #someRoomsOf(lease: string): Promise<string[]> {
    const words = ['EVALSHA', indexScript.sha, 1, this.#names.leaseRooms(lease), roomsPerReaping];
    return ((await this.#connection.run(words)) as Buffer[]).map(String);
  }

  /** Returns false if somebody else has ended the lease. */
  async #end(lease: string): Promise<boolean> {
    const ended = [
      this.#connection.run(['DEL', this.#names.leaseRooms(lease)]),
      this.#connection.run(['HDEL', this.#names.nodes, lease]),
    ];
    return (await Promise.all(ended))[1] === 1;
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
    if (await this.#end(lease)) this.#log.warn({ lease }, 'a lease stood still; its members have left their rooms');
  }

  /** Each node looks into the rooms that it has members in itself. Other rooms show it to whoever asks who is there. */
  async #reapWithoutIndex(lease: string): Promise<void> {
    const [beat] = (await this.#connection.run(['HMGET', this.#names.nodes, lease])) as (Buffer | null)[];
    // Another node has ended it.
    if (beat === null) return;
    this.#log.warn({ lease }, 'the rooms of a lease that stood still are not known; looking into all of this node');
    const rooms = [...this.#indexed];
    while (rooms.length > 0) await this.#reapAll(lease, rooms.splice(0, roomsPerReaping));
    // The others do so as long as it is there.
    await delay(2 * beatMs, undefined, { ref: false });
  }

  async #reapAll(lease: string, rooms: string[]): Promise<void> {
    await Promise.all(
      rooms.map(async (room) => {
        await this.#owner.reap(lease, room);
        await this.#connection.run(['SREM', this.#names.leaseRooms(lease), room]);
      }),
    );
  }
}

/** What HGETALL answers: names, each with its value behind it. */
function recordOf(flat: Buffer[]): Record<string, string> {
  const pairs = flat.flatMap((name, index) => (index % 2 === 0 ? [[String(name), String(flat[index + 1])]] : []));
  return Object.fromEntries(pairs);
}
