/**
 * The rooms of one connection.
 *
 * Owns the list of memberships: it creates one for each allowed `subscribe`, and ends it. Requests for a room wait until the
 * operator's backend has answered and the joining has ended. The life of one membership is
 * gateway/connection/membership.ts.
 */
import type { FrameId, UnsubscribedFrame } from '../../shared/protocol.ts';
import { type Authorised, type AuthoriseParts, authorise, byRule } from '../operations/authorise.ts';
import { type Client, may } from '../operations/caller.ts';
import { Refusal, refusalOf } from '../operations/refusal.ts';
import type { Holder, Renewals } from '../operations/renewals.ts';
import type { GapReply } from '../protocol/reply.ts';
import type { SubscribeRequest } from '../protocol/request.ts';
import type { PresenceConnection } from '../rooms/presence.ts';
import type { SlowPolicy } from '../telemetry/gauges.ts';
import type { RoomOrder } from './inbox.ts';
import { type JoinRequest, Membership, type MembershipParts, type Subscriber } from './membership.ts';

/** What memberships need of their connection. */
export interface MembershipsOwner extends Client, Subscriber, PresenceConnection {
  readonly id: string;
  refuse(id: FrameId | undefined, refusal: Refusal): void;
  readonly inbox: RoomOrder;
  handle(request: SubscribeRequest): void;
}

export interface MembershipsParts extends MembershipParts, AuthoriseParts {
  config: AuthoriseParts['config'] & { maxRoomsPerConnection: number };
  renewals: Renewals<Membership>;
}

/** Shared by all connections, so that a scrape allocates nothing for a connection that is not slow. */
const none: ReadonlySet<SlowPolicy> = new Set();

export class Memberships implements Holder<Membership> {
  readonly #owner: MembershipsOwner;
  readonly #parts: MembershipsParts;
  // Most connections are in one room, and a map would be the largest part of their memory.
  #one: Membership | undefined;
  #others: Map<string, Membership> | undefined;

  constructor(owner: MembershipsOwner, parts: MembershipsParts) {
    this.#owner = owner;
    this.#parts = parts;
  }

