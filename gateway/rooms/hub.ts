/**
 * The hub: a node's rooms and how many members each has here. It ties rooms to the backplane and fans messages out.
 *
 * Owns when a room is subscribed (its first member joins) and left (some time after the last). It holds no list of
 * members: the WebSocket server keeps who listens to what, so a message costs the hub the same for one member or ten
 * thousand. Where a room keeps history, its feed (gateway/rooms/feed.ts) decides what is handed out and when. It never knows
 * Redis, sockets or permissions. Next: gateway/connection/membership.ts.
 */
import type { Position } from '../../shared/protocol.ts';
import type {
  Backplane,
  BackplaneListener,
  HistoryPage,
  HistoryQuery,
  PresenceUpdate,
  Publication,
  Published,
} from '../backplane/backplane.ts';
import type { Events } from '../telemetry/events.ts';
import type { Faults } from '../telemetry/faults.ts';
import { type Access, isSameKind, type RoomRule, type SlowRule } from './access.ts';
import type { Backpressure } from './backpressure.ts';
import { missing } from './continuation.ts';
import type { Audience, Fanout } from './fanout.ts';
import { Feed } from './feed.ts';
import type { Freeze } from './freeze.ts';
import type { Presence } from './presence.ts';
import { type ReadPurpose, Reads } from './reads.ts';

export interface Room extends Audience {
  /** The rule that it was opened under: its kind stays, while rights and amounts follow the rules of the moment. */
  readonly rule: RoomRule;
  readonly slow: SlowRule;
  /** Members are told who comes and goes. */
  readonly joinLeave: boolean;
  /** By its rule it is another kind of room now: it is no longer the hub's, and its members have to leave it. */
  outdated: boolean;
  /** Members on this node, those that are joining included. */
  members: number;
  /** Undefined in a plain room. */
  feed: Feed | undefined;
  /** Of the members, the ones that get no live message now: joining, behind, or too slow. */
  detached: number;
  /** The last message, kept while somebody is aside who wants only that. */
  newest: Uint8Array | undefined;
  /** Messages fanned out so far; a member put aside remembers it, to know later how many it missed. */
  sequence: number;
  /** Times that messages were missed by the whole node. */
  interruptions: number;
  emptySince: number;
}

/** A room is left this long after its last member: a client that flaps does not become Redis traffic. */
const lingerMs = 2_000;
/** How often a quiet room with history is looked after; how many rooms one sweep passes, and for how many it reads. */
const probeIntervalMs = 2_000;
const probedRoomsPerSweep = 10_000;
const probeReadsPerSweep = 250;

export class Hub implements BackplaneListener {
  readonly #backplane: Backplane;
  readonly #access: Access;
  readonly #backpressure: Backpressure;
  readonly #fanout: Fanout;
  readonly #freeze: Freeze;
  readonly #events: Events;
  readonly #presence: Presence;
  readonly #faults: Faults;
  readonly #rooms = new Map<string, Room>();
  readonly #empty = new Set<Room>();
  /** Their last read failed. */
  readonly #troubled = new Set<Feed>();
  readonly #reads = new Reads();
  #members = 0;
  #round: Iterator<Room> | undefined;
  #roundBeganAt = 0;

  constructor(parts: {
    backplane: Backplane;
    access: Access;
    backpressure: Backpressure;
    fanout: Fanout;
    freeze: Freeze;
    events: Events;
    presence: Presence;
    faults: Faults;
  }) {
    this.#backplane = parts.backplane;
    this.#access = parts.access;
    this.#backpressure = parts.backpressure;
    this.#fanout = parts.fanout;
    this.#freeze = parts.freeze;
    this.#events = parts.events;
    this.#presence = parts.presence;
    this.#faults = parts.faults;
  }

  get roomCount(): number {
    return this.#rooms.size - this.#empty.size;
  }

  /** Over all rooms. */
  get memberCount(): number {
    return this.#members;
  }

