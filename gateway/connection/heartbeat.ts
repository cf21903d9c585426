/**
 * Heartbeats from the gateway: WebSocket pings (RFC 6455 section 5.5.2), spread evenly over the interval.
 *
 * A wheel: every connection belongs to one of many slots, and one timer goes from slot to slot, so neither a timer nor a
 * burst grows with the connections. The time of the ping is its payload; the pong brings it back.
 */

export interface Pinged {
  ping(now: number): void;
  missesPong(now: number, timeoutMs: number): boolean;
}

const mostTickMs = 100;
const leastTickMs = 10;
const mostSlots = 1_000;

export class Heartbeat<Connection extends Pinged> {
  readonly #slots: Set<Connection>[];
  readonly #tickMs: number;
  readonly #timeoutMs: number;
  readonly #onTimeout: (connection: Connection) => void;
  readonly #timer: NodeJS.Timeout;
  /** Slots whose pongs are still to be looked at, the oldest ping first. */
  readonly #pinged: { slot: number; at: number }[] = [];
  #position = 0;
  #next = 0;
  #due: number;

  constructor(intervalMs: number, timeoutMs: number, onTimeout: (connection: Connection) => void) {
    const tickMs = Math.min(mostTickMs, Math.max(leastTickMs, intervalMs / 10));
    const slots = Math.min(mostSlots, Math.round(intervalMs / tickMs));
    this.#slots = Array.from({ length: slots }, () => new Set<Connection>());
    this.#tickMs = intervalMs / slots;
    this.#timeoutMs = timeoutMs;
    this.#onTimeout = onTimeout;
    this.#due = performance.now() + this.#tickMs;
    this.#timer = setInterval(() => this.#tick(performance.now()), this.#tickMs);
  }

  /** Returns the slot, to be given back to `remove`. Slots fill in turn: also a burst of connections is spread. */
  add(connection: Connection): number {
    const slot = this.#next;
    this.#next = (slot + 1) % this.#slots.length;
    this.#slots[slot]?.add(connection);
    return slot;
  }

  remove(connection: Connection, slot: number): void {
    this.#slots[slot]?.delete(connection);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** A late timer catches up, but never by more than one round. */
  #tick(now: number): void {
    for (let steps = 0; this.#due <= now && steps < this.#slots.length; steps++) {
      this.#due += this.#tickMs;
      this.#step(now);
    }
    if (this.#due <= now) this.#due = now + this.#tickMs;
    this.#checkPongs(now);
  }

  #step(now: number): void {
    this.#position = (this.#position + 1) % this.#slots.length;
    for (const connection of this.#slots[this.#position] ?? []) connection.ping(now);
    this.#pinged.push({ slot: this.#position, at: now });
  }

  /** By when a slot was really pinged: a late timer must not make its answers seem early, or the round is missed. */
  #checkPongs(now: number): void {
    for (let due = this.#pinged[0]; due !== undefined && now - due.at >= this.#timeoutMs; due = this.#pinged[0]) {
      this.#pinged.shift();
      for (const connection of this.#slots[due.slot] ?? []) {
        if (connection.missesPong(now, this.#timeoutMs)) this.#onTimeout(connection);
      }
    }
  }
}
