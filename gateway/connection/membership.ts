/**
 * One connection in one room: joining, live, behind, or aside.
 *
 * The one owner of this state, from the answer to `subscribe` to the last frame of the room. Live: the server fans the
 * room out to it. Behind: it resumes or was too slow, and is given history from its cursor on as it reads, until it has
 * come to the room's position and goes live in the same turn. Aside: it was too slow, and history is not wanted or not
 * there; when it goes on it is told what it missed, or given only the newest. Next: gateway/rooms/feed.ts.
 */
import type { Position } from '../../shared/protocol.ts';
import { failure, type Gap, gap, ok } from '../protocol/answers.ts';
import type { Frame } from '../protocol/frame.ts';
import { isHole, missing, type Step, samePosition } from '../rooms/continuation.ts';
import type { Follower } from '../rooms/feed.ts';
import type { Room } from '../rooms/hub.ts';
import type { SlowPolicy } from '../telemetry/metrics.ts';
import type { Node } from './node.ts';
import { rejection } from './rejection.ts';

export type RoomFrame = Extract<Frame, { room: string }>;
export type SubscribeFrame = Extract<Frame, { type: 'subscribe' }>;

/** What a membership needs of its connection. */
export interface Reader {
  /** False while it is over the soft limit of its outgoing buffer, and when it is closed. */
  readonly live: boolean;
  send(frame: string | Uint8Array): void;
  /** False if so many bytes of history more would be too many; when it has read, its memberships go on. */
  takes(bytes: number): boolean;
  maySubscribe(room: string): boolean;
  /** Has the server fan out the room to this connection, or no more. */
  listen(room: Room): void;
  unlisten(room: Room): void;
  /** A fault of the gateway in what is done for it. */
  fail(error: unknown): void;
}

/** How a joining ends: exactly one of them is called, once. */
export interface Joining {
  frame: SubscribeFrame;
  joined(): void;
  /** The membership is over; `answer` says why. */
  failed(answer: string): void;
}

/** One for all: memberships that hold something are rare. */
export const nothingHeld: RoomFrame[] = [];
const nowhere: Position = { epoch: '', offset: 0 };

export class Membership implements Follower {
  readonly room: Room;
  readonly #reader: Reader;
  readonly #node: Node;
  /** Frames that wait until it is known how the joining ended. */
  held: RoomFrame[] = nothingHeld;
  #state: 'joining' | 'live' | 'behind' | 'aside' | 'left' = 'joining';
  /** While history is read for it. */
  #resumption: Joining | undefined;
  /** Where it was put aside or has come to, in a room with history. */
  #cursor = nowhere;
  /** The room's sequence and interruptions when it was put aside. */
  #sequence = 0;
  #interruptions = 0;
  /** Join and leave frames of the room so far, as of when it left the live path. */
  #presenceTold = 0;

