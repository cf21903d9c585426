/**
 * The rooms of one connection: joining, live, or aside because the reader is too slow.
 *
 * The one owner of a membership's state. A member that is put aside remembers where in the room that was, and is told
 * by a `gap` what it missed when it goes on. It decides nothing about permission and sends only `gap` frames.
 */
import type { GapFrame } from '../shared/protocol.ts';
import type { Frame } from './frame.ts';
import { backplaneGap, type Hub, type Room } from './hub.ts';
import type { Metrics } from './metrics.ts';

export interface Membership {
  readonly room: Room;
  state: 'joining' | 'live' | 'aside';
  /** The room's sequence and interruptions when the member was put aside. */
  sequence: number;
  interruptions: number;
  /** Frames for this room that came while it was joining; they take effect afterwards, in order. */
  waiting: Frame[];
}

/** What memberships need of their connection. */
export interface Member {
  /** Has the server fan out the room to this connection, or no more. */
  listen(room: string): void;
  unlisten(room: string): void;
  send(frame: string): void;
  /** False while it is over the soft limit of its outgoing buffer. */
  readonly live: boolean;
}

const none: Frame[] = [];

export class Memberships {
  readonly #member: Member;
  readonly #hub: Hub;
  readonly #metrics: Metrics;
  readonly #byRoom = new Map<string, Membership>();

  constructor(member: Member, hub: Hub, metrics: Metrics) {
    this.#member = member;
    this.#hub = hub;
    this.#metrics = metrics;
  }

  get size(): number {
    return this.#byRoom.size;
  }

  get(room: string): Membership | undefined {
    return this.#byRoom.get(room);
  }

  rooms(): IterableIterator<string> {
    return this.#byRoom.keys();
  }

  /** True if a room of this connection wants slow readers closed. */
  closesSlow(): boolean {
    for (const { room } of this.#byRoom.values()) if (room.slow === 'close') return true;
    return false;
  }

  /** Begins to join. Afterwards `enter` or `leave` follows. */
  join(room: string): Membership {
    const membership: Membership = {
      room: this.#hub.join(room),
      state: 'joining',
      sequence: 0,
      interruptions: 0,
      waiting: none,
    };
    this.#byRoom.set(room, membership);
    return membership;
  }

  hold(membership: Membership, frame: Frame): void {
    if (membership.waiting === none) membership.waiting = [];
    membership.waiting.push(frame);
  }

  /** The room is subscribed: from here on its messages go to the member. */
  enter(membership: Membership): void {
    note(membership);
    membership.state = 'aside';
    if (this.#member.live) this.#goOn(membership);
  }

  leave(membership: Membership): void {
    const { room, state } = membership;
    this.#byRoom.delete(room.name);
    if (state === 'live') this.#member.unlisten(room.name);
    if (state === 'aside') this.#metrics.dropped('slow', room.sequence - membership.sequence);
    this.#hub.leave(room, state === 'live');
  }

  /** The connection is gone; the server has forgotten what it listened to. */
  leaveAll(): void {
    for (const membership of this.#byRoom.values()) {
      const { room, state } = membership;
      if (state === 'aside') this.#metrics.dropped('slow', room.sequence - membership.sequence);
      this.#hub.leave(room, state === 'live');
    }
    this.#byRoom.clear();
  }

  /** The reader is too slow: no more messages from here on. */
  putAside(): void {
    for (const membership of this.#byRoom.values()) {
      if (membership.state !== 'live') continue;
      this.#member.unlisten(membership.room.name);
      note(membership);
      membership.state = 'aside';
      membership.room.aside++;
    }
  }

  /** The reader has read: tells what was missed, room by room, and goes on live. */
  goOn(): void {
    for (const membership of this.#byRoom.values()) {
      // Telling may fill the buffer again; the rest then waits for the next time.
      if (!this.#member.live) return;
      if (membership.state === 'aside') this.#goOn(membership);
    }
  }

  #goOn(membership: Membership): void {
    const { room } = membership;
    const count = room.sequence - membership.sequence;
    membership.state = 'live';
    room.aside--;
    this.#member.listen(room.name);
    if (count > 0) {
      this.#metrics.dropped('slow', count);
      this.#metrics.gap('slow', 1);
      this.#member.send(JSON.stringify({ type: 'gap', room: room.name, reason: 'slow', count } satisfies GapFrame));
    }
    if (room.interruptions > membership.interruptions) this.#member.send(backplaneGap(room.name));
  }
}

function note(membership: Membership): void {
  membership.sequence = membership.room.sequence;
  membership.interruptions = membership.room.interruptions;
}
