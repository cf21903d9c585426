/**
 * Plain rooms that were published to while nobody knew for sure that Redis is still the master.
 *
 * A replica takes a PUBLISH like a master does, and hands it to its own subscribers only. Each question for the master
 * that is answered well proves what was published before it; what is left when the connection comes to another master may
 * have reached nobody there, and is told as missing. It holds rooms of about two seconds.
 */
export class Unproven {
  #rooms = new Set<string>();
  /** Published to before the question that is under way. */
  #asked = new Set<string>();

  add(room: string): void {
    this.#rooms.add(room);
  }

  /** The question is about to be sent, on the connection that publishes. */
  ask(): void {
    for (const room of this.#asked) this.#rooms.add(room);
    this.#asked = this.#rooms;
    this.#rooms = new Set();
  }

  proven(): void {
    this.#asked = new Set();
  }

  /** Returns all that is unproven, and forgets it. */
  take(): Set<string> {
    this.ask();
    const rooms = this.#asked;
    this.proven();
    return rooms;
  }
}
