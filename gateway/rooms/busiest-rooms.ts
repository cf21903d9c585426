/**
 * The busiest rooms of a node, found with a bounded amount of memory: Space-Saving (Metwally, Agrawal, El Abbadi, 2005), by
 * messages handed to members.
 *
 * `kept` rooms are counted. A room that is not among them takes the place of the least busy one, and its count too: so a count
 * is at most `error` too large, and a room with more than a 256th of all deliveries is always there. It exists only while
 * somebody asks (gateway/operations/cluster/observe.ts). Without it a message costs one comparison; with it, one look into a
 * map. It knows neither time nor who asks.
 */

export const kept = 256;

interface Entry {
  room: string;
  deliveries: number;
  error: number;
  /** Since it has its place. */
  messages: number;
  /** Its place in the heap goes by this: `deliveries` as it was when the heap last looked. Never more than that. */
  key: number;
}

export interface BusyRoom {
  room: string;
  /** Messages handed to members; at most `error` too many. */
  deliveries: number;
  error: number;
  /** Messages of the room. Some may be missing if `error` is not 0. */
  messages: number;
}

export class BusiestRooms {
  readonly #entries = new Map<string, Entry>();
  /** A heap with the smallest key first. A counted message leaves it as it is, so that it costs no moves. */
  readonly #heap: Entry[] = [];
  readonly #kept: number;

  constructor(most = kept) {
    this.#kept = most;
  }

  /** A message of the room was handed to so many members. */
  delivered(room: string, members: number): void {
    if (members <= 0) return;
    const entry = this.#entries.get(room) ?? this.#placeOf(room);
    entry.deliveries += members;
    entry.messages++;
  }

  /** The busiest ones, the busiest first. */
  top(most: number): BusyRoom[] {
    return this.#heap
      .map(({ room, deliveries, error, messages }) => ({ room, deliveries, error, messages }))
      .sort((one, other) => other.deliveries - one.deliveries)
      .slice(0, most);
  }

  #placeOf(room: string): Entry {
    const heap = this.#heap;
    if (heap.length < this.#kept) {
      const entry = { room, deliveries: 0, error: 0, messages: 0, key: 0 };
      heap.push(entry);
      this.#liftLast();
      this.#entries.set(room, entry);
      return entry;
    }
    const least = this.#least();
    this.#entries.delete(least.room);
    this.#entries.set(room, least);
    least.room = room;
    least.error = least.deliveries;
    least.messages = 0;
    return least;
  }

  /** The entry with the fewest deliveries. Keys are never too large: once the first key is right, it is the smallest. */
  #least(): Entry {
    for (;;) {
      const first = this.#heap[0] as Entry;
      if (first.key === first.deliveries) return first;
      first.key = first.deliveries;
      this.#sink();
    }
  }

  /** Moves the first entry down to where its key belongs. */
  #sink(): void {
    for (let at = 0; ; ) {
      const left = 2 * at + 1;
      const smaller = this.#key(left + 1) < this.#key(left) ? left + 1 : left;
      if (this.#key(smaller) >= this.#key(at)) return;
      this.#swap(at, smaller);
      at = smaller;
    }
  }

  /** Moves the last entry up to where its key belongs. */
  #liftLast(): void {
    for (let at = this.#heap.length - 1; at > 0; ) {
      const parent = (at - 1) >> 1;
      if (this.#key(parent) <= this.#key(at)) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #key(at: number): number {
    return this.#heap[at]?.key ?? Number.POSITIVE_INFINITY;
  }

  #swap(one: number, other: number): void {
    const [first, second] = [this.#heap[one] as Entry, this.#heap[other] as Entry];
    this.#heap[one] = second;
    this.#heap[other] = first;
  }
}
