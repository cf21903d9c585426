/**
 * Probes: asks idle rooms with history, round after round, whether Redis has more than came here. docs/architecture.md has the
 * times.
 *
 * Owns the pace: the interval of rounds, and how many rooms and reads a sweep may take. What a probe does is in
 * gateway/rooms/feed.ts.
 */
import type { Reads } from './reads.ts';

/** From the start of one round to that of the next, at least. */
const intervalMs = 2_000;
const roomsPerSweep = 10_000;
const readsPerSweep = 250;

interface ProbedRoom {
  readonly members: number;
  /** Undefined for a room without history. */
  readonly feed: { probe(): boolean } | undefined;
}

export class Probes {
  readonly #rooms: ReadonlyMap<string, ProbedRoom>;
  readonly #reads: Reads;
  /** The rest of the current round; undefined between two rounds. A round takes one sweep or more. */
  #round: Iterator<ProbedRoom> | undefined;
  #roundStartedAt = 0;

  constructor(rooms: ReadonlyMap<string, ProbedRoom>, reads: Reads) {
    this.#rooms = rooms;
    this.#reads = reads;
  }

  /** The part of one sweep. `now`: of performance.now(). */
  goOn(now: number): void {
    if (this.#round === undefined) {
      if (now - this.#roundStartedAt < intervalMs) return;
      this.#roundStartedAt = now;
      this.#round = this.#rooms.values();
    }
    for (let passed = 0, reads = 0; passed < roomsPerSweep && reads < readsPerSweep && this.#reads.hasSpare; passed++) {
      const { value: room, done } = this.#round.next();
      if (done) {
        this.#round = undefined;
        return;
      }
      if (room.members > 0 && room.feed?.probe()) reads++;
    }
  }
}
