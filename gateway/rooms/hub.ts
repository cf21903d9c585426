/**
 * The hub: the rooms of this node and the number of members in each. It connects rooms to the backplane and fans
 * messages out.
 *
 * Owns the subscriptions: a room is subscribed when its first member joins, and unsubscribed some time after its last
 * member left. It holds no list of members: the WebSocket server has that, so a message costs the hub the same for one
 * member or ten thousand. In a room with history the feed (gateway/rooms/feed.ts) decides what is delivered and when.
 * It never knows Redis, sockets or permissions. Next: gateway/connection/membership/membership.ts.
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
import type { BusiestRooms } from './busiest-rooms.ts';
import { gapFields } from './continuation.ts';
import type { Audience, Fanout } from './fanout.ts';
import { Feed } from './feed.ts';
import type { Freeze } from './freeze.ts';
import type { Presence } from './presence.ts';
import { Probes } from './probes.ts';
import { type ReadPurpose, Reads } from './reads.ts';

/** Hears the messages of a room on this node without being a member: it counts nowhere, and nobody learns of it. */
export interface Watcher {
  /** As it goes to the live members. Neither it nor the other calls throw. */
  message(frame: Uint8Array): void;
  /** Messages may be missing here. */
  gap(): void;
  /** New rules made the room another kind of room: nothing comes any more. Watch it again. */
  ended(): void;
}

export interface Room extends Audience {
  /**
   * The rule at the time the room was created. It fixes the kind of the room; rights and amounts follow the current
   * rules.
   */
  readonly rule: RoomRule;
  readonly slow: SlowRule;
  /** Members receive `join` and `leave` frames. */
  readonly joinLeave: boolean;
  /** New rules made it another kind of room: the hub has a new room in its place, and its members must leave it. */
  replaced: boolean;
  /** Members on this node, including those that are joining. */
  members: number;
  /** Undefined in a plain room. */
  feed: Feed | undefined;
  /** Members detached from the fan-out: joining, catching up, or stalled. */
  detached: number;
  /** The last message. Kept only while members are detached and the slow rule is `latest`. */
  latestFrame: Uint8Array | undefined;
  /** Messages fanned out so far. A stalled member remembers it, to know later how many messages it missed. */
  messageCount: number;
  /** Gaps of reason `backplane` so far: the node itself missed messages. */
  backplaneGaps: number;
  emptySince: number;
  /** Undefined: nobody watches. */
  watchers: Set<Watcher> | undefined;
}

