/**
 * Presence on this node: its members of rooms with presence, the `join` and `leave` frames they get, and pages of
 * members.
 *
 * Owns the set of rooms with presence here, and the fan-out of `join` and `leave` frames. Only the store
 * (gateway/backplane/presence.ts) knows the members on all nodes; gateway/rooms/presence-room.ts writes this node's
 * members to it. It knows neither Redis nor sockets.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { JoinLeaveFrame } from '../../shared/protocol.ts';
import type { Identity } from '../auth/grants.ts';
import { BackplaneError } from '../backplane/backplane.ts';
import type { PresenceListener, PresencePage, PresenceStore } from '../backplane/presence.ts';
import type { Dialect, Frame } from '../protocol/dialect.ts';
import type { Events } from '../telemetry/events.ts';
import type { Faults } from '../telemetry/faults.ts';
import type { Access } from './access.ts';
import type { Backpressure } from './backpressure.ts';
import { type Fanout, type Listener, presenceTopic } from './fanout.ts';
import { PresenceRoom } from './presence-room.ts';

/** What presence needs of a connection. */
export interface PresenceConnection extends Listener {
  readonly id: string;
  readonly identity: Identity | undefined;
  /** It is closed and in no room. */
  readonly closing: boolean;
}

interface Parts {
  store: PresenceStore;
  access: Access;
  backpressure: Backpressure;
  fanout: Fanout;
  events: Events;
  faults: Faults;
}

/** One page of members. It must fit into the buffer of the connection that asked. */
const maxPageBytes = 262_144;
/** Sum of the limits of all pages in flight. It bounds the memory of the pages. */
const maxRequestedMembers = 100_000;
/**
 * After an outage: rooms per batch of syncs, and ms between batches, so that Redis and the connection to it keep up.
 */
const syncsPerBatch = 50;
const syncBatchMs = 10;
const closeTimeoutMs = 2_000;
/**
 * While this node drains, an ended connection stays present this long. Its client's new node writes it within
 * `writeIntervalMs`; the rest is reserve for a slow Redis and for crowds.
 */
const movedMs = 1_000;
/**
 * A user stays present this long between two brief connections. As long as the members of a dead node stay
 * (gateway/redis/presence/presence.ts).
 */
export const awayMs = 10_000;
/** Users who are away, over all rooms. Further ones leave at once. */
const maxAway = 10_000;
/**
 * Audit: every room is synced once per this many intervals, because a failed write may still take effect much later.
 */
const auditsPerRound = 60;
const auditIntervalMs = 1_000;

