/**
 * The hub: a node's rooms and how many members each has here. It ties rooms to the backplane and fans messages out.
 *
 * Owns when a room is subscribed (its first member joins) and left (some time after the last). It holds no list of
 * members: the WebSocket server keeps who listens to what, so a message costs the hub the same for one member or ten
 * thousand. It never knows Redis, sockets or permissions. Next: gateway/connection.ts.
 */
import type { Access, SlowRule } from './access.ts';
import { gap } from './answers.ts';
import type { Backplane, BackplaneListener, Publication, Published } from './backplane.ts';
import type { Backpressure } from './backpressure.ts';
import type { Freeze } from './freeze.ts';
import type { Metrics } from './metrics.ts';

/** Hands a frame to every live member of a room on this node, in one call. */
export type Fanout = (room: string, frame: Uint8Array | string) => void;

export interface Room {
  readonly name: string;
  readonly slow: SlowRule;
  /** Members on this node, those that are joining included. */
  members: number;
  /** Of these, the ones that get no message now: joining, or too slow. */
  aside: number;
  /** Messages fanned out so far; a member put aside remembers it, to know later how many it missed. */
  sequence: number;
  /** Times that messages were missed by the whole node. */
  interruptions: number;
  emptySince: number;
}

/** A room is left this long after its last member: a client that flaps does not become Redis traffic. */
const lingerMs = 2_000;

export class Hub implements BackplaneListener {
  readonly #backplane: Backplane;
  readonly #access: Access;
  readonly #backpressure: Backpressure;
  readonly #fanout: Fanout;
  readonly #freeze: Freeze;
  readonly #metrics: Metrics;
  readonly #rooms = new Map<string, Room>();
  readonly #empty = new Set<Room>();

  constructor(parts: {
    backplane: Backplane;
    access: Access;
    backpressure: Backpressure;
    fanout: Fanout;
    freeze: Freeze;
    metrics: Metrics;
  }) {
    this.#backplane = parts.backplane;
    this.#access = parts.access;
    this.#backpressure = parts.backpressure;
    this.#fanout = parts.fanout;
    this.#freeze = parts.freeze;
    this.#metrics = parts.metrics;
  }

  get roomCount(): number {
    return this.#rooms.size - this.#empty.size;
  }

  /** Counts a member in, aside at first. The caller waits for `subscribed`, then takes it live, or leaves again. */
  join(name: string): Room {
    let room = this.#rooms.get(name);
    if (room === undefined) {
      const { slow } = this.#access.rule(name);
      room = { name, slow, members: 0, aside: 0, sequence: 0, interruptions: 0, emptySince: 0 };
      this.#rooms.set(name, room);
    }
    this.#empty.delete(room);
    room.members++;
    room.aside++;
    return room;
  }

  /** Resolves when whatever is published to the room from now on reaches this node, or is told as missed. */
  subscribed(room: Room): Promise<void> {
    return this.#backplane.subscribe(room.name);
  }

  /** Counts a member out. `live`: it was not aside. */
  leave(room: Room, live: boolean): void {
    room.members--;
    if (!live) room.aside--;
    if (room.members > 0) return;
    room.emptySince = performance.now();
    this.#empty.add(room);
  }

  publish(publication: Publication): Promise<Published> {
    return this.#backplane.publish(publication);
  }

  message(name: string, frame: Uint8Array, at: number): void {
    this.#freeze.look(performance.now());
    const room = this.#rooms.get(name);
    if (room === undefined || room.members === 0) return;
    this.#send(room, frame);
    room.sequence++;
    this.#metrics.fannedOut(room.members - room.aside, at);
  }

  missed(name: string, why: 'interrupted' | 'unreadable'): void {
    const room = this.#rooms.get(name);
    if (why === 'unreadable') this.#metrics.dropped('unreadable', 1);
    if (room === undefined || room.members === 0) return;
    this.#send(room, gap(name, 'backplane'));
    room.interruptions++;
    this.#metrics.gap('backplane');
  }

  roundTrip(seconds: number): void {
    this.#metrics.backplaneRoundTrip(seconds);
  }

  reconnected(): void {
    this.#metrics.backplaneReconnected();
  }

  /** Who is put aside by the look before it does not get the frame, and counts it as missed. */
  #send(room: Room, frame: Uint8Array | string): void {
    this.#backpressure.beforeFanout(frame.length, room.members - room.aside);
    this.#fanout(room.name, frame);
  }

  /** Leaves the rooms that have been empty for a while. To be called about once a second. */
  sweep(): void {
    const now = performance.now();
    for (const room of this.#empty) {
      if (now - room.emptySince < lingerMs) break;
      this.#empty.delete(room);
      this.#rooms.delete(room.name);
      this.#backplane.unsubscribe(room.name);
    }
  }
}
