/**
 * The rooms of one connection.
 *
 * Creates a membership for each allowed `subscribe`, and ends it where its right ends. Requests for a room wait until the
 * operator's backend has answered. How a membership begins and ends is gateway/connection/membership/joins.ts.
 */
import { closeCode } from '../../../shared/codes.ts';
import type { FrameId } from '../../../shared/protocol.ts';
import type { AssignedRoom } from '../../auth/claims.ts';
import { type Authorised, type AuthoriseParts, authorise, byAssignment, byRule } from '../../operations/authorise.ts';
import { type Client, forbidden, may } from '../../operations/caller.ts';
import { Refusal } from '../../operations/refusal.ts';
import type { Holder } from '../../operations/renewals.ts';
import { authoriseByToken, type SubscriptionTokenParts } from '../../operations/subscription-token.ts';
import type { GapReply } from '../../protocol/reply.ts';
import type { ChangeRequest, RenewRequest, SubscribeRequest } from '../../protocol/request.ts';
import { Joins, type JoinsOwner, type JoinsParts } from './joins.ts';
import type { Membership } from './membership.ts';

/** What memberships need of their connection. */
export interface MembershipsOwner extends JoinsOwner, Client {
  readonly id: string;
  handle(request: SubscribeRequest): void;
}

export interface MembershipsParts extends JoinsParts, AuthoriseParts, SubscriptionTokenParts {
  config: AuthoriseParts['config'] & { maxRoomsPerConnection: number };
}

export class Memberships extends Joins<MembershipsOwner, MembershipsParts> implements Holder<Membership> {
  has(room: string): boolean {
    return this.of(room) !== undefined;
  }

  /** True while the room is being joined: requests for it have to wait. */
  isJoining(room: string): boolean {
    return this.of(room)?.joining ?? false;
  }

  subscribe(request: SubscribeRequest): void {
    const { id, room: name, since, token } = request;
    const there = this.of(name);
    if (there !== undefined && this.owner.dialect.gapEndsMembership === true) {
      this.leave(name);
      if (there.granted || there.permit.assigned) {
        const anew = this.join(request);
        anew.granted = there.granted;
        anew.permit = there.permit;
        return;
      }
    } else if (there !== undefined) {
      this.owner.reply({ type: 'ok', id, room: name, recovered: since === undefined ? undefined : false });
      return;
    }
    if (this.#isFull && (token !== undefined || this.#asks(name))) {
      this.owner.refuse(id, this.#tooMany());
      return;
    }
    const authorised =
      token === undefined
        ? authorise(this.parts, this.owner, 'subscribe', name)
        : authoriseByToken(this.parts, this.owner, name, token);
    if (authorised instanceof Promise) this.#onceAnswered(authorised, request);
    else this.#subscribeAs(authorised, request);
  }

  /** Requests for the room wait meanwhile. */
  #onceAnswered(authorised: Promise<Authorised>, request: SubscribeRequest | RenewRequest): void {
    const { room: name } = request;
    this.owner.inbox.asks(name);
    authorised
      .then((settled) => {
        if (!this.owner.closing) {
          if (request.type === 'renew') this.#renewAs(settled, request);
          else this.#subscribeAs(settled, request);
        }
        this.owner.inbox.answered(name);
      })
      .catch((error: unknown) => this.owner.fail(error));
  }

  #subscribeAs(authorised: Authorised, request: SubscribeRequest): void {
    const { id, room: name } = request;
    // The server has subscribed it meanwhile: it waits for the end of that.
    if (this.has(name)) this.owner.handle(request);
    else if (authorised instanceof Refusal) this.#refuse(id, authorised);
    else if (this.#isFull) this.owner.refuse(id, this.#tooMany());
    else this.join(request).permit = authorised;
  }