  constructor(room: Room, reader: Reader, node: Node) {
    this.room = room;
    this.#reader = reader;
    this.#node = node;
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
    return (this.#state === 'behind' || this.#state === 'aside') && slow !== 'close' ? slow : undefined;
  }

  /** The room is subscribed: answers, now or when history was read, and goes live or follows. */
  begin(joining: Joining): void {
    const { id, room, since } = joining.frame;
    const { feed } = this.room;
    const position = feed?.position;
    if (this.#state === 'left' || this.#refused(joining)) return;
    if (position !== undefined && since !== undefined && !samePosition(since, position)) {
      this.#cursor = since;
      this.#resumption = joining;
      feed?.follow(this);
      return;
    }
    if (since !== undefined && position !== undefined) this.#node.events.resumed('recovered');
    const recovered = since === undefined ? undefined : position !== undefined;
    this.#reader.send(ok({ id, room, ...position, recovered }));
    this.#settle(position);
    joining.joined();
  }

  /** One that fails costs its connection: the feed has others to serve, and would never come back to this one. */
  receive(steps: readonly Step[], arrived: boolean): void {
    if (this.#state === 'left') return;
    try {
      this.#receive(steps, arrived);
    } catch (error) {
      this.#reader.fail(error);
    }
  }

  #receive(steps: readonly Step[], arrived: boolean): void {
    const resumption = this.#resumption;
    this.#resumption = undefined;
    if (resumption === undefined) this.#follow(steps, arrived);
    else if (!this.#refused(resumption)) {
      this.#resume(resumption.frame, steps, arrived);
      resumption.joined();
    }
  }

  failed(error: unknown): void {
    const resumption = this.#resumption;
    this.#resumption = undefined;
    if (resumption === undefined) return;
    const { id } = resumption.frame;
    resumption.failed(rejection(this.#node.faults, 'resuming failed', error, id, 'subscribe again'));
  }

  /** The reader is too slow: no more live messages from here on. */
  putAside(): void {
    if (this.#state !== 'live') return;
    this.#reader.unlisten(this.room);
    this.room.aside++;
    this.#stepAside();
  }

  /** The reader has read. */
  goOn(): void {
    if (this.#state === 'aside') this.#goLive();
    else if (this.#state === 'behind') this.#catchUp();
  }

  /** No frame of the room follows. */
  leave(): void {
    const { room } = this;
    const state = this.#state;
    if (state === 'left') return;
    this.#state = 'left';
    room.feed?.unfollow(this);
    if (state === 'live') this.#reader.unlisten(room);
    if (state === 'aside') this.#node.events.dropped('slow', room.sequence - this.#sequence);
    this.#node.hub.leave(room, state === 'live');
  }

  /** A refresh, or new rules, may have changed everything while the backplane was asked. */
  #refused({ frame: { id, room }, failed }: Joining): boolean {
    if (!this.#reader.maySubscribe(room)) {
      failed(failure(id, 'forbidden', 'Neither a room rule nor the token allows to subscribe to this room any more.'));
    } else if (this.room.outdated) {
      failed(failure(id, 'unavailable', 'The rule of this room has changed at this moment; subscribe again.'));
    } else return false;
    return true;
  }

  #resume({ id, room, since }: SubscribeFrame, steps: readonly Step[], arrived: boolean): void {
    const recovered = !steps.some(isHole);
    this.#node.events.resumed(recovered ? 'recovered' : 'refused');
    const position = recovered ? since : this.room.feed?.position;
    this.#reader.send(ok({ id, room, ...position, recovered }));
    if (this.#hasLeft()) return;
    if (recovered) {
      this.#state = 'behind';
      this.#presenceTold = this.#node.presence.timesTold(room);
      this.#follow(steps, arrived);
    } else this.#settle(position);
  }

  #follow(steps: readonly Step[], arrived: boolean): void {
    if (!this.#feed(steps)) return;
    if (arrived) this.#goLive();
    else this.room.feed?.follow(this);
  }

  /** The answer may have been one frame too many, and have closed the connection. */
  #hasLeft(): boolean {
    return this.#state === 'left';
  }

  /** It is where the room is, off the live path, and goes live as soon as it can. */
  #settle(position: Position | undefined): void {
    if (this.#hasLeft()) return;
    this.#stepAside();
    this.#cursor = position ?? nowhere;
    if (this.#reader.live) this.goOn();
  }

  #stepAside(): void {
    const { feed, slow, sequence, interruptions } = this.room;
    this.#state = slow === 'catch-up' ? 'behind' : 'aside';
    this.#cursor = feed?.position ?? nowhere;
    this.#sequence = sequence;
    this.#interruptions = interruptions;
    this.#presenceTold = this.#node.presence.timesTold(this.room.name);
  }

  #catchUp(): void {
    const { feed } = this.room;
    if (feed === undefined) return;
    if (feed.position !== undefined && samePosition(this.#cursor, feed.position)) this.#goLive();
    else feed.follow(this);
  }

  /** Gives the reader what it takes. False if that is not all; it goes on from its cursor when it has read. */
  #feed(steps: readonly Step[]): boolean {
    for (const step of steps) {
      if (this.#state !== 'behind') return false;
      if (isHole(step)) {
        this.#gap(missing(step));
      } else {
        if (!this.#reader.takes(step.frame.length)) return false;
        this.#reader.send(step.frame);
        this.#node.events.fed();
      }
      this.#cursor = step.position;
    }
    return this.#state === 'behind' && this.#reader.live;
  }

  #goLive(): void {
    const { room } = this;
    const wasAside = this.#state === 'aside';
    this.#state = 'live';
    room.aside--;
    this.#reader.listen(room);
    if (wasAside) this.#tellMissed();
    // No message is missing for that, but who is there may have changed.
    if (this.#node.presence.timesTold(room.name) > this.#presenceTold) this.#gap({ reason: 'slow', count: 0 });
  }

  #tellMissed(): void {
    const { name, feed, interruptions, newest, sequence, slow } = this.room;
    const dropped = sequence - this.#sequence;
    if (dropped > 0) this.#node.events.dropped('slow', dropped);
    const here = feed?.position ?? nowhere;
    const { epoch, offset } = this.#cursor;
    const only = slow === 'latest' && dropped > 0 ? newest : undefined;
    if (here.epoch !== epoch) {
      this.#gap({ reason: 'epoch', epoch: here.epoch, offset: only === undefined ? here.offset : here.offset - 1 });
    } else if (only === undefined && here.offset > offset) {
      this.#gap({ reason: 'slow', first: offset + 1, last: here.offset, count: here.offset - offset, ...here });
    } else if (only === undefined && dropped > 0) this.#gap({ reason: 'slow', count: dropped });
    if (only !== undefined) this.#reader.send(only);
    // The node has told it to the live members already, and counted it.
    if (interruptions > this.#interruptions) this.#reader.send(gap(name, { reason: 'backplane' }));
  }

  #gap(fields: Gap): void {
    this.#node.events.gapTold(fields.reason);
    this.#reader.send(gap(this.room.name, fields));
  }
}
