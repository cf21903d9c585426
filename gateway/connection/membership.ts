/**
 * One connection in one room: joining, live, behind, or aside.
 *
 * The one owner of this state, from the answer to `subscribe` to the last frame of the room. Live: the server fans the
 * room out to it. Behind: it resumes or was too slow, and is given history from its cursor on as it reads, until it has
 * come to the room's position and goes live in the same turn. Aside: it was too slow, and history is not wanted or not
 * there; when it goes on it is told what it missed, or given only the newest. Next: gateway/rooms/feed.ts.
 */
import type { Position } from '../../shared/protocol.ts';
import { forbidden } from '../operations/caller.ts';
import { Refusal, refusalOf } from '../operations/refusal.ts';
import type { GapReply, Reply } from '../protocol/reply.ts';
import type { RoomRequest, SubscribeRequest } from '../protocol/request.ts';
import { gapFields, isHole, type Step, samePosition } from '../rooms/continuation.ts';
import type { Follower } from '../rooms/feed.ts';
import type { Hub, Room } from '../rooms/hub.ts';
import type { Presence } from '../rooms/presence.ts';
import type { Events } from '../telemetry/events.ts';
import type { Faults } from '../telemetry/faults.ts';
import type { SlowPolicy } from '../telemetry/metrics.ts';

/** A connection, as far as one of its memberships goes. */
export interface Subscriber {
  /** False while it is over the soft limit of its outgoing buffer, and when it is closed. */
  readonly live: boolean;
  reply(reply: Reply): void;
  /** A `message` frame of the native dialect. */
  message(frame: Uint8Array): void;
  /** False if `bytes` more of history would overfill the buffer; when it has read, its memberships go on. */
  takes(bytes: number): boolean;
  maySubscribe(room: string): boolean;
  /** Begins to hear what is fanned out to the room, or ends it. */
  listen(room: Room): void;
  unlisten(room: Room): void;
  /** A fault of the gateway in what is done for it. */
  fail(error: unknown): void;
}

export interface MembershipParts {
  hub: Hub;
  presence: Presence;
  events: Events;
  faults: Faults;
}

/** How a joining ends: exactly one of them is called, once. */
export interface Joining {
  request: SubscribeRequest;
  joined(): void;
  /** The membership is over. */
  failed(refusal: Refusal): void;
}

/** One for all: memberships that hold something are rare. */
export const noneWaiting: RoomRequest[] = [];
const nowhere: Position = { epoch: '', offset: 0 };

export class Membership implements Follower {
  readonly room: Room;
  readonly #subscriber: Subscriber;
  readonly #parts: MembershipParts;
  /** Requests that wait until it is known how the joining ended. */
  waiting: RoomRequest[] = noneWaiting;
  #state: 'joining' | 'live' | 'catching-up' | 'stalled' | 'left' = 'joining';
  /** While history is read for it. */
  #resumption: Joining | undefined;
  /** Where it was put aside or has come to, in a room with history. */
  #cursor = nowhere;
  /** The room's messageCount and backplaneGaps when it was put aside. */
  #messageCount = 0;
  #backplaneGaps = 0;
  /** Join and leave frames of the room so far, as of when it left the live path. */
  #changesSeen = 0;

