/**
 * How the rooms of one connection begin and end: asked for by a request, given by the server, or assigned by the token.
 *
 * Owns the order at the beginning: what a client is told of a room goes before all that comes from the room, and requests for it
 * wait. Whether a client may join is decided in gateway/connection/membership/memberships.ts, which extends this. The life of
 * one membership is gateway/connection/membership/membership.ts.
 */
import { type CloseCode, closeCode } from '../../../shared/codes.ts';
import type { FrameId, Position } from '../../../shared/protocol.ts';
import type { AssignedRoom } from '../../auth/claims.ts';
import { byAssignment } from '../../operations/authorise.ts';
import { type Refusal, refusalOf } from '../../operations/refusal.ts';
import type { Renewals } from '../../operations/renewals.ts';
import type { AssignedReply, UnsubscribedReply } from '../../protocol/reply.ts';
import type { Since } from '../../protocol/request.ts';
import type { PresenceConnection } from '../../rooms/presence.ts';
import type { RoomOrder } from '../inbox.ts';
import { MembershipList } from './list.ts';
import { type Joining, type JoinRequest, Membership, type MembershipParts, type Subscriber } from './membership.ts';

export interface JoinsOwner extends Subscriber, PresenceConnection {
  readonly inbox: RoomOrder;
  refuse(id: FrameId | undefined, refusal: Refusal): void;
  close(code: CloseCode): void;
}

export interface JoinsParts extends MembershipParts {
  renewals: Renewals<Membership>;
}

/** The rooms that a token assigns, all joined and held back: nothing of them is sent before `start`. */
export interface Assigned {
  /** The rule of one of them has changed meanwhile: it can begin no more. */
  readonly outdated: boolean;
  /** What the client is told of each, as of this moment. */
  told(): AssignedReply[];
  /** In the turn of `told`, when that is written. */
  start(): void;
}

interface Held {
  settled(recovered: boolean | undefined, from: Position | undefined): void;
  failed(refusal: Refusal): void;
}

/** A membership that is held back. */
interface HeldMembership {
  membership: Membership;
  data: string | undefined;
  /** The position that its client has, and that it goes on from. */
  from: Position | undefined;
  recovered: boolean | undefined;
}

export abstract class Joins<Owner extends JoinsOwner, Parts extends JoinsParts> extends MembershipList {
  protected readonly owner: Owner;
  protected readonly parts: Parts;

  constructor(owner: Owner, parts: Parts) {
    super();
    this.owner = owner;
    this.parts = parts;
  }

  /** It is a member: from now on the end of its right is waited for. */
  protected abstract watch(membership: Membership): void;

  /**
   * Joins the rooms that the token of the connection assigns, for a client that is in none yet. `since`: the last positions of the
   * client. Rejects with a Refusal if one of them cannot be joined.
   */
  async assign(rooms: readonly AssignedRoom[], since: ReadonlyMap<string, Since> | undefined): Promise<Assigned> {
    const all = await Promise.all(rooms.map((room) => this.#hold(room, since?.get(room.room))));
    return {
      get outdated() {
        return all.some(({ membership }) => membership.room.replaced);
      },
      told: () => all.map(toldOf),
      start: () => {
        for (const { membership, from } of all) {
          membership.start(from);
          this.#joined(membership);
        }
      },
    };
  }

  #hold({ room, info, data }: AssignedRoom, since: Since | undefined): Promise<HeldMembership> {
    return new Promise((resolve, failed) => {
      const settled: Held['settled'] = (recovered, from) => resolve({ membership, data, from, recovered });
      const membership = this.join({ id: undefined, room, since }, { settled, failed });
      membership.permit = info === undefined ? byAssignment : { ...byAssignment, info };
    });
  }

  /** `held`: what the client is told comes later, and from elsewhere. */
  protected join(request: JoinRequest, held?: Held): Membership {
    const { faults, hub } = this.parts;
    const { id, room: name } = request;
    const room = hub.join(name);
    const membership = new Membership(room, this.owner, this.parts);
    this.add(membership);
    const failed = (refusal: Refusal) => {
      if (this.of(name) !== membership) return;
      this.leave(name);
      if (id !== undefined) this.owner.refuse(id, refusal);
      held?.failed(refusal);
      this.#release(membership);
      if (id !== undefined) this.#tellOfLoss(membership);
    };
    const joining: Joining = { request, joined: () => this.#joined(membership), failed, held: held?.settled };
    hub
      .subscribed(room)
      .then(
        () => membership.begin(joining),
        (error: unknown) => failed(refusalOf(faults, 'subscribing failed', error, { again: 'subscribe again' })),
      )
      .catch((error: unknown) => this.owner.fail(error));
    return membership;
  }

  /** Its client has subscribed anew to a room that it was in without asking, and is in it no more: it has to know. */
  #tellOfLoss({ granted, permit, room: { name: room } }: Membership): void {
    if (permit.assigned) this.owner.close(closeCode.insufficientState);
    else if (granted) this.owner.reply({ type: 'unsubscribed', room, reason: 'revoked' });
  }

  #joined(membership: Membership): void {
    const { name } = membership.room;
    // The answer may have overfilled the buffer and closed the connection.
    if (this.of(name) === membership && membership.kicked) this.expel(name, 'kicked');
    else if (this.of(name) === membership) {
      this.watch(membership);
      this.enter(membership);
    }
    this.#release(membership);
  }

  #release(membership: Membership): void {
    membership.onJoiningEnded();
    this.owner.inbox.joinEnded(membership.room.name);
  }

  /** It is present in the room, or present in another way. */
  protected enter({ permit, room }: Membership): void {
    this.parts.presence.enter(room.name, this.owner, permit.info);
  }

  protected leave(room: string): void {
    const membership = this.of(room);
    if (membership !== undefined) this.parts.renewals.delete(membership);
    membership?.leave();
    this.remove(room);
    this.parts.presence.leave(room, this.owner.id);
  }

  protected expel(room: string, reason: UnsubscribedReply['reason']): void {
    this.leave(room);
    this.owner.reply({ type: 'unsubscribed', room, reason });
  }
}

function toldOf({ membership: { room }, data, from, recovered }: HeldMembership): AssignedReply {
  return { room: room.name, ...(from ?? room.feed?.position), recovered, data };
}
