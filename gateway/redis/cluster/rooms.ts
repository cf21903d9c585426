/**
 * Where the rooms of this node are subscribed in a cluster, through moves of their slots.
 *
 * A room leaves a shard only when its subscription there has ended: by the notice of Redis that the slot has gone, or with the
 * connection. Until then plain messages may still be published there; what is published at the new owner before this node is
 * subscribed there is covered by a gap. Owns where each room is. How it is subscribed at a shard is gateway/redis/subscriptions.ts.
 */
import { BackplaneError } from '../../backplane/backplane.ts';
import type { RedisBackplane } from '../backplane.ts';
import { slotOf } from './slots.ts';

interface Place {
  readonly slot: number;
  /** Undefined: nowhere, as no shard had the slot. */
  plane: RedisBackplane | undefined;
}

/** A notice that does not come in this time is not waited for. */
const noticeMs = 5_000;
/** A failover moves thousands. */
const roomsPerTurn = 50;

export class Rooms {
  readonly #planeOf: (slot: number) => RedisBackplane | undefined;
  readonly #refresh: () => void;
  readonly #places = new Map<string, Place>();
  /** Rooms that are not subscribed at the owner of their slot, and since when. */
  readonly #restless = new Map<string, number>();

  /** `refresh`: the map is read soon, and `settle` called. */
  constructor(planeOf: (slot: number) => RedisBackplane | undefined, refresh: () => void) {
    this.#planeOf = planeOf;
    this.#refresh = refresh;
  }

  subscribe(room: string): Promise<void> {
    let place = this.#places.get(room);
    if (place === undefined) {
      const slot = slotOf(room);
      place = { slot, plane: this.#planeOf(slot) };
      this.#places.set(room, place);
    }
    if (place.plane !== undefined) return place.plane.subscribe(room);
    this.#restless.set(room, performance.now());
    return Promise.reject(new BackplaneError('unavailable', 'no primary of the cluster has the slot'));
  }

  unsubscribe(room: string): void {
    this.#places.get(room)?.plane?.unsubscribe(room);
    this.#places.delete(room);
    this.#restless.delete(room);
  }

  /** The room is not subscribed at this shard any more. */
  revoked(room: string, plane: RedisBackplane): void {
    const place = this.#places.get(room);
    if (place?.plane !== plane) return;
    this.#restless.set(room, performance.now());
    // A map that still names this shard is old, or the slot has come back: the next reading shows which.
    if (this.#planeOf(place.slot) === plane) this.#refresh();
    else this.#settle(room, place);
  }

  /** These slots have other owners. */
  moved(slots: ReadonlySet<number>): void {
    const rooms: string[] = [];
    for (const [room, { slot }] of this.#places) if (slots.has(slot)) rooms.push(room);
    this.#settleSome(rooms);
  }

  /** The map was read. */
  settle(): void {
    this.#settleSome([...this.#restless.keys()]);
  }

  /** The shard is closed. */
  removed(plane: RedisBackplane): void {
    for (const [room, place] of this.#places) {
      if (place.plane === plane) this.#move(room, place, this.#planeOf(place.slot));
    }
  }

  clear(): void {
    this.#places.clear();
    this.#restless.clear();
  }

  #settleSome(rooms: string[]): void {
    for (const room of rooms.splice(0, roomsPerTurn)) {
      const place = this.#places.get(room);
      if (place !== undefined) this.#settle(room, place);
    }
    if (rooms.length > 0) setImmediate(() => this.#settleSome(rooms));
  }

  #settle(room: string, place: Place): void {
    const owner = this.#planeOf(place.slot);
    if (owner === undefined) return;
    const now = performance.now();
    const since = this.#restless.get(room) ?? now;
    if (place.plane === owner) {
      // If it is refused again, it is revoked again.
      if (this.#restless.delete(room) && owner.subscriptions.isLost(room)) owner.subscribe(room).catch(() => undefined);
    } else if (place.plane === undefined || place.plane.subscriptions.isLost(room) || now - since >= noticeMs) {
      this.#move(room, place, owner);
    } else this.#restless.set(room, since);
  }

  #move(room: string, place: Place, owner: RedisBackplane | undefined): void {
    const wasLive = place.plane?.subscriptions.remove(room) ?? false;
    place.plane = owner;
    if (owner === undefined) this.#restless.set(room, performance.now());
    else {
      this.#restless.delete(room);
      owner.subscriptions.take(room, wasLive);
    }
  }
}
