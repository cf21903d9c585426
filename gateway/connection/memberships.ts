/**
 * The rooms of one connection.
 *
 * Owns which memberships there are: it makes one for a `subscribe` that is allowed, and ends it. Requests for a room that is
 * being joined are held until it is known how that ended. What happens in between is gateway/connection/membership.ts.
 */
import type { FrameId, UnsubscribedFrame } from '../../shared/protocol.ts';
import { forbidden } from '../operations/caller.ts';
import { Refusal, refusalOf } from '../operations/refusal.ts';
import type { RoomRequest, SubscribeRequest } from '../protocol/request.ts';
import type { PresenceConnection } from '../rooms/presence.ts';
import type { SlowPolicy } from '../telemetry/metrics.ts';
import { Membership, type MembershipParts, noneWaiting, type Subscriber } from './membership.ts';

/** The connection that the memberships are of. */
export interface MembershipsOwner extends Subscriber, PresenceConnection {
  refuse(id: FrameId | undefined, refusal: Refusal): void;
  /** A request that was held takes effect. */
  release(request: RoomRequest): void;
}

export interface MembershipsParts extends MembershipParts {
  config: { maxRoomsPerConnection: number };
}

/** One for all: each scrape asks every connection, and hardly any is slow. */
const none: ReadonlySet<SlowPolicy> = new Set();

export class Memberships {
  readonly #owner: MembershipsOwner;
  readonly #parts: MembershipsParts;
  // Most connections are in one room, and a map is larger than all else that is kept of them.
  #one: Membership | undefined;
  #others: Map<string, Membership> | undefined;

  constructor(owner: MembershipsOwner, parts: MembershipsParts) {
    this.#owner = owner;
    this.#parts = parts;
  }

  get size(): number {
    return (this.#one === undefined ? 0 : 1) + (this.#others?.size ?? 0);
  }

  /** True if a room of this connection wants slow readers closed. */
  get closesSlow(): boolean {
    for (const { room } of this.#all()) if (room.slow === 'close') return true;
    return false;
  }

  /** The rules by which rooms of this connection are off the live path now. */
  slowPolicies(): ReadonlySet<SlowPolicy> {
    let policies = none;
    for (const { slowBy } of this.#all()) if (slowBy !== undefined) policies = new Set(policies).add(slowBy);
    return policies;
  }

  has(room: string): boolean {
    return this.#of(room) !== undefined;
  }

  /** True while requests for this room have to wait. */
  isJoining(room: string): boolean {
    return this.#of(room)?.joining ?? false;
  }

  /** Keeps a request until the joining of its room has ended. */
  enqueue(request: RoomRequest): void {
    const membership = this.#of(request.room);
    if (membership === undefined) return;
    if (membership.waiting === noneWaiting) membership.waiting = [];
    membership.waiting.push(request);
  }

  subscribe(request: SubscribeRequest): void {
    const { id, room: name, since } = request;
    const most = this.#parts.config.maxRoomsPerConnection;
    if (!this.#owner.maySubscribe(name)) this.#owner.refuse(id, forbidden('subscribe'));
    else if (this.has(name)) {
      this.#owner.reply({ type: 'ok', id, room: name, recovered: since === undefined ? undefined : false });
    } else if (most > 0 && this.size >= most) {
      this.#owner.refuse(id, new Refusal('limit_exceeded', `At most ${most} rooms; unsubscribe from one first.`));
    } else this.#join(request);
  }

  unsubscribe(id: FrameId, name: string): void {
    // The answer goes first: it takes along what was fanned out in this turn before the member leaves.
    this.#owner.reply({ type: 'ok', id });
    this.#leave(name);
  }

  /**
   * Leaves the rooms that the identity is no longer allowed in, and those whose rule has made them another kind of room.
   * Those being joined look for themselves.
   */
  revoke(): void {
    for (const { joining, room } of this.#all()) {
      const allowed = this.#owner.maySubscribe(room.name);
      if (joining || (allowed && !room.replaced)) continue;
      this.#expel(room.name, allowed ? 'changed' : 'revoked');
    }
  }

  /** Takes the connection out of a room and joinLeave it so. False if it is no member, or only joining. */
  expel(room: string): boolean {
    const membership = this.#of(room);
    if (membership === undefined || membership.joining) return false;
    this.#expel(room, 'revoked');
    return true;
  }

  #expel(room: string, reason: UnsubscribedFrame['reason']): void {
    this.#leave(room);
    this.#owner.reply({ type: 'unsubscribed', room, reason });
  }

  /** Shows in every room who the connection now speaks for. */
  reenter(): void {
    for (const { joining, room } of this.#all()) if (!joining) this.#parts.presence.enter(room.name, this.#owner);
  }

  /** The connection takes part in nothing any more. */
  leaveAll(): void {
    for (const membership of this.#all()) {
      membership.leave();
      this.#parts.presence.disconnected(membership.room.name, this.#owner.id);
    }
    this.#one = undefined;
    this.#others = undefined;
  }

  /** The reader is too slow: no more messages from here on. */
  stall(): void {
    for (const membership of this.#all()) membership.stall();
  }

  /** The reader has read: room by room it goes on where it was. */
  drained(): void {
    for (const membership of this.#all()) {
      // Going on may fill the buffer again; the rest then waits for the next time.
      if (!this.#owner.live) return;
      membership.drained();
    }
  }

  #join(request: SubscribeRequest): void {
    const { faults, hub } = this.#parts;
    const { id, room: name } = request;
    const room = hub.join(name);
    const membership = new Membership(room, this.#owner, this.#parts);
    this.#add(membership);
    const failed = (refusal: Refusal) => {
      if (this.#of(name) !== membership) return;
      this.#leave(name);
      this.#owner.refuse(id, refusal);
      this.#release(membership);
    };
    const joined = () => {
      // The answer may have been one frame too many, and have closed the connection.
      if (this.#of(name) === membership) this.#parts.presence.enter(name, this.#owner);
      this.#release(membership);
    };
    hub
      .subscribed(room)
      .then(
        () => membership.begin({ request, joined, failed }),
        (error: unknown) => failed(refusalOf(faults, 'subscribing failed', error, { again: 'subscribe again' })),
      )
      .catch((error: unknown) => this.#owner.fail(error));
  }

  #leave(room: string): void {
    this.#of(room)?.leave();
    this.#remove(room);
    this.#parts.presence.leave(room, this.#owner.id);
  }

  #of(room: string): Membership | undefined {
    return this.#one?.room.name === room ? this.#one : this.#others?.get(room);
  }

  #add(membership: Membership): void {
    if (this.#one === undefined) this.#one = membership;
    else {
      this.#others ??= new Map();
      this.#others.set(membership.room.name, membership);
    }
  }

  #remove(room: string): void {
    if (this.#one?.room.name === room) this.#one = undefined;
    else this.#others?.delete(room);
  }

  /** As of now: whoever goes through it may join and leave. */
  #all(): Membership[] {
    const one = this.#one === undefined ? [] : [this.#one];
    return this.#others === undefined ? one : [...one, ...this.#others.values()];
  }

  #release(membership: Membership): void {
    const { waiting } = membership;
    membership.waiting = noneWaiting;
    for (const request of waiting) this.#owner.release(request);
  }
}
