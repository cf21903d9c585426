/**
 * The rooms of one connection: joining, live, or aside because the reader is too slow.
 *
 * The one owner of a membership's state, from `subscribe` to the last frame of the room. Frames for a room that is being
 * joined are held until it is known how that ended. A member that is put aside remembers where in the room that was, and
 * is told by a `gap` what it missed when it goes on. Next: gateway/hub.ts.
 */
import type { FrameId } from '../shared/protocol.ts';
import type { Identity } from './access.ts';
import { failure, gap, ok, trouble, unsubscribed } from './answers.ts';
import type { BackplaneError } from './backplane.ts';
import type { Frame } from './frame.ts';
import type { Room } from './hub.ts';
import type { Node } from './node.ts';

export type RoomFrame = Extract<Frame, { room: string }>;
type SubscribeFrame = Extract<Frame, { type: 'subscribe' }>;

/** What memberships need of their connection. */
export interface Member {
  /** False while it is over the soft limit of its outgoing buffer, and when it is closed. */
  readonly live: boolean;
  readonly closing: boolean;
  readonly identity: Identity | undefined;
  send(frame: string): void;
  fail(error: unknown): void;
  /** Takes up a frame that was held. */
  resume(frame: Frame): void;
  /** Has the server fan out the room to this connection, or no more. */
  listen(room: string): void;
  unlisten(room: string): void;
}

interface Membership {
  readonly room: Room;
  state: 'joining' | 'live' | 'aside';
  /** The room's sequence and interruptions when the member was put aside. */
  sequence: number;
  interruptions: number;
  held: RoomFrame[];
}

const nothing: RoomFrame[] = [];

export class Memberships {
  readonly #member: Member;
  readonly #node: Node;
  readonly #byRoom = new Map<string, Membership>();

  constructor(member: Member, node: Node) {
    this.#member = member;
    this.#node = node;
  }

  get size(): number {
    return this.#byRoom.size;
  }

  /** True if a room of this connection wants slow readers closed. */
  get closesSlow(): boolean {
    for (const { room } of this.#byRoom.values()) if (room.slow === 'close') return true;
    return false;
  }

  /** True while frames for this room have to wait. */
  isJoining(room: string): boolean {
    return this.#byRoom.get(room)?.state === 'joining';
  }

  /** Keeps a frame until the joining of its room has ended. */
  hold(frame: RoomFrame): void {
    const membership = this.#byRoom.get(frame.room);
    if (membership === undefined) return;
    if (membership.held === nothing) membership.held = [];
    membership.held.push(frame);
  }

  subscribe(frame: SubscribeFrame): void {
    const { id, room: name } = frame;
    const { config, hub } = this.#node;
    const most = config.maxRoomsPerConnection;
    if (!this.#allowed(name)) {
      this.#member.send(
        failure(id, 'forbidden', 'Neither a room rule nor the token allows to subscribe to this room.'),
      );
    } else if (this.#byRoom.has(name)) {
      this.#member.send(subscribed(frame));
    } else if (most > 0 && this.#byRoom.size >= most) {
      this.#member.send(failure(id, 'limit_exceeded', `At most ${most} rooms; unsubscribe from one first.`));
    } else {
      const room = hub.join(name);
      const membership: Membership = { room, state: 'joining', sequence: 0, interruptions: 0, held: nothing };
      this.#byRoom.set(name, membership);
      hub
        .subscribed(room)
        .then(
          () => this.#joined(membership, frame),
          (error: BackplaneError) => this.#joinFailed(membership, id, error),
        )
        .catch((error: unknown) => this.#member.fail(error));
    }
  }

  unsubscribe(id: FrameId, name: string): void {
    // The answer goes first: it takes along what was fanned out in this turn before the member leaves.
    this.#member.send(ok({ id }));
    const membership = this.#byRoom.get(name);
    if (membership !== undefined) this.#leave(membership);
  }

  /** Leaves the rooms that the identity is no longer allowed in. Those being joined look for themselves. */
  revoke(): void {
    for (const membership of [...this.#byRoom.values()]) {
      const { name } = membership.room;
      if (membership.state === 'joining' || this.#allowed(name)) continue;
      this.#member.send(unsubscribed(name));
      this.#leave(membership);
    }
  }

  /** The connection takes part in nothing any more. */
  leaveAll(): void {
    for (const membership of this.#byRoom.values()) this.#leave(membership);
  }

  /** The reader is too slow: no more messages from here on. */
  putAside(): void {
    for (const membership of this.#byRoom.values()) {
      if (membership.state !== 'live') continue;
      this.#member.unlisten(membership.room.name);
      membership.room.aside++;
      membership.state = 'aside';
      remember(membership);
    }
  }

  /** The reader has read: tells what was missed, room by room, and goes on live. */
  goOn(): void {
    for (const membership of this.#byRoom.values()) {
      // Telling may fill the buffer again; the rest then waits for the next time.
      if (!this.#member.live) return;
      if (membership.state === 'aside') this.#goLive(membership);
    }
  }

  #allowed(room: string): boolean {
    const { identity } = this.#member;
    return identity !== undefined && this.#node.access.allows(identity, 'subscribe', room);
  }

  #joined(membership: Membership, frame: SubscribeFrame): void {
    if (this.#member.closing) return;
    const { name } = membership.room;
    // A refresh may have taken the right away while Redis was asked.
    if (this.#allowed(name)) {
      this.#member.send(subscribed(frame));
      membership.state = 'aside';
      remember(membership);
      if (this.#member.live) this.#goLive(membership);
    } else {
      this.#member.send(failure(frame.id, 'forbidden', 'The token no longer allows to subscribe to this room.'));
      this.#leave(membership);
    }
    this.#release(membership);
  }

  #joinFailed(membership: Membership, id: FrameId, error: BackplaneError): void {
    if (this.#member.closing) return;
    this.#leave(membership);
    this.#member.send(trouble(id, error, 'subscribe again'));
    this.#release(membership);
  }

  #release(membership: Membership): void {
    const { held } = membership;
    membership.held = nothing;
    for (const frame of held) this.#member.resume(frame);
  }

  #leave(membership: Membership): void {
    const { name } = membership.room;
    this.#byRoom.delete(name);
    if (membership.state === 'live') this.#member.unlisten(name);
    this.#countOut(membership);
  }

  #countOut({ room, state, sequence }: Membership): void {
    if (state === 'aside') this.#node.metrics.dropped('slow', room.sequence - sequence);
    this.#node.hub.leave(room, state === 'live');
  }

  #goLive(membership: Membership): void {
    const { room } = membership;
    const missed = room.sequence - membership.sequence;
    membership.state = 'live';
    room.aside--;
    this.#member.listen(room.name);
    if (missed > 0) {
      this.#node.metrics.dropped('slow', missed);
      this.#node.metrics.gap('slow');
      this.#member.send(gap(room.name, 'slow', missed));
    }
    if (room.interruptions > membership.interruptions) this.#member.send(gap(room.name, 'backplane'));
  }
}

/** Every room is a plain one: it has no position, and nothing of what was missed can be given again. */
function subscribed({ id, room, since }: SubscribeFrame): string {
  return ok({ id, room, recovered: since === undefined ? undefined : false });
}

function remember(membership: Membership): void {
  membership.sequence = membership.room.sequence;
  membership.interruptions = membership.room.interruptions;
}
