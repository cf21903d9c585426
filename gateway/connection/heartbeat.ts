/**
 * Heartbeats of the gateway: WebSocket pings (RFC 6455 section 5.5.2), spread evenly over the interval.
 *
 * A timer wheel: each connection is in one slot, and one timer pings slot after slot. So the number of timers and the
 * size of a burst of pings do not grow with the connections. The payload of a ping is its time, and the pong returns
 * it.
 */

export interface Pinged {
  ping(now: number): void;
  missesPong(now: number, timeoutMs: number): boolean;
}

const maxTickMs = 100;
const minTickMs = 10;
const maxSlots = 1_000;

export class Heartbeat<Connection extends Pinged> {
  readonly #slots: Set<Connection>[];
  readonly #tickMs: number;
  readonly #timeoutMs: number;
  readonly #onTimeout: (connection: Connection) => void;
  readonly #timer: NodeJS.Timeout;
  /** Slots whose pongs are to be checked, oldest ping first. */
  readonly #awaitingPongs: { slot: number; at: number }[] = [];
  #currentSlot = 0;
  #nextSlot = 0;
  #nextTickAt: number;

  constructor(intervalMs: number, timeoutMs: number, onTimeout: (connection: Connection) => void) {
    const tickMs = Math.min(maxTickMs, Math.max(minTickMs, intervalMs / 10));
    const slots = Math.min(maxSlots, Math.round(intervalMs / tickMs));
    this.#slots = Array.from({ length: slots }, () => new Set<Connection>());
    this.#tickMs = intervalMs / slots;
    this.#timeoutMs = timeoutMs;
    this.#onTimeout = onTimeout;
    this.#nextTickAt = performance.now() + this.#tickMs;
    this.#timer = setInterval(() => this.#tick(performance.now()), this.#tickMs);
  }

  /** Returns the slot, which `remove` needs. Slots fill in turn, so a burst of connections is spread too. */
  add(connection: Connection): number {
    const slot = this.#nextSlot;
    this.#nextSlot = (slot + 1) % this.#slots.length;
    this.#slots[slot]?.add(connection);
    return slot;
  }

  remove(connection: Connection, slot: number): void {
    this.#slots[slot]?.delete(connection);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** A late timer catches up, by at most one round. */
  #tick(now: number): void {
    for (let slots = 0; this.#nextTickAt <= now && slots < this.#slots.length; slots++) {
      this.#nextTickAt += this.#tickMs;
      this.#pingNextSlot(now);
    }
    if (this.#nextTickAt <= now) this.#nextTickAt = now + this.#tickMs;
    this.#checkPongs(now);
  }

  #pingNextSlot(now: number): void {
    this.#currentSlot = (this.#currentSlot + 1) % this.#slots.length;
    for (const connection of this.#slots[this.#currentSlot] ?? []) connection.ping(now);
    this.#awaitingPongs.push({ slot: this.#currentSlot, at: now });
  }

  /** Measured from the real time of the ping: after a late timer the planned time would end the timeout too early. */
  #checkPongs(now: number): void {
    for (
      let due = this.#awaitingPongs[0];
      due !== undefined && now - due.at >= this.#timeoutMs;
      due = this.#awaitingPongs[0]
    ) {
      this.#awaitingPongs.shift();
      for (const connection of this.#slots[due.slot] ?? []) {
        if (connection.missesPong(now, this.#timeoutMs)) this.#onTimeout(connection);
      }
    }
  }
}