  constructor(room: Room, subscriber: Subscriber, parts: MembershipParts) {
    this.room = room;
    this.#subscriber = subscriber;
    this.#parts = parts;
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

  /** The rule by which it is off the live path now, if it is. */
  get slowBy(): SlowPolicy | undefined {
    const { slow } = this.room;
    return (this.#state === 'catching-up' || this.#state === 'stalled') && slow !== 'close' ? slow : undefined;
  }

  /** The room is subscribed: answers, now or when history was read, and goes live or follows. */
  begin(joining: Joining): void {
    const { id, room, since } = joining.request;
    const { feed } = this.room;
    const position = feed?.position;
    if (this.#state === 'left' || this.#refused(joining)) return;
    if (position !== undefined && since !== undefined && !samePosition(since, position)) {
      this.#cursor = since;
      this.#resumption = joining;
      feed?.follow(this);
      return;
    }
    if (since !== undefined && position !== undefined) this.#parts.events.resumed('recovered');
    const recovered = since === undefined ? undefined : position !== undefined;
    this.#subscriber.reply({ type: 'ok', id, room, ...position, recovered });
    this.#startAt(position);
    joining.joined();
  }

  /** One that fails costs its connection: the feed has others to serve, and would never come back to this one. */
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
      this.#resume(resumption.request, steps, caughtUp);
      resumption.joined();
    }
  }

  failed(error: unknown): void {
    const resumption = this.#resumption;
    this.#resumption = undefined;
    if (resumption === undefined) return;
    resumption.failed(refusalOf(this.#parts.faults, 'resuming failed', error, { again: 'subscribe again' }));
  }

  /** The connection reads too slowly: no more live messages from here on. */
  stall(): void {
    if (this.#state !== 'live') return;
    this.#subscriber.unlisten(this.room);
    this.room.detached++;
    this.#detach();
  }

  /** The connection has read. */
  drained(): void {
    if (this.#state === 'stalled') this.#goLive();
    else if (this.#state === 'catching-up') this.#catchUp();
  }

  /** No frame of the room follows. */
  leave(): void {
    const { room } = this;
    const state = this.#state;
    if (state === 'left') return;
    this.#state = 'left';
    room.feed?.unfollow(this);
    if (state === 'live') this.#subscriber.unlisten(room);
    if (state === 'stalled') this.#parts.events.dropped('slow', room.messageCount - this.#messageCount);
    this.#parts.hub.leave(room, state === 'live');
  }

  /** A refresh, or new rules, may have changed everything while the backplane was asked. */
  #refused({ request: { room }, failed }: Joining): boolean {
    if (!this.#subscriber.maySubscribe(room)) failed(forbidden('subscribeAnyMore'));
    else if (this.room.replaced) {
      failed(new Refusal('unavailable', 'The rule of this room has changed at this moment; subscribe again.'));
    } else return false;
    return true;
  }

  #resume({ id, room, since }: SubscribeRequest, steps: readonly Step[], caughtUp: boolean): void {
    const recovered = !steps.some(isHole);
    this.#parts.events.resumed(recovered ? 'recovered' : 'refused');
    const position = recovered ? since : this.room.feed?.position;
    this.#subscriber.reply({ type: 'ok', id, room, ...position, recovered });
    if (this.#hasLeft()) return;
    if (recovered) {
      this.#state = 'catching-up';
      this.#changesSeen = this.#parts.presence.changesSeen(room);
      this.#follow(steps, caughtUp);
    } else this.#startAt(position);
  }

  #follow(steps: readonly Step[], caughtUp: boolean): void {
    if (!this.#feed(steps)) return;
    if (caughtUp) this.#goLive();
    else this.room.feed?.follow(this);
  }

  /** The answer may have been one frame too many, and have closed the connection. */
  #hasLeft(): boolean {
    return this.#state === 'left';
  }

  /** It is where the room is, off the live path, and goes live as soon as it can. */
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

  /** Gives the connection what it takes. False if that is not all; it goes on from its cursor when it has read. */
  #feed(steps: readonly Step[]): boolean {
    for (const step of steps) {
      if (this.#state !== 'catching-up') return false;
      if (isHole(step)) {
        this.#gap(gapFields(step));
      } else {
        if (!this.#subscriber.takes(step.frame.length)) return false;
        this.#subscriber.message(step.frame);
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
    // No message is missing for that, but who is there may have changed.
    if (this.#parts.presence.changesSeen(room.name) > this.#changesSeen) this.#gap({ reason: 'slow', count: 0 });
  }

  #reportMissed(): void {
    const { name, feed, backplaneGaps, latestFrame, messageCount, slow } = this.room;
    const dropped = messageCount - this.#messageCount;
    if (dropped > 0) this.#parts.events.dropped('slow', dropped);
    const here = feed?.position ?? nowhere;
    const { epoch, offset } = this.#cursor;
    const only = slow === 'latest' && dropped > 0 ? latestFrame : undefined;
    if (here.epoch !== epoch) {
      this.#gap({ reason: 'epoch', epoch: here.epoch, offset: only === undefined ? here.offset : here.offset - 1 });
    } else if (only === undefined && here.offset > offset) {
      this.#gap({ reason: 'slow', first: offset + 1, last: here.offset, count: here.offset - offset, ...here });
    } else if (only === undefined && dropped > 0) this.#gap({ reason: 'slow', count: dropped });
    if (only !== undefined) this.#subscriber.message(only);
    // The node has told it to the live members already, and counted it.
    if (backplaneGaps > this.#backplaneGaps) this.#subscriber.reply({ type: 'gap', room: name, reason: 'backplane' });
  }

  #gap(fields: Omit<GapReply, 'type' | 'room'>): void {
    this.#parts.events.gapTold(fields.reason);
    this.#subscriber.reply({ type: 'gap', room: this.room.name, ...fields });
  }
}
