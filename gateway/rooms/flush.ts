/**
 * The flush tick of busy rooms (GATEWAY_FLUSH_MS): trades a few milliseconds of latency for far fewer writes.
 *
 * The WebSocket server writes to a member once per turn of the event loop, so a room costs one write per member for
 * every turn with a message. Here the first message of a room passes at once; later ones within the tick are queued and
 * passed on together. It sits between backplane and hub: to the hub it is a backplane with up to one tick more latency
 * and the same order in each room. It knows neither.
 */
import type { Position } from '../../shared/protocol.ts';
import type { BackplaneListener, PresenceUpdate } from '../backplane/backplane.ts';

/** Queued for all rooms together. Above this, everything is flushed at once. */
const maxQueuedBytes = 262_144;

interface Queued {
  frame: Uint8Array;
  at: number;
  position: Position | undefined;
}

export class Flush implements BackplaneListener {
  readonly #listener: BackplaneListener;
  readonly #tickMs: number;
  /** Queues of the rooms that had a message in the last tick. */
  readonly #busy = new Map<string, Queued[]>();
  #queuedBytes = 0;
  #timer: NodeJS.Timeout | undefined;

  /** `tickMs` is the longest time that a message is queued. */
  constructor(listener: BackplaneListener, tickMs: number) {
    this.#listener = listener;
    this.#tickMs = tickMs;
  }

  message(room: string, frame: Uint8Array, at: number, position: Position | undefined): void {
    const queued = this.#busy.get(room);
    if (queued === undefined) {
      this.#busy.set(room, []);
      this.#timer ??= setTimeout(() => this.#tick(), this.#tickMs);
      this.#listener.message(room, frame, at, position);
      return;
    }
    queued.push({ frame, at, position });
    this.#queuedBytes += frame.length;
    if (this.#queuedBytes > maxQueuedBytes) for (const name of this.#busy.keys()) this.#flush(name);
  }

  gap(room: string, why: 'interrupted' | 'unreadable'): void {
    this.#flush(room);
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

  /** Passes on the queue of a room. Returns false if it is empty. */
  #flush(room: string): boolean {
    const queued = this.#busy.get(room) ?? [];
    if (queued.length === 0) return false;
    this.#busy.set(room, []);
    for (const { frame, at, position } of queued) {
      this.#queuedBytes -= frame.length;
      this.#listener.message(room, frame, at, position);
    }
    return true;
  }

  #tick(): void {
    for (const room of this.#busy.keys()) if (!this.#flush(room)) this.#busy.delete(room);
    this.#timer = this.#busy.size === 0 ? undefined : setTimeout(() => this.#tick(), this.#tickMs);
  }
}