/** A room stays subscribed this long after its last member left: a flapping client causes no Redis traffic. */
const lingerMs = 2_000;

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
  /** Feeds that wait for `retry`, because their last read failed. */
  readonly #toRetry = new Set<Feed>();
  readonly #reads = new Reads();
  #members = 0;
  /** Set while somebody asks for the busiest rooms. */
  busiest: BusiestRooms | undefined;
  readonly #probes = new Probes(this.#rooms, this.#reads);

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

  /** In all rooms together. */
  get memberCount(): number {
    return this.#members;
  }

  /** True if any member of any room is detached from the fan-out. */
  get hasDetached(): boolean {
    for (const { detached } of this.#rooms.values()) if (detached > 0) return true;
    return false;
  }

  /**
   * Adds a member, detached at first. The caller then waits for `subscribed` and takes the member live, or calls
   * `leave`.
   */
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
   * Resolves when every later message of the room reaches this node or is reported as missed. In a room with history
   * its position is known then.
   */
  async subscribed(room: Room): Promise<void> {
    await this.#backplane.subscribe(room.name);
    await room.feed?.open();
  }

  /**
   * Resolves when every later message of the room reaches the watcher, or rejects with a BackplaneError. It keeps the room
   * subscribed. Call `unwatch` afterwards, whatever came of it.
   */
  watch(name: string, watcher: Watcher): Promise<void> {
    let room = this.#rooms.get(name);
    if (room === undefined) {
      room = this.#create(name);
      this.#rooms.set(name, room);
      room.emptySince = performance.now();
      this.#empty.add(room);
    }
    room.watchers ??= new Set();
    room.watchers.add(watcher);
    return this.subscribed(room);
  }

  unwatch(name: string, watcher: Watcher): void {
    const room = this.#rooms.get(name);
    room?.watchers?.delete(watcher);
    if (room?.watchers?.size === 0) room.watchers = undefined;
  }

  /** On this node. */
  membersOf(room: string): number {
    return this.#rooms.get(room)?.members ?? 0;
  }

  /** A live view: rooms may come and go during the iteration. */
  get rooms(): Iterable<Room> {
    return this.#rooms.values();
  }

  /**
   * To be called for each room after the rules have changed. Returns true if the room is of another kind now: a new
   * room has taken its place, and the members of the old one must leave.
   */
  replaceIfKindChanged(old: Room): boolean {
    const { name } = old;
    if (isSameKind(old.rule, this.#access.rule(name))) return false;
    old.replaced = true;
    for (const watcher of old.watchers ?? []) watcher.ended();
    this.#empty.delete(old);
    const room = this.#create(name);
    this.#rooms.set(name, room);
    // The name is still subscribed, so the new room has to linger and be unsubscribed like any empty room.
    this.#events.roomVacated(room.name);
    room.emptySince = performance.now();
    this.#empty.add(room);
    return true;
  }

  /** Removes a member. `live`: it was not detached. */
  leave(room: Room, live: boolean): void {
    room.members--;
    this.#members--;
    this.#backpressure.memberLeft(room);
    if (!live) room.detached--;
    if (room.members > 0 || room.replaced) return;
    this.#events.roomVacated(room.name);
    room.emptySince = performance.now();
    this.#empty.add(room);
  }

  publish(publication: Publication): Promise<Published> {
    if (publication.history !== undefined) publication.lastSeen = this.#rooms.get(publication.room)?.feed?.position;
    return this.#backplane.publish(publication);
  }

  /** A page of history for a client. Rejects with a BackplaneError. */
  history(room: string, query: HistoryQuery): Promise<HistoryPage> {
    return this.#read(room, query, 'history');
  }

  message(name: string, frame: Uint8Array, at: number, position: Position | undefined): void {
    this.#freeze.check(performance.now());
    const room = this.#rooms.get(name);
    if (room === undefined) return;
    if (room.feed !== undefined && position !== undefined) room.feed.message(position, frame, at);
    else if (room.members > 0 || room.watchers !== undefined) this.#deliver(room, frame, at, undefined);
  }

  gap(name: string, why: 'interrupted' | 'unreadable'): void {
    const room = this.#rooms.get(name);
    if (why === 'unreadable') this.#events.dropped('unreadable', 1);
    if (room?.feed === undefined) for (const watcher of room?.watchers ?? []) watcher.gap();
    if (room?.feed !== undefined) {
      room.feed.heal();
      // The feed recovers all messages; `join` and `leave` frames are not in history.
      this.#missedPresence(room);
    } else if (room !== undefined && room.members > 0) {
      this.#fanout.reply(room, { type: 'gap', room: name, reason: 'backplane' });
      room.backplaneGaps++;
      this.#events.gapTold('backplane');
    }
  }

  presence(update: PresenceUpdate): void {
    if (update.type !== 'recount') this.#presence.changed(update);
    else {
      this.#missedPresence(this.#rooms.get(update.room));
      this.#presence.recounted(update.room);
    }
  }

  roundTrip(seconds: number): void {
    this.#events.backplaneRoundTrip(seconds);
  }

  reconnected(): void {
    this.#events.backplaneReconnected();
  }

  /** `join` and `leave` frames may be missing: tells the live members, and the detached ones later. */
  #missedPresence(room: Room | undefined): void {
    if (room === undefined || room.members === 0 || !room.joinLeave) return;
    this.#fanout.reply(room, { type: 'gap', room: room.name, reason: 'backplane', count: 0 });
    // After the fan-out: a member that stalls in it misses this gap, and gets one when it goes live again.
    this.#presence.changesMissed(room.name);
  }

  #create(name: string): Room {
    const rule = this.#access.rule(name);
    const room: Room = {
      name,
      rule,
      slow: rule.slow,
      joinLeave: rule.joinLeave,
      replaced: false,
      feed: undefined,
      members: 0,
      detached: 0,
      latestFrame: undefined,
      messageCount: 0,
      backplaneGaps: 0,
      emptySince: 0,
      watchers: undefined,
      fannedOutBytes: 0,
      checkNumber: 0,
    };
    if (rule.history !== undefined) room.feed = this.#feed(room);
    return room;
  }

  #feed(room: Room): Feed {
    const feed: Feed = new Feed({
      read: (query, purpose) => this.#read(room.name, query, purpose),
      deliver: (frame, at, position) => this.#deliver(room, frame, at, position),
      gap: (hole) => {
        this.#fanout.reply(room, { type: 'gap', room: room.name, ...gapFields(hole) });
        this.#events.gapTold(hole.reason);
        for (const watcher of room.watchers ?? []) watcher.gap();
      },
      healed: () => this.#events.gapHealed(),
      retryLater: () => void this.#toRetry.add(feed),
      fault: (error) => this.#faults.report('a feed failed', error),
    });
    return feed;
  }

  #read(room: string, query: HistoryQuery, purpose: ReadPurpose): Promise<HistoryPage> {
    return this.#reads.run(purpose, () => this.#backplane.read(room, query));
  }

  #deliver(room: Room, frame: Uint8Array, at: number | undefined, position: Position | undefined): void {
    this.#fanout.message(room, frame, position);
    room.messageCount++;
    if (room.slow === 'latest') room.latestFrame = room.detached > 0 ? frame : undefined;
    const live = room.members - room.detached;
    this.#events.delivered(live, at);
    this.busiest?.delivered(room.name, live);
    if (room.watchers !== undefined) for (const watcher of room.watchers) watcher.message(frame);
  }

  /**
   * Unsubscribes rooms that have been empty for `lingerMs`, retries failed reads, probes. To be called twice a second.
   */
  sweep(): void {
    const now = performance.now();
    for (const room of this.#empty) {
      if (now - room.emptySince < lingerMs) break;
      if (room.watchers !== undefined) continue;
      this.#empty.delete(room);
      this.#rooms.delete(room.name);
      this.#backplane.unsubscribe(room.name);
    }
    const toRetry = [...this.#toRetry];
    this.#toRetry.clear();
    for (const feed of toRetry) feed.retry();
    if (this.#backplane.up || this.#backplane.mostlyUp) this.#probes.goOn(now);
  }
}
