/**
 * The flush tick of busy rooms (GATEWAY_FLUSH_MS): trades a few milliseconds for far fewer writes.
 *
 * The WebSocket server hands a member everything that one turn of the event loop brings in one write, so a room costs as
 * many writes as there are turns with a message. Here the first message of a room passes at once, and those that follow
 * within the tick are held and passed on together. It stands between backplane and hub and keeps what both know of each
 * other: to the hub it looks like a backplane that is slower by up to one tick, in the same order for each room. It knows
 * neither.
 */
import type { Position } from '../../shared/protocol.ts';
import type { BackplaneListener, PresenceUpdate } from '../backplane/backplane.ts';

/** Held by all rooms together; above it everything passes. */
const maxHeldBytes = 262_144;

interface Held {
  frame: Uint8Array;
  at: number;
  position: Position | undefined;
}

export class Flush implements BackplaneListener {
  readonly #listener: BackplaneListener;
  readonly #tickMs: number;
  /** Rooms with a message in the last tick. */
  readonly #busy = new Map<string, Held[]>();
  #heldBytes = 0;
  #timer: NodeJS.Timeout | undefined;

  /** `tickMs` is how long a message may be held at the most. */
  constructor(listener: BackplaneListener, tickMs: number) {
    this.#listener = listener;
    this.#tickMs = tickMs;
  }

  message(room: string, frame: Uint8Array, at: number, position: Position | undefined): void {
    const held = this.#busy.get(room);
    if (held === undefined) {
      this.#busy.set(room, []);
      this.#timer ??= setTimeout(() => this.#tick(), this.#tickMs);
      this.#listener.message(room, frame, at, position);
      return;
    }
    held.push({ frame, at, position });
    this.#heldBytes += frame.length;
    if (this.#heldBytes > maxHeldBytes) for (const name of this.#busy.keys()) this.#release(name);
  }

  gap(room: string, why: 'interrupted' | 'unreadable'): void {
    this.#release(room);
    this.#listener.gap(room, why);
  }

  presence(update: PresenceUpdate): void {
    this.#listener.presence(update);
  }

  roundTrip(seconds: number): void {
    this.#listener.roundTrip(seconds);
  }

  reconnected(): void {
    this.#listener.reconnected();
  }

  /** Passes on what is held of a room. Returns false if that is nothing. */
  #release(room: string): boolean {
    const held = this.#busy.get(room) ?? [];
    if (held.length === 0) return false;
    this.#busy.set(room, []);
    for (const { frame, at, position } of held) {
      this.#heldBytes -= frame.length;
      this.#listener.message(room, frame, at, position);
    }
    return true;
  }

  #tick(): void {
    for (const room of this.#busy.keys()) if (!this.#release(room)) this.#busy.delete(room);
    this.#timer = this.#busy.size === 0 ? undefined : setTimeout(() => this.#tick(), this.#tickMs);
  }
}
