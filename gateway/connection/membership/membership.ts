/**
 * One connection in one room: joining, live, catching up, or stalled.
 *
 * The one owner of this state, from the answer to `subscribe` to the last frame of the room. Live: the room is fanned
 * out to it. Catching up: it resumes or was too slow, and gets history from its cursor on, as fast as it reads; when it
 * reaches the room's position it goes live in the same turn. Stalled: it was too slow, and gets no history; once
 * drained it gets a `gap`, or the latest message, and goes live. Unless it is live, it is detached from the fan-out.
 * Next: gateway/rooms/feed.ts.
 */
import type { FrameId, Position } from '../../../shared/protocol.ts';
import { byRule, type Permit } from '../../operations/authorise.ts';
import { forbidden } from '../../operations/caller.ts';
import { Refusal, refusalOf } from '../../operations/refusal.ts';
import type { GapReply, Reply } from '../../protocol/reply.ts';
import type { Since } from '../../protocol/request.ts';
import { gapFields, isHole, type Step, samePosition } from '../../rooms/continuation.ts';
import type { Follower } from '../../rooms/feed.ts';
import type { Hub, Room } from '../../rooms/hub.ts';
import type { Presence } from '../../rooms/presence.ts';
import type { Events } from '../../telemetry/events.ts';
import type { Faults } from '../../telemetry/faults.ts';
import type { SlowPolicy } from '../../telemetry/gauges.ts';

/** What a membership needs of its connection. */
export interface Subscriber {
  /** False while it is stalled, and once it is closed. */
  readonly live: boolean;
  reply(reply: Reply): void;
  /** A `message` frame of the native dialect. `position`: that of the message, in a room with history. */
  message(frame: Uint8Array, position: Position | undefined): void;
  /** False if `bytes` more of history would overfill the buffer. `drained` is called once it has room again. */
  takes(bytes: number): boolean;
  /** False if rules and token forbid it, and do not leave it to the operator's backend. */
  maySubscribe(room: string): boolean;
  /** Enters or leaves the fan-out of the room. */
  listen(room: Room): void;
  unlisten(room: Room): void;
  /** Reports a fault of the gateway and closes the connection. */
  fail(error: unknown): void;
}

export interface MembershipParts {
  hub: Hub;
  presence: Presence;
  events: Events;
  faults: Faults;
}

export interface JoinRequest {
  /** Of the `subscribe` of the client. Undefined: the server subscribes it. */
  id: FrameId | undefined;
  room: string;
  since: Since | undefined;
  /** See gateway/protocol/request.ts. */
  onlyRecovered?: boolean;
}

/** A join under way. It ends with one call of `joined` or `failed`, unless the membership has ended before. */
export interface Joining {
  request: JoinRequest;
  joined(): void;
  /** The membership has ended. */
  failed(refusal: Refusal): void;
  /**
   * Set: the client is told later, and not by this membership. It stays in the joining until `start`. Called with `recovered`
   * of an `ok`, and if that is true with the position that the client has.
   */
  readonly held?: ((recovered: boolean | undefined, from: Position | undefined) => void) | undefined;
}

const nobodyWaits: () => void = () => undefined;
const nowhere: Position = { epoch: '', offset: 0 };

export class Membership implements Follower {
  readonly room: Room;
  readonly #subscriber: Subscriber;
  readonly #parts: MembershipParts;
  /** What its right rests on. */
  permit: Permit = byRule;
  /** The server has subscribed it: it needs no right of the client. */
  granted = false;
  /** The server has removed it while it was joining: it ends with the joining. */
  kicked = false;
  /** The joining has ended, in one way or another. May be called more than once. */
  onJoiningEnded = nobodyWaits;
  #state: 'joining' | 'live' | 'catching-up' | 'stalled' | 'left' = 'joining';
  /** Set while the feed reads history for a resume. */
  #resumption: Joining | undefined;
  /** In a room with history: the position it has reached. Only kept up to date while it is detached. */
  #cursor = nowhere;
  // The counters of the room (gateway/rooms/hub.ts) and of its presence when it was detached:
  #messageCount = 0;
  #backplaneGaps = 0;
  #changesSeen = 0;

  constructor(room: Room, subscriber: Subscriber, parts: MembershipParts) {
    this.room = room;
    this.#subscriber = subscriber;
    this.#parts = parts;
  }

  /** Its right rests on no rule and on no grant of the token of the connection. */
  get holdsAlone(): boolean {
    return this.granted || this.permit.expiresAt !== undefined;
  }

  get joining(): boolean {
    return this.#state === 'joining';
  }

  get cursor(): Position {
    return this.#cursor;
  }

  get resuming(): boolean {
    return this.#resumption !== undefined;
  }

