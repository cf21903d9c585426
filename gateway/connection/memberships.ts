/**
 * The rooms of one connection.
 *
 * Owns which memberships there are: it makes one for a `subscribe` that is allowed, and ends it. Frames for a room that is
 * being joined are held until it is known how that ended. What happens in between is gateway/connection/membership.ts.
 */
import type { FrameId } from '../../shared/protocol.ts';
import { failure, ok, unsubscribed } from '../protocol/answers.ts';
import type { Frame } from '../protocol/frame.ts';
import type { PresentMember } from '../rooms/presence.ts';
import type { SlowPolicy } from '../telemetry/metrics.ts';
import { Membership, nothingHeld, type Reader, type RoomFrame, type SubscribeFrame } from './membership.ts';
import type { Node } from './node.ts';
import { rejection } from './rejection.ts';

/** What memberships need of their connection. */
export interface Member extends Reader, PresentMember {
  /** Takes up a frame that was held. */
  resume(frame: Frame): void;
}

/** One for all: each scrape asks every connection, and hardly any is slow. */
const none: ReadonlySet<SlowPolicy> = new Set();

export class Memberships {
  readonly #member: Member;
  readonly #node: Node;
  // Most connections are in one room, and a map is larger than all else that is kept of them.
  #one: Membership | undefined;
  #others: Map<string, Membership> | undefined;

  constructor(member: Member, node: Node) {
    this.#member = member;
    this.#node = node;
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

  /** True while frames for this room have to wait. */
  isJoining(room: string): boolean {
    return this.#of(room)?.joining ?? false;
  }

  /** Keeps a frame until the joining of its room has ended. */
  hold(frame: RoomFrame): void {
    const membership = this.#of(frame.room);
    if (membership === undefined) return;
    if (membership.held === nothingHeld) membership.held = [];
    membership.held.push(frame);
  }

  subscribe(frame: SubscribeFrame): void {
    const { id, room: name } = frame;
    const most = this.#node.config.maxRoomsPerConnection;
    if (!this.#member.maySubscribe(name)) {
      this.#member.send(
        failure(id, 'forbidden', 'Neither a room rule nor the token allows to subscribe to this room.'),
      );
    } else if (this.has(name)) {
      this.#member.send(ok({ id, room: name, recovered: frame.since === undefined ? undefined : false }));
    } else if (most > 0 && this.size >= most) {
      this.#member.send(failure(id, 'limit_exceeded', `At most ${most} rooms; unsubscribe from one first.`));
    } else this.#join(frame);
  }

  unsubscribe(id: FrameId, name: string): void {
    // The answer goes first: it takes along what was fanned out in this turn before the member leaves.
    this.#member.send(ok({ id }));
    this.#leave(name);
  }

  /**
   * Leaves the rooms that the identity is no longer allowed in, and those whose rule has made them another kind of room.
   * Those being joined look for themselves.
   */
  revoke(): void {
    for (const { joining, room } of this.#all()) {
      const allowed = this.#member.maySubscribe(room.name);
      if (joining || (allowed && !room.outdated)) continue;
      this.#leave(room.name);
      this.#member.send(unsubscribed(room.name, allowed ? 'changed' : 'revoked'));
    }
  }

  /** Shows in every room who the connection now speaks for. */
  reenter(): void {
    for (const { joining, room } of this.#all()) if (!joining) this.#node.presence.enter(room.name, this.#member);
  }

  /** The connection takes part in nothing any more. */
  leaveAll(): void {
    for (const membership of this.#all()) {
      membership.leave();
      this.#node.presence.gone(membership.room.name, this.#member.id);
    }
    this.#one = undefined;
    this.#others = undefined;
  }

  /** The reader is too slow: no more messages from here on. */
  putAside(): void {
    for (const membership of this.#all()) membership.putAside();
  }

  /** The reader has read: room by room it goes on where it was. */
  goOn(): void {
    for (const membership of this.#all()) {
      // Going on may fill the buffer again; the rest then waits for the next time.
      if (!this.#member.live) return;
      membership.goOn();
    }
  }

  #join(frame: SubscribeFrame): void {
    const { faults, hub } = this.#node;
    const { id, room: name } = frame;
    const room = hub.join(name);
    const membership = new Membership(room, this.#member, this.#node);
    this.#add(membership);
    const failed = (answer: string) => {
      if (this.#of(name) !== membership) return;
      this.#leave(name);
      this.#member.send(answer);
      this.#release(membership);
    };
    const joined = () => {
      // The answer may have been one frame too many, and have closed the connection.
      if (this.#of(name) === membership) this.#node.presence.enter(name, this.#member);
      this.#release(membership);
    };
    hub
      .subscribed(room)
      .then(
        () => membership.begin({ frame, joined, failed }),
        (error: unknown) => failed(rejection(faults, 'subscribing failed', error, id, 'subscribe again')),
      )
      .catch((error: unknown) => this.#member.fail(error));
  }

  #leave(room: string): void {
    this.#of(room)?.leave();
    this.#remove(room);
    this.#node.presence.leave(room, this.#member.id);
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
    const { held } = membership;
    membership.held = nothingHeld;
    for (const frame of held) this.#member.resume(frame);
  }
}