  /** False if every member gets live messages now. */
  get hasDetached(): boolean {
    for (const { detached } of this.#rooms.values()) if (detached > 0) return true;
    return false;
  }

  /** Counts a member in, aside at first. The caller waits for `subscribed`, then takes it live, or leaves again. */
  join(name: string): Room {
    let room = this.#rooms.get(name);
    if (room === undefined) {
      room = this.#create(name);
      this.#rooms.set(name, room);
    }
    this.#empty.delete(room);
    if (room.members === 0) this.#events.roomOccupied(name);
    room.members++;
    room.detached++;
    this.#members++;
    return room;
  }

  /**
   * Resolves when whatever is published to the room from now on reaches this node, or is told as missed; with history,
   * its position is known then.
   */
  async subscribed(room: Room): Promise<void> {
    await this.#backplane.subscribe(room.name);
    await room.feed?.open();
  }

  /** As they are while somebody goes through them. */
  get rooms(): Iterable<Room> {
    return this.#rooms.values();
  }

  /**
   * To be called for each room when the rules have changed. Returns true if the room is of another kind now: then a new one
   * is in its place, and whoever is in the old one has to leave it.
   */
  openAnew(old: Room): boolean {
    const { name } = old;
    if (isSameKind(old.rule, this.#access.rule(name))) return false;
    old.outdated = true;
    this.#empty.delete(old);
    const room = this.#create(name);
    this.#rooms.set(name, room);
    // Subscribed it is already, so it is left like any other that is empty.
    this.#events.roomVacated(room.name);
    room.emptySince = performance.now();
    this.#empty.add(room);
    return true;
  }

  /** Counts a member out. `live`: it was not aside. */
  leave(room: Room, live: boolean): void {
    room.members--;
    this.#members--;
    this.#backpressure.left(room);
    if (!live) room.detached--;
    if (room.members > 0 || room.outdated) return;
    this.#events.roomVacated(room.name);
    room.emptySince = performance.now();
    this.#empty.add(room);
  }

  publish(publication: Publication): Promise<Published> {
    if (publication.history !== undefined) publication.lastSeen = this.#rooms.get(publication.room)?.feed?.position;
    return this.#backplane.publish(publication);
  }

  /** What is kept of a room, for a client that asks. Rejects with a BackplaneError. */
  history(room: string, query: HistoryQuery): Promise<HistoryPage> {
    return this.#read(room, query, 'history');
  }

  message(name: string, frame: Uint8Array, at: number, position: Position | undefined): void {
    this.#freeze.check(performance.now());
    const room = this.#rooms.get(name);
    if (room === undefined) return;
    if (room.feed !== undefined && position !== undefined) room.feed.message(position, frame, at);
    else if (room.members > 0) this.#deliver(room, frame, at);
  }

  gap(name: string, why: 'interrupted' | 'unreadable'): void {
    const room = this.#rooms.get(name);
    if (why === 'unreadable') this.#events.dropped('unreadable', 1);
    if (room?.feed !== undefined) {
      room.feed.heal();
      // No message will be missing, but join and leave frames are not kept.
      this.#missedPresence(room);
    } else if (room !== undefined && room.members > 0) {
      this.#fanout.reply(room, { type: 'gap', room: name, reason: 'backplane' });
      room.interruptions++;
      this.#events.gapTold('backplane');
    }
  }

  presence(update: PresenceUpdate): void {
    if (update.type !== 'recount') this.#presence.changed(update);
    else this.#missedPresence(this.#rooms.get(update.room));
  }

  roundTrip(seconds: number): void {
    this.#events.backplaneRoundTrip(seconds);
  }

  reconnected(): void {
    this.#events.backplaneReconnected();
  }

  /** Join and leave frames may not have come. */
  #missedPresence(room: Room | undefined): void {
    if (room === undefined || room.members === 0 || !room.joinLeave) return;
    this.#fanout.reply(room, { type: 'gap', room: room.name, reason: 'backplane', count: 0 });
    // Behind it, so that whoever was put aside just now is told later, as are those who were aside before.
    this.#presence.missed(room.name);
  }

  #create(name: string): Room {
    const rule = this.#access.rule(name);
    const room: Room = {
      name,
      rule,
      slow: rule.slow,
      joinLeave: rule.joinLeave,
      outdated: false,
      feed: undefined,
      members: 0,
      detached: 0,
      newest: undefined,
      sequence: 0,
      interruptions: 0,
      emptySince: 0,
      fannedOut: 0,
      sinceCheck: 0,
    };
    if (rule.history !== undefined) room.feed = this.#feed(room);
    return room;
  }

  #feed(room: Room): Feed {
    const feed: Feed = new Feed({
      read: (query, purpose) => this.#read(room.name, query, purpose),
      deliver: (frame, at) => this.#deliver(room, frame, at),
      tell: (hole) => {
        this.#fanout.reply(room, { type: 'gap', room: room.name, ...missing(hole) });
        this.#events.gapTold(hole.reason);
      },
      healed: () => this.#events.gapHealed(),
      troubled: () => void this.#troubled.add(feed),
      fault: (error) => this.#faults.report('a feed failed', error),
    });
    return feed;
  }

  #read(room: string, query: HistoryQuery, purpose: ReadPurpose): Promise<HistoryPage> {
    return this.#reads.run(purpose, () => this.#backplane.read(room, query));
  }

  #deliver(room: Room, frame: Uint8Array, at: number | undefined): void {
    this.#fanout.message(room, frame);
    room.sequence++;
    if (room.slow === 'latest') room.newest = room.detached > 0 ? frame : undefined;
    this.#events.delivered(room.members - room.detached, at);
  }

  /** Leaves the rooms that have been empty for a while, and looks after the others. To be called about twice a second. */
  sweep(): void {
    const now = performance.now();
    for (const room of this.#empty) {
      if (now - room.emptySince < lingerMs) break;
      this.#empty.delete(room);
      this.#rooms.delete(room.name);
      this.#backplane.unsubscribe(room.name);
    }
    const troubled = [...this.#troubled];
    this.#troubled.clear();
    for (const feed of troubled) feed.retry();
    if (this.#backplane.up) this.#probe(now);
  }

  #probe(now: number): void {
    if (this.#round === undefined) {
      if (now - this.#roundBeganAt < probeIntervalMs) return;
      this.#roundBeganAt = now;
      this.#round = this.#rooms.values();
    }
    for (
      let passed = 0, reads = 0;
      passed < probedRoomsPerSweep && reads < probeReadsPerSweep && this.#reads.spare;
      passed++
    ) {
      const { value: room, done } = this.#round.next();
      if (done) {
        this.#round = undefined;
        return;
      }
      if (room.members > 0 && room.feed?.probe()) reads++;
    }
  }
}
