/**
 * The rooms with members on this node, as the other nodes know them: writes the first and the last member of each to the store.
 *
 * Listens to events of this node (gateway/telemetry/events.ts). A room whose last member left is written as empty only after
 * `lingerMs`, so that nothing is told of a client that flaps, or that moves to another node in a drain: that node has written
 * the room by then. A write that failed, or that Redis may have lost, is made again. It knows neither members nor Redis. Next:
 * gateway/backplane/occupancy.ts.
 */
import { BackplaneError } from '../backplane/backplane.ts';
import type { OccupancyStore } from '../backplane/occupancy.ts';
import type { Events } from '../telemetry/events.ts';
import type { Faults } from '../telemetry/faults.ts';

interface Place {
  occupied: boolean;
  emptySince: number;
  /** What the store has. Undefined: the last write may be lost. */
  stored: boolean | undefined;
  /** It is to be written as empty, and may have been empty before. */
  inDoubt: boolean;
  writing: boolean;
}

/** Between two looks at the rooms that changed. */
const lookMs = 250;
export const lingerMs = 2_000;
/** The same while the node closes. A client that moves has joined its new node before. */
const closingLingerMs = 1_000;
/** Writes at a time, so that the store and the connection to it keep up. */
const maxWriting = 100;
const retryMs = 5_000;
/** Audit: every room is written again once per so many seconds, because its key may be deleted, or hold dead nodes. */
const auditsPerRound = 60;
const looksPerAudit = 1_000 / lookMs;
const closeTimeoutMs = 2_000;

export class OccupiedRooms implements Pick<Events, 'roomOccupied' | 'roomVacated'> {
  readonly #store: OccupancyStore;
  readonly #faults: Faults;
  readonly #places = new Map<string, Place>();
  /** Rooms to be written. */
  readonly #due = new Set<string>();
  /** Rooms that are empty and may be occupied again, in the order in which they were left. */
  readonly #lingering = new Set<string>();
  readonly #timer: NodeJS.Timeout;
  #lingerMs = lingerMs;
  #writing = 0;
  #looks = 0;
  /** A write is due in this turn. */
  #soon = false;
  /** Rooms left in the current round of audits. */
  #toAudit: string[] = [];

  constructor(store: OccupancyStore, faults: Faults) {
    this.#store = store;
    this.#faults = faults;
    this.#timer = setInterval(() => this.#look(), lookMs).unref();
  }

  /** It is written in this turn, so that the room is told as occupied before its first member is told. */
  roomOccupied(room: string): void {
    const place = this.#places.get(room);
    if (place === undefined) {
      this.#places.set(room, { occupied: true, emptySince: 0, stored: false, inDoubt: false, writing: false });
    } else place.occupied = true;
    this.#lingering.delete(room);
    this.#writeSoon(room);
  }

  roomVacated(room: string): void {
    const place = this.#places.get(room);
    if (place === undefined) return;
    place.occupied = false;
    place.emptySince = performance.now();
    this.#due.delete(room);
    this.#lingering.delete(room);
    this.#lingering.add(room);
  }

  /** The store may not hold what this node wrote. */
  outOfSync(): void {
    for (const [room, place] of this.#places) {
      if (place.stored === false) continue;
      place.stored = undefined;
      place.inDoubt = true;
      this.#writeSoon(room);
    }
  }

  /** To be called when no member is left. Other nodes reap whatever is not written in time. */
  async close(): Promise<void> {
    this.#lingerMs = closingLingerMs;
    const end = performance.now() + closeTimeoutMs;
    while (this.#places.size > 0 && performance.now() < end) {
      this.#look();
      await new Promise((resolve) => setTimeout(resolve, lookMs / 10));
    }
    clearInterval(this.#timer);
  }

  #look(): void {
    if (++this.#looks % looksPerAudit === 0) this.#auditSome();
    const now = performance.now();
    for (const room of this.#lingering) {
      if (now - (this.#places.get(room)?.emptySince ?? 0) < this.#lingerMs) break;
      this.#lingering.delete(room);
      this.#writeSoon(room);
    }
  }

  /** Unless it lingers: then later. */
  #writeSoon(room: string): void {
    if (this.#lingering.has(room)) return;
    this.#due.add(room);
    if (this.#soon) return;
    this.#soon = true;
    setImmediate(() => {
      this.#soon = false;
      this.#write();
    });
  }

  /** As many as may be under way. Each that ends calls it again. */
  #write(): void {
    for (const room of this.#due) {
      if (this.#writing >= maxWriting) return;
      this.#due.delete(room);
      const place = this.#places.get(room);
      // One that is being written is looked at again when that is done.
      if (place === undefined || place.writing) continue;
      if (place.stored !== place.occupied) this.#writeOne(room, place);
      else if (!place.occupied) this.#places.delete(room);
    }
  }

  #writeOne(room: string, place: Place): void {
    const { inDoubt, occupied } = place;
    place.writing = true;
    place.inDoubt = false;
    this.#writing++;
    const written = occupied ? this.#store.occupy(room) : this.#store.vacate(room, inDoubt);
    written
      .then(
        () => {
          place.stored = occupied;
          return 0;
        },
        (error: unknown) => {
          if (!(error instanceof BackplaneError))
            this.#faults.report('writing an occupied room failed', error, { room });
          place.stored = undefined;
          place.inDoubt = true;
          return retryMs;
        },
      )
      .then((delayMs) => {
        place.writing = false;
        this.#writing--;
        if (delayMs === 0) this.#writeSoon(room);
        else setTimeout(() => this.#writeSoon(room), delayMs).unref();
      });
  }

  #auditSome(): void {
    const second = (this.#looks / looksPerAudit) % auditsPerRound;
    if (second === 0) this.#toAudit = [...this.#places.keys()];
    const share = Math.ceil(this.#toAudit.length / (auditsPerRound - second));
    for (const room of this.#toAudit.splice(0, share)) {
      const place = this.#places.get(room);
      if (place?.occupied !== true || place.stored !== true) continue;
      place.stored = undefined;
      this.#writeSoon(room);
    }
  }
}