  /** The slow rule of the room while it is catching up or stalled; otherwise undefined. */
  get slowBy(): SlowPolicy | undefined {
    const { slow } = this.room;
    return (this.#state === 'catching-up' || this.#state === 'stalled') && slow !== 'close' ? slow : undefined;
  }

  /**
   * The room is subscribed: answers the request, after a read of history if it resumes, and goes live or catches up.
   */
  begin(joining: Joining): void {
    const { id, room, since: asked } = joining.request;
    const { feed } = this.room;
    const position = feed?.position;
    const since = asked && { ...asked, epoch: asked.epoch ?? position?.epoch ?? nowhere.epoch };
    if (this.#state === 'left' || this.#refused(joining)) return;
    if (position !== undefined && since !== undefined && !samePosition(since, position)) {
      this.#cursor = since;
      this.#resumption = joining;
      feed?.follow(this);
      return;
    }
    if (since !== undefined && position === undefined && this.#failsUnrecovered(joining)) return;
    if (since !== undefined && position !== undefined) this.#parts.events.resumed('recovered');
    const recovered = since === undefined ? undefined : position !== undefined;
    if (joining.held !== undefined) {
      joining.held(recovered, recovered === true ? position : undefined);
      return;
    }
    const { expiresAt } = this.permit;
    if (id === undefined) this.#subscriber.reply({ type: 'subscribed', room, ...position });
    else this.#subscriber.reply({ type: 'ok', id, room, ...position, recovered, expiresAt });
    this.#startAt(position);
    joining.joined();
  }

  /**
   * Begins what was held, in the turn in which its client is told: behind the position `from` that the client has, or at that of
   * the room.
   */
  start(from: Position | undefined): void {
    if (from === undefined) this.#startAt(this.room.feed?.position);
    else if (!this.#hasLeft()) {
      this.#catchUpFrom(from);
      if (this.#subscriber.live) this.drained();
    }
  }

  /** An exception closes its connection and stays here: the feed has other followers to serve. */
  receive(steps: readonly Step[], caughtUp: boolean): void {
    if (this.#state === 'left') return;
    try {
      this.#receive(steps, caughtUp);
    } catch (error) {
      this.#subscriber.fail(error);
    }
  }

  #receive(steps: readonly Step[], caughtUp: boolean): void {
    const resumption = this.#resumption;
    this.#resumption = undefined;
    if (resumption === undefined) this.#follow(steps, caughtUp);
    else if (!this.#refused(resumption)) {
      const recovered = !steps.some(isHole);
      this.#parts.events.resumed(recovered ? 'recovered' : 'refused');
      if (!recovered && this.#failsUnrecovered(resumption)) return;
      if (resumption.held === undefined) {
        this.#resume(resumption.request, steps, recovered, caughtUp);
        resumption.joined();
      } else resumption.held(recovered, recovered ? this.#cursor : undefined);
    }
  }

  failed(error: unknown): void {
    const resumption = this.#resumption;
    this.#resumption = undefined;
    if (resumption === undefined) return;
    resumption.failed(refusalOf(this.#parts.faults, 'resuming failed', error, { again: 'subscribe again' }));
  }

  /** The connection reads too slowly: detaches it from the fan-out. */
  stall(): void {
    if (this.#state !== 'live') return;
    this.#subscriber.unlisten(this.room);
    this.room.detached++;
    this.#detach();
  }

  /** The buffer of the connection has room again. */
  drained(): void {
    if (this.#state === 'stalled') this.#goLive();
    else if (this.#state === 'catching-up') this.#catchUp();
  }

  /** No frame of the room is sent after this. */
  leave(): void {
    const { room } = this;
    const state = this.#state;
    if (state === 'left') return;
    this.#state = 'left';
    room.feed?.unfollow(this);
    if (state === 'live') this.#subscriber.unlisten(room);
    if (state === 'stalled') this.#parts.events.dropped('slow', room.messageCount - this.#messageCount);
    this.#parts.hub.leave(room, state === 'live');
    this.onJoiningEnded();
  }

  /**
   * Checks again after the wait for the backplane: a new token or new rules may forbid it now. True if it has failed.
   */
  #refused({ request: { room }, failed }: Joining): boolean {
    if (!this.holdsAlone && !this.#subscriber.maySubscribe(room)) failed(forbidden('subscribeAnyMore'));
    else if (this.room.replaced) {
      failed(new Refusal('unavailable', 'The rule of this room has changed at this moment; subscribe again.'));
    } else return false;
    return true;
  }

  /** True if it has failed because its client wants to be no member without what it has missed. */
  #failsUnrecovered({ request, failed }: Joining): boolean {
    if (request.onlyRecovered !== true) return false;
    failed(
      new Refusal('forbidden', 'Messages since that position are not kept: load the state afresh.', {
        finer: 'unrecoverable',
      }),
    );
    return true;
  }

  #resume({ id, room }: JoinRequest, steps: readonly Step[], recovered: boolean, caughtUp: boolean): void {
    const position = recovered ? this.#cursor : this.room.feed?.position;
    this.#subscriber.reply({ type: 'ok', id, room, ...position, recovered, expiresAt: this.permit.expiresAt });
    if (this.#hasLeft()) return;
    if (recovered) {
      this.#catchUpFrom(this.#cursor);
      this.#follow(steps, caughtUp);
    } else this.#startAt(position);
  }

  #catchUpFrom(position: Position): void {
    this.#state = 'catching-up';
    this.#cursor = position;
    this.#changesSeen = this.#parts.presence.changesSeen(this.room.name);
  }

  #follow(steps: readonly Step[], caughtUp: boolean): void {
    if (!this.#sendSteps(steps)) return;
    if (caughtUp) this.#goLive();
    else this.room.feed?.follow(this);
  }

  /** Any frame sent may overfill the buffer and close the connection, and so end this membership. */
  #hasLeft(): boolean {
    return this.#state === 'left';
  }

  /** Starts at the room's position, detached. Goes live now, or once a stalled connection has drained. */
  #startAt(position: Position | undefined): void {
    if (this.#hasLeft()) return;
    this.#detach();
    this.#cursor = position ?? nowhere;
    if (this.#subscriber.live) this.drained();
  }

  #detach(): void {
    const { feed, slow, messageCount, backplaneGaps } = this.room;
    this.#state = slow === 'catch-up' ? 'catching-up' : 'stalled';
    this.#cursor = feed?.position ?? nowhere;
    this.#messageCount = messageCount;
    this.#backplaneGaps = backplaneGaps;
    this.#changesSeen = this.#parts.presence.changesSeen(this.room.name);
  }

  #catchUp(): void {
    const { feed } = this.room;
    if (feed === undefined) return;
    if (feed.position !== undefined && samePosition(this.#cursor, feed.position)) this.#goLive();
    else feed.follow(this);
  }

  /**
   * Sends steps while the connection takes them. False if some are left: then it catches up from its cursor once
   * drained.
   */
  #sendSteps(steps: readonly Step[]): boolean {
    for (const step of steps) {
      if (this.#state !== 'catching-up') return false;
      if (isHole(step)) {
        this.#gap(gapFields(step));
      } else {
        if (!this.#subscriber.takes(step.frame.length)) return false;
        this.#subscriber.message(step.frame, step.position);
        this.#parts.events.fed();
      }
      this.#cursor = step.position;
    }
    return this.#state === 'catching-up' && this.#subscriber.live;
  }

  #goLive(): void {
    const { room } = this;
    const wasStalled = this.#state === 'stalled';
    this.#state = 'live';
    room.detached--;
    this.#subscriber.listen(room);
    if (wasStalled) this.#reportMissed();
    // It missed `join` or `leave` frames. They are not messages, so the count is 0.
    if (this.#parts.presence.changesSeen(room.name) > this.#changesSeen) this.#gap({ reason: 'slow', count: 0 });
  }

  #reportMissed(): void {
    const { name, feed, backplaneGaps, latestFrame, messageCount, slow } = this.room;
    const dropped = messageCount - this.#messageCount;
    if (dropped > 0) this.#parts.events.dropped('slow', dropped);
    const here = feed?.position ?? nowhere;
    const { epoch, offset } = this.#cursor;
    const latest = slow === 'latest' && dropped > 0 ? latestFrame : undefined;
    if (here.epoch !== epoch) {
      this.#gap({ reason: 'epoch', epoch: here.epoch, offset: latest === undefined ? here.offset : here.offset - 1 });
    } else if (latest === undefined && here.offset > offset) {
      this.#gap({ reason: 'slow', first: offset + 1, last: here.offset, count: here.offset - offset, ...here });
    } else if (latest === undefined && dropped > 0) this.#gap({ reason: 'slow', count: dropped });
    if (this.#hasLeft()) return;
    if (latest !== undefined) this.#subscriber.message(latest, feed?.position);
    // The hub has counted this gap when it sent it to the live members.
    if (backplaneGaps > this.#backplaneGaps) this.#subscriber.reply({ type: 'gap', room: name, reason: 'backplane' });
  }

  #gap(fields: Omit<GapReply, 'type' | 'room'>): void {
    this.#parts.events.gapTold(fields.reason);
    this.#subscriber.reply({ type: 'gap', room: this.room.name, ...fields });
  }
}