export class Presence implements PresenceListener {
  readonly #parts: Parts;
  readonly #rooms = new Map<string, PresenceRoom<PresenceConnection>>();
  readonly #audit: NodeJS.Timeout;
  /** Rooms left in the current round of audits. */
  #toAudit: PresenceRoom<PresenceConnection>[] = [];
  #auditNumber = 0;
  #requestedMembers = 0;
  #draining = false;
  /** Users between two brief connections, by room and user. */
  readonly #away = new Map<
    string,
    { connection: string; room: PresenceRoom<PresenceConnection>; timer: NodeJS.Timeout }
  >();
  /** Resolves when every connection that ended during the drain has left its room. */
  #lastDeparture = Promise.resolve();
  #closed = false;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#audit = setInterval(() => this.#auditSome(), auditIntervalMs).unref();
  }

  /**
   * A counter of the room: `join` and `leave` frames fanned out, plus times that frames may have been missed. A
   * detached member compares it: if it is unchanged, the member missed no frame.
   */
  changesSeen(room: string): number {
    return this.#rooms.get(room)?.changesSeen ?? 0;
  }

  /** `join` and `leave` frames of the room may not have reached this node. The live members have got a `gap`. */
  changesMissed(name: string): void {
    const room = this.#rooms.get(name);
    if (room !== undefined) room.changesSeen++;
  }

  /** The members of the room and the count of its users disagreed: those of this node may be missing in the store. */
  recounted(name: string): void {
    this.#rooms.get(name)?.syncAfter(0);
  }

  /**
   * The connection has joined the room, or its identity has changed. `info`: in place of that of its identity. A brief
   * connection without a user is not present: nothing tells that the next one is of the same client.
   */
  enter(name: string, member: PresenceConnection, info?: string): void {
    const { identity, id: connection, dialect } = member;
    const { presence, joinLeave } = this.#parts.access.rule(name);
    if ((!presence && !joinLeave) || (dialect.brief && identity?.user === null)) return;
    const room = this.#rooms.get(name) ?? this.#open(name);
    if (identity === undefined) return;
    room?.enter({ connection, user: identity.user, info: info ?? identity.info }, member);
    // Afterwards: the user was never gone.
    if (this.#away.size > 0 && identity.user !== null) this.#endAway(keyOfAway(name, identity.user));
  }

  leave(name: string, connection: string): void {
    this.#rooms.get(name)?.leave(connection);
  }

  /**
   * The connection has ended. During a drain its client has probably moved to another node: it stays present for
   * `movedMs`, so that no `leave` is sent in between.
   */
  disconnected(name: string, connection: string): void {
    const room = this.#rooms.get(name);
    if (room === undefined) return;
    if (!this.#draining) room.leave(connection);
    else {
      // Timers of equal length fire in the order they were set, so the last departure is enough to wait for.
      this.#lastDeparture = new Promise((resolve) => {
        setTimeout(() => resolve(room.leave(connection)), movedMs);
      });
    }
  }

  /** A brief connection has ended, and its client will be back, here or on another node: the user stays for `awayMs`. */
  away(name: string, { id: connection, identity }: PresenceConnection): void {
    const room = this.#rooms.get(name);
    const user = identity?.user ?? null;
    if (room === undefined || user === null || this.#draining || this.#away.size >= maxAway) {
      this.disconnected(name, connection);
      return;
    }
    const key = keyOfAway(name, user);
    this.#endAway(key);
    const timer = setTimeout(() => this.#endAway(key), awayMs);
    this.#away.set(key, { connection, room, timer });
  }

  #endAway(key: string): void {
    const away = this.#away.get(key);
    if (away === undefined) return;
    this.#away.delete(key);
    clearTimeout(away.timer);
    away.room.leave(away.connection);
  }

  /** The node drains: from now on `disconnected` means that the client has probably moved. */
  drain(): void {
    this.#draining = true;
  }

  /**
   * A page of the room's members on all nodes, after this node's changes are written. Rejects with a BackplaneError.
   */
  async page(name: string, { after, limit }: { after: string | undefined; limit: number }): Promise<PresencePage> {
    if (this.#requestedMembers + limit > maxRequestedMembers) {
      throw new BackplaneError('unavailable', 'too many questions about presence are waiting on this node');
    }
    this.#requestedMembers += limit;
    try {
      await this.#rooms.get(name)?.written();
      const maxBytes = Math.min(maxPageBytes, this.#parts.backpressure.softBytes);
      return await this.#parts.store.page(name, { after, limit, maxBytes });
    } finally {
      this.#requestedMembers -= limit;
    }
  }

  changed(frame: JoinLeaveFrame): void {
    const room = this.#rooms.get(frame.room);
    if (room === undefined || room.members.size === 0) return;
    const send = this.#parts.fanout.prepare(presenceTopic(frame.room), frame, room.members.size);
    room.changesSeen++;
    if (frame.type === 'join') this.#fanOutJoin(room, frame, send);
    else send();
  }

  outOfSync(): void {
    let count = 0;
    for (const room of this.#rooms.values()) room.syncAfter(Math.floor(count++ / syncsPerBatch) * syncBatchMs);
  }

  reaped(members: number): void {
    this.#parts.events.membersReaped(members);
  }

  /** To be called when no member is left, before the store is closed. Others reap what is not written in `closeTimeoutMs`. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#audit);
    for (const key of this.#away.keys()) this.#endAway(key);
    await this.#lastDeparture;
    const written = Promise.allSettled([...this.#rooms.values()].map((room) => room.written()));
    await Promise.race([written, delay(closeTimeoutMs, undefined, { ref: false })]);
    for (const room of this.#rooms.values()) room.end();
  }

  #auditSome(): void {
    if (this.#auditNumber === 0) this.#toAudit = [...this.#rooms.values()];
    const share = Math.ceil(this.#toAudit.length / (auditsPerRound - this.#auditNumber));
    this.#auditNumber = (this.#auditNumber + 1) % auditsPerRound;
    for (const room of this.#toAudit.splice(0, share)) room.syncAfter(0);
  }

  #open(name: string): PresenceRoom<PresenceConnection> | undefined {
    const { faults, store } = this.#parts;
    if (this.#closed) return undefined;
    const room = new PresenceRoom<PresenceConnection>(name, store, faults, () => this.#rooms.delete(name));
    this.#rooms.set(name, room);
    return room;
  }

  /** A member that the frame names gets the frame without itself, or none if it is the only one named. */
  #fanOutJoin(room: PresenceRoom<PresenceConnection>, frame: JoinLeaveFrame, send: () => void): void {
    const { fanout } = this.#parts;
    const topic = presenceTopic(room.name);
    const indexOf = new Map(frame.members.map((member, index) => [keyOf(member), index]));
    const joined: { connection: PresenceConnection; index: number }[] = [];
    for (const { present, member: connection } of room.members.values()) {
      const { user, connection: id } = present;
      const index = indexOf.get(keyOf(user === null ? { connection: id } : { user }));
      if (index === undefined || connection.closing || !fanout.isListening(topic, connection)) continue;
      fanout.unlisten(topic, connection);
      joined.push({ connection, index });
    }
    send();
    for (const { connection } of joined) if (!connection.closing) fanout.listen(topic, connection);
    if (frame.members.length === 1) return;
    const ofOthers = new Map<Dialect, (index: number) => Frame>();
    for (const { connection, index } of joined) {
      const { dialect } = connection;
      const encode = ofOthers.get(dialect) ?? dialect.joinOfOthers(frame);
      ofOthers.set(dialect, encode);
      connection.send(encode(index));
    }
  }
}

function keyOf(member: JoinLeaveFrame['members'][number]): string {
  return 'user' in member ? `user ${member.user}` : `connection ${member.connection}`;
}

/** A room name has no line feed. */
function keyOfAway(room: string, user: string): string {
  return `${room}\n${user}`;
}