  /** A token that speaks for somebody else ends the connection. */
  #refuse(id: FrameId, refusal: Refusal): void {
    if (refusal.code === 'unauthorized') this.owner.close(closeCode.unauthorized);
    else this.owner.refuse(id, refusal);
  }

  /** A new subscription token for a room that it is in. */
  #renew(request: RenewRequest): void {
    const { id, room, token } = request;
    if (this.has(room)) this.#onceAnswered(authoriseByToken(this.parts, this.owner, room, token), request);
    else this.owner.refuse(id, forbidden('renew'));
  }

  #renewAs(authorised: Authorised, { id, room }: RenewRequest): void {
    const membership = this.of(room);
    if (authorised instanceof Refusal) this.#refuse(id, authorised);
    else if (membership === undefined) this.owner.refuse(id, forbidden('renew'));
    else {
      this.parts.renewals.delete(membership);
      // The token of the connection goes on to give the right.
      const { assigned } = membership.permit;
      membership.permit = assigned ? { ...byAssignment, info: authorised.info } : authorised;
      this.watch(membership);
      this.enter(membership);
      this.owner.reply({ type: 'ok', id, expiresAt: authorised.expiresAt });
    }
  }

  /** Neither a rule nor the token decides about the room. */
  #asks(room: string): boolean {
    return may(this.parts.access, this.owner, 'subscribe', room) === 'ask';
  }

  #tooMany(): Refusal {
    const most = this.parts.config.maxRoomsPerConnection;
    return new Refusal('limit_exceeded', `At most ${most} rooms; unsubscribe from one first.`);
  }

  get #isFull(): boolean {
    const most = this.parts.config.maxRoomsPerConnection;
    return most > 0 && this.size >= most;
  }

  /**
   * Makes it a member on behalf of the server, whatever its rights, and sends `subscribed`. A member stays one without a
   * frame, and needs no right any more. Resolves with false if it has too many rooms, speaks a dialect with one room only, or
   * could not join.
   */
  async admit(name: string): Promise<boolean> {
    const there = this.of(name);
    const { closing, dialect } = this.owner;
    if (there === undefined && (closing || dialect.oneRoom || this.#isFull)) return false;
    const membership = there ?? this.join({ id: undefined, room: name, since: undefined });
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
    return this.of(name) === membership;
  }

  /** A request of a member. */
  change(request: ChangeRequest): void {
    if (request.type === 'renew') this.#renew(request);
    else {
      // The answer goes first: it flushes the frames that were fanned out earlier in this turn.
      this.owner.reply({ type: 'ok', id: request.id });
      this.leave(request.room);
    }
  }

  /**
   * Leaves rooms that the identity may no longer subscribe to, and rooms that new rules have replaced. A room that is
   * being joined is checked at the end of the joining.
   */
  revoke(): void {
    for (const membership of this.all()) {
      const { holdsAlone, joining, permit, room } = membership;
      const allowed = holdsAlone || this.owner.maySubscribe(room.name);
      if (joining) continue;
      if (allowed && !room.replaced) this.watch(membership);
      else if (allowed && permit.assigned) {
        this.owner.close(closeCode.insufficientState);
        return;
      } else this.expel(room.name, allowed ? 'changed' : 'revoked');
    }
  }

  /** The permit of a member ends: has the operator's backend asked again then, or now if it was never asked. */
  protected watch(membership: Membership): void {
    const { granted, permit, room } = membership;
    if (permit.assigned) return;
    const byToken = !granted && permit.expiresAt !== undefined;
    if (!byToken && (granted || !this.#asks(room.name))) {
      if (permit === byRule) return;
      membership.permit = byRule;
      this.parts.renewals.delete(membership);
      return;
    }
    if (permit === byRule) membership.permit = { ...byRule, until: performance.now() };
    if (Number.isFinite(membership.permit.until)) this.parts.renewals.add(membership, this);
  }

  /** Another token of the same user. What it assigns no more is then left by `revoke`, unless there is another right to it. */
  reassign(rooms: readonly AssignedRoom[]): void {
    const infos = new Map(rooms.map(({ room, info }) => [room, info]));
    for (const membership of this.all()) {
      const { permit, room } = membership;
      if (permit.assigned)
        membership.permit = infos.has(room.name) ? { ...byAssignment, info: infos.get(room.name) } : byRule;
    }
  }

  /** Its user is another one: what the operator's backend said of the one before does not hold. */
  userChanged(): void {
    for (const membership of this.all()) {
      if (membership.permit.assigned) continue;
      this.parts.renewals.delete(membership);
      membership.permit = byRule;
      if (!membership.joining) this.watch(membership);
    }
    this.reenter();
  }

  // Called by the renewals

  askAgain({ granted, permit, room }: Membership): Authorised | Promise<Authorised> {
    if (granted) return byRule;
    // The client has brought no new token in time.
    if (permit.expiresAt !== undefined) return forbidden('subscribeAnyMore');
    return authorise(this.parts, this.owner, 'subscribe', room.name);
  }

  renewed(membership: Membership): void {
    this.enter(membership);
  }

  ended({ permit, room }: Membership): void {
    this.expel(room.name, permit.expiresAt === undefined ? 'revoked' : 'expired');
  }

  fail(error: unknown): void {
    this.owner.fail(error);
  }

  /**
   * Leaves a room on behalf of the server, and sends `unsubscribed`; if it is joining, after the answer to that. False if it
   * is no member.
   */
  kick(room: string): boolean {
    const membership = this.of(room);
    if (membership?.joining) membership.kicked = true;
    else if (membership !== undefined) this.expel(room, 'kicked');
    return membership !== undefined;
  }

  /** For a dialect that has its clients subscribe again behind a gap. Rooms that the token assigns come with the connection. */
  endByGap(gap: GapReply): void {
    const frame = this.owner.dialect.encode(gap);
    const membership = this.of(gap.room);
    if (frame.length === 0 || membership === undefined) return;
    if (membership.permit.assigned) {
      this.owner.close(closeCode.insufficientState);
      return;
    }
    // The frame goes first: it flushes those that were fanned out earlier in this turn.
    this.owner.send(frame);
    this.leave(gap.room);
  }

  /** Updates presence in all rooms after a change of identity. */
  reenter(): void {
    for (const membership of this.all()) if (!membership.joining) this.enter(membership);
  }

  /** The connection has ended: leaves all rooms. `done`: it has served its purpose. */
  leaveAll(done = false): void {
    const { presence } = this.parts;
    for (const membership of this.all()) {
      this.parts.renewals.delete(membership);
      membership.leave();
      if (done && this.owner.dialect.brief) presence.away(membership.room.name, this.owner);
      else presence.disconnected(membership.room.name, this.owner.id);
    }
    this.clear();
  }

  /** The connection reads too slowly: detaches it from the fan-out of all rooms. */
  stall(): void {
    for (const membership of this.all()) membership.stall();
  }

  /** The buffer has room again: continues room by room. */
  drained(): void {
    for (const membership of this.all()) {
      // This may fill the buffer again; then the other rooms wait for the next call.
      if (!this.owner.live) return;
      membership.drained();
    }
  }
}
