/**
 * Presence on this node: its members of rooms that have presence, what they are told about who comes and goes, and what
 * they are answered.
 *
 * Owns which rooms have presence and the topic of their `join` and `leave` frames. Who is there on all nodes is known to
 * the store alone (gateway/backplane/presence.ts); bringing it up to this node's members is gateway/rooms/presence-room.ts. It
 * knows neither Redis nor sockets.
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

/** A connection, as far as presence goes. */
export interface PresenceConnection extends Listener {
  readonly id: string;
  readonly identity: Identity | undefined;
  /** It takes part in nothing any more. */
  readonly closing: boolean;
}

export interface PresenceParts {
  store: PresenceStore;
  access: Access;
  backpressure: Backpressure;
  fanout: Fanout;
  events: Events;
  faults: Faults;
}

/** An answer, and what it takes of the asking connection's buffer. */
const maxAnswerBytes = 262_144;
/** Members that all questions under way together may ask for: it bounds the memory of their answers. */
const maxAskedFor = 100_000;
/** After an outage rooms are synced at this pace, so that Redis and the connection to it keep up. */
const syncsPerStep = 50;
const syncStepMs = 10;
const closeTimeoutMs = 2_000;
/** The node that a client has moved to writes so within `writeIntervalMs`; the rest is for Redis, and for crowds. */
const movedMs = 1_000;
/** Every room is synced about once in so many steps, whatever is known: a write may take effect long after it failed. */
const auditSteps = 60;
const auditStepMs = 1_000;

export class Presence implements PresenceListener {
  readonly #parts: PresenceParts;
  readonly #rooms = new Map<string, PresenceRoom<PresenceConnection>>();
  readonly #audit: NodeJS.Timeout;
  /** Rooms that this round of audits has still to come to. */
  #toAudit: PresenceRoom<PresenceConnection>[] = [];
  #auditStep = 0;
  #askedFor = 0;
  #draining = false;
  /** Resolves when everybody who is gone is taken out. */
  #takenOut = Promise.resolve();
  #closed = false;

  constructor(parts: PresenceParts) {
    this.#parts = parts;
    this.#audit = setInterval(() => this.#auditSome(), auditStepMs).unref();
  }

  /**
   * How many join and leave frames of the room this node has handed out since it has members there, or how often it may
   * have missed some. For one that was away: if it is the same as before, nothing passed by.
   */
  changesSeen(room: string): number {
    return this.#rooms.get(room)?.changesSeen ?? 0;
  }

  /** Join and leave frames of the room may not have reached this node. Its live members have been told. */
  missed(name: string): void {
    const room = this.#rooms.get(name);
    if (room !== undefined) room.changesSeen++;
  }

  /** The member is in the room now, or its identity has changed. */
  enter(name: string, member: PresenceConnection): void {
    const { identity, id: connection } = member;
    const { presence, joinLeave } = this.#parts.access.rule(name);
    if (!presence && !joinLeave) return;
    const room = this.#rooms.get(name) ?? this.#open(name);
    if (identity !== undefined) room?.enter({ connection, user: identity.user, info: identity.info }, member);
  }

  leave(name: string, connection: string): void {
    this.#rooms.get(name)?.leave(connection);
  }

  /** The connection has ended. In a drain its client has probably moved, and must not seem to have left in between. */
  gone(name: string, connection: string): void {
    const room = this.#rooms.get(name);
    if (room === undefined) return;
    if (!this.#draining) room.leave(connection);
    else {
      // Timers of equal length fire in the order in which they were set: the last one is the last.
      this.#takenOut = new Promise((resolve) => {
        setTimeout(() => resolve(room.leave(connection)), movedMs);
      });
    }
  }

  /** From now on clients move to other nodes, and leave this one when they are there. */
  drain(): void {
    this.#draining = true;
  }

  /** What all nodes together hold of the room, this node's last changes included. Rejects with a BackplaneError. */
  async page(name: string, { after, limit }: { after: string | undefined; limit: number }): Promise<PresencePage> {
    if (this.#askedFor + limit > maxAskedFor) {
      throw new BackplaneError('unavailable', 'too many questions about presence are waiting on this node');
    }
    this.#askedFor += limit;
    try {
      await this.#rooms.get(name)?.written();
      const maxBytes = Math.min(maxAnswerBytes, this.#parts.backpressure.softBytes);
      return await this.#parts.store.page(name, { after, limit, maxBytes });
    } finally {
      this.#askedFor -= limit;
    }
  }

  changed(frame: JoinLeaveFrame): void {
    const room = this.#rooms.get(frame.room);
    if (room === undefined || room.members.size === 0) return;
    const send = this.#parts.fanout.prepare(presenceTopic(frame.room), frame, room.members.size);
    room.changesSeen++;
    if (frame.type === 'join') this.#tellJoin(room, frame, send);
    else send();
  }

  outOfSync(): void {
    let count = 0;
    for (const room of this.#rooms.values()) room.doubt(Math.floor(count++ / syncsPerStep) * syncStepMs);
  }

  reaped(members: number): void {
    this.#parts.events.membersReaped(members);
  }

  /** To be called when no member is left. What cannot be written within two seconds is reaped by other nodes. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#audit);
    await this.#takenOut;
    const written = Promise.allSettled([...this.#rooms.values()].map((room) => room.written()));
    await Promise.race([written, delay(closeTimeoutMs, undefined, { ref: false })]);
    for (const room of this.#rooms.values()) room.end();
    await this.#parts.store.close();
  }

  #auditSome(): void {
    if (this.#auditStep === 0) this.#toAudit = [...this.#rooms.values()];
    const share = Math.ceil(this.#toAudit.length / (auditSteps - this.#auditStep));
    this.#auditStep = (this.#auditStep + 1) % auditSteps;
    for (const room of this.#toAudit.splice(0, share)) room.doubt(0);
  }

  #open(name: string): PresenceRoom<PresenceConnection> | undefined {
    const { faults, store } = this.#parts;
    if (this.#closed) return undefined;
    const room = new PresenceRoom<PresenceConnection>(name, store, faults, () => this.#rooms.delete(name));
    this.#rooms.set(name, room);
    return room;
  }

  /** Who joined is not told so, but told of the others in the same frame. */
  #tellJoin(room: PresenceRoom<PresenceConnection>, frame: JoinLeaveFrame, send: () => void): void {
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
