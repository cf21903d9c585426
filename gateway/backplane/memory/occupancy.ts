/** Occupancy in memory, for one node. Contract: gateway/backplane/occupancy.ts. */
import type { OccupancyStore } from '../occupancy.ts';
import type { MemoryOutbox } from './outbox.ts';

export class MemoryOccupancy implements OccupancyStore {
  readonly #outbox: MemoryOutbox;
  readonly #rooms = new Set<string>();

  constructor(outbox: MemoryOutbox) {
    this.#outbox = outbox;
  }

  async occupy(room: string): Promise<void> {
    if (this.#rooms.has(room)) return;
    this.#rooms.add(room);
    this.#outbox.tell('room.occupied', { room });
  }

  async vacate(room: string, inDoubt: boolean): Promise<void> {
    if (this.#rooms.delete(room) || inDoubt) this.#outbox.tell('room.vacated', { room });
  }
}
