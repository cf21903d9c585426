/**
 * Plain rooms that were published to since Redis was last confirmed to be the master.
 *
 * A replica accepts PUBLISH like a master, and delivers it to its own subscribers only. A probe that finds the master
 * confirms every publish before it. After a failover, what was not confirmed may have reached nobody: these rooms get a
 * `gap`. It holds the rooms of about two seconds.
 */
export class UnconfirmedRooms {
  /** Published to since the last probe was sent. */
  #rooms = new Set<string>();
  /** Published to before the probe in flight. */
  #probed = new Set<string>();

  add(room: string): void {
    this.#rooms.add(room);
  }

  /** Call it right before the probe is sent, on the connection that publishes. */
  probe(): void {
    for (const room of this.#probed) this.#rooms.add(room);
    this.#probed = this.#rooms;
    this.#rooms = new Set();
  }

  /** The probe in flight found the master. */
  confirm(): void {
    this.#probed = new Set();
  }

  /** Returns all, and forgets them. */
  take(): Set<string> {
    this.probe();
    const rooms = this.#probed;
    this.confirm();
    return rooms;
  }
}