  get size(): number {
    return (this.#one === undefined ? 0 : 1) + (this.#others?.size ?? 0);
  }

  /** True if the slow rule of any of its rooms is `close`. */
  get closesSlow(): boolean {
    for (const { room } of this.#all()) if (room.slow === 'close') return true;
    return false;
  }

  /** The slow rules of the rooms in which this connection is detached now because it reads too slowly. */
  slowPolicies(): ReadonlySet<SlowPolicy> {
    let policies = none;
    for (const { slowBy } of this.#all()) if (slowBy !== undefined) policies = new Set(policies).add(slowBy);
    return policies;
  }

  has(room: string): boolean {
    return this.#of(room) !== undefined;
  }

  /** True while the room is being joined: requests for it have to wait. */
  isJoining(room: string): boolean {
    return this.#of(room)?.joining ?? false;
  }

  subscribe(request: SubscribeRequest): void {
    const { id, room: name, since } = request;
    const there = this.#of(name);
    if (there !== undefined && this.#owner.dialect.gapEndsMembership === true) {
      this.#leave(name);
      if (there.granted) {
        this.#join(request).granted = true;
        return;
      }
    } else if (there !== undefined) {
      this.#owner.reply({ type: 'ok', id, room: name, recovered: since === undefined ? undefined : false });
      return;
    }
    if (this.#isFull && this.#asks(name)) {
      this.#owner.refuse(id, this.#tooMany());
      return;
    }
    const authorised = authorise(this.#parts, this.#owner, 'subscribe', name);
    if (authorised instanceof Promise) this.#subscribeOnceAnswered(authorised, request);
    else this.#subscribeAs(authorised, request);
  }

  #subscribeOnceAnswered(authorised: Promise<Authorised>, request: SubscribeRequest): void {
    const { room: name } = request;
    this.#owner.inbox.asks(name);
    authorised
      .then((settled) => {
        if (!this.#owner.closing) this.#subscribeAs(settled, request);
        this.#owner.inbox.answered(name);
      })
      .catch((error: unknown) => this.#owner.fail(error));
  }

  #subscribeAs(authorised: Authorised, request: SubscribeRequest): void {
    const { id, room: name } = request;
    // The server has subscribed it meanwhile: it waits for the end of that.
    if (this.has(name)) this.#owner.handle(request);
    else if (authorised instanceof Refusal) this.#owner.refuse(id, authorised);
    else if (this.#isFull) this.#owner.refuse(id, this.#tooMany());
    else this.#join(request).permit = authorised;
  }

  /** Neither a rule nor the token decides about the room. */
  #asks(room: string): boolean {
    return may(this.#parts.access, this.#owner, 'subscribe', room) === 'ask';
  }

  #tooMany(): Refusal {
    const most = this.#parts.config.maxRoomsPerConnection;
    return new Refusal('limit_exceeded', `At most ${most} rooms; unsubscribe from one first.`);
  }

  get #isFull(): boolean {
    const most = this.#parts.config.maxRoomsPerConnection;
    return most > 0 && this.size >= most;
  }

  /**
   * Makes it a member on behalf of the server, whatever its rights, and sends `subscribed`. A member stays one without a
   * frame, and needs no right any more. Resolves with false if it has too many rooms, speaks a dialect with one room only, or
   * could not join.
   */
  async admit(name: string): Promise<boolean> {
    const there = this.#of(name);
    const { closing, dialect } = this.#owner;
    if (there === undefined && (closing || dialect.oneRoom || this.#isFull)) return false;
    const membership = there ?? this.#join({ id: undefined, room: name, since: undefined });
    membership.granted = true;
    membership.kicked = false;
    if (membership.joining) {
      const others = membership.onJoiningEnded;
      await new Promise<void>((resolve) => {
        membership.onJoiningEnded = () => {
          others();
          resolve();
        };
      });
    }
    return this.#of(name) === membership;
  }

  unsubscribe(id: FrameId, name: string): void {
    // The answer goes first: it flushes the frames that were fanned out earlier in this turn.
    this.#owner.reply({ type: 'ok', id });
    this.#leave(name);
  }

  /**
   * Leaves rooms that the identity may no longer subscribe to, and rooms that new rules have replaced. A room that is
   * being joined is checked at the end of the joining.
   */
  revoke(): void {
    for (const membership of this.#all()) {
      const { granted, joining, room } = membership;
      const allowed = granted || this.#owner.maySubscribe(room.name);
      if (joining) continue;
      if (allowed && !room.replaced) this.#watch(membership);
      else this.#expel(room.name, allowed ? 'changed' : 'revoked');
    }
  }

  /** The permit of a member ends: has the operator's backend asked again then, or now if it was never asked. */
  #watch(membership: Membership): void {
    const { granted, permit, room } = membership;
    if (granted || !this.#asks(room.name)) {
      if (permit === byRule) return;
      membership.permit = byRule;
      this.#parts.renewals.delete(membership);
      return;
    }
    if (permit === byRule) membership.permit = { ...byRule, until: performance.now() };
    if (Number.isFinite(membership.permit.until)) this.#parts.renewals.add(membership, this);
  }

  /** Its user is another one: what the operator's backend said of the one before does not hold. */
  userChanged(): void {
    for (const membership of this.#all()) {
      this.#parts.renewals.delete(membership);
      membership.permit = byRule;
      if (!membership.joining) this.#watch(membership);
    }
    this.reenter();
  }

  // Called by the renewals

  askAgain({ granted, room }: Membership): Authorised | Promise<Authorised> {
    return granted ? byRule : authorise(this.#parts, this.#owner, 'subscribe', room.name);
  }

  renewed(membership: Membership): void {
    this.#enter(membership);
  }

  ended({ room }: Membership): void {
    this.#expel(room.name, 'revoked');
  }

  fail(error: unknown): void {
    this.#owner.fail(error);
  }

  /**
   * Leaves a room on behalf of the server, and sends `unsubscribed`; if it is joining, after the answer to that. False if it
   * is no member.
   */
  kick(room: string): boolean {
    const membership = this.#of(room);
    if (membership?.joining) membership.kicked = true;
    else if (membership !== undefined) this.#expel(room, 'kicked');
    return membership !== undefined;
  }

  /** For a dialect that has its clients subscribe again behind a gap. */
  endByGap(gap: GapReply): void {
    const frame = this.#owner.dialect.encode(gap);
    if (frame.length === 0 || !this.has(gap.room)) return;
    // The frame goes first: it flushes those that were fanned out earlier in this turn.
    this.#owner.send(frame);
    this.#leave(gap.room);
  }

  #expel(room: string, reason: UnsubscribedFrame['reason']): void {
    this.#leave(room);
    this.#owner.reply({ type: 'unsubscribed', room, reason });
  }

  /** Updates presence in all rooms after a change of identity. */
  reenter(): void {
    for (const membership of this.#all()) if (!membership.joining) this.#enter(membership);
  }

  #enter({ permit, room }: Membership): void {
    this.#parts.presence.enter(room.name, this.#owner, permit.info);
  }

  /** The connection has ended: leaves all rooms. `done`: it has served its purpose. */
  leaveAll(done = false): void {
    const { presence } = this.#parts;
    for (const membership of this.#all()) {
      this.#parts.renewals.delete(membership);
      membership.leave();
      if (done && this.#owner.dialect.brief) presence.away(membership.room.name, this.#owner);
      else presence.disconnected(membership.room.name, this.#owner.id);
    }
    this.#one = undefined;
    this.#others = undefined;
  }

  /** The connection reads too slowly: detaches it from the fan-out of all rooms. */
  stall(): void {
    for (const membership of this.#all()) membership.stall();
  }

  /** The buffer has room again: continues room by room. */
  drained(): void {
    for (const membership of this.#all()) {
      // This may fill the buffer again; then the other rooms wait for the next call.
      if (!this.#owner.live) return;
      membership.drained();
    }
  }

  #join(request: JoinRequest): Membership {
    const { faults, hub } = this.#parts;
    const { id, room: name } = request;
    const room = hub.join(name);
    const membership = new Membership(room, this.#owner, this.#parts);
    this.#add(membership);
    const failed = (refusal: Refusal) => {
      if (this.#of(name) !== membership) return;
      this.#leave(name);
      if (id !== undefined) this.#owner.refuse(id, refusal);
      this.#release(membership);
    };
    const joined = () => {
      // The answer may have overfilled the buffer and closed the connection.
      if (this.#of(name) === membership && membership.kicked) this.#expel(name, 'kicked');
      else if (this.#of(name) === membership) {
        this.#watch(membership);
        this.#enter(membership);
      }
      this.#release(membership);
    };
    hub
      .subscribed(room)
      .then(
        () => membership.begin({ request, joined, failed }),
        (error: unknown) => failed(refusalOf(faults, 'subscribing failed', error, { again: 'subscribe again' })),
      )
      .catch((error: unknown) => this.#owner.fail(error));
    return membership;
  }

  #leave(room: string): void {
    const membership = this.#of(room);
    if (membership !== undefined) this.#parts.renewals.delete(membership);
    membership?.leave();
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

  /** A copy, so that a loop over it may add and remove memberships. */
  #all(): Membership[] {
    const one = this.#one === undefined ? [] : [this.#one];
    return this.#others === undefined ? one : [...one, ...this.#others.values()];
  }

  #release(membership: Membership): void {
    membership.onJoiningEnded();
    this.#owner.inbox.joinEnded(membership.room.name);
  }
}
