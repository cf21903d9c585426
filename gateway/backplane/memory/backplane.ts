/**
 * The backplane in memory, for one node. Contract: gateway/backplane/backplane.ts.
 *
 * Messages are delivered one turn of the event loop after `publish`: fanning out within a handler of the WebSocket server is
 * many times slower (docs/architecture.md).
 */
import type { Position } from '../../../shared/protocol.ts';
import {
  type Backplane,
  BackplaneError,
  type BackplaneListener,
  type HistoryPage,
  type HistoryQuery,
  maxPublishBytesInFlight,
  maxPublishesInFlight,
  type Publication,
  type Published,
} from '../backplane.ts';
import { MemoryHistory } from './history.ts';

/** Remembered keys. Beyond it a publish with a new key is `unavailable`: its retry could not be recognised. */
const maxKeys = 1_000_000;

interface Delivery {
  room: string;
  frame: Buffer;
  at: number;
  position: Position | undefined;
}

export class MemoryBackplane implements Backplane {
  readonly #dedupeMs: number;
  readonly #rooms = new Set<string>();
  readonly #history = new MemoryHistory();
  /** The oldest first: all keys live equally long. */
  readonly #keys = new Map<string, { forgetAt: number; position: Position | undefined }>();
  #listener: BackplaneListener | undefined;
  #queue: Delivery[] = [];
  #queuedBytes = 0;

  constructor(dedupeMs: number) {
    this.#dedupeMs = dedupeMs;
  }

  get up(): boolean {
    return this.#listener !== undefined;
  }

  get trouble(): undefined {
    return undefined;
  }

  async start(listener: BackplaneListener): Promise<void> {
    this.#listener = listener;
  }

  async subscribe(room: string): Promise<void> {
    this.#rooms.add(room);
  }

  unsubscribe(room: string): void {
    this.#rooms.delete(room);
  }

  async publish(publication: Publication): Promise<Published> {
    if (this.#listener === undefined) throw new BackplaneError('unavailable', 'the node is stopping');
    const bytes = Buffer.byteLength(publication.prefix) + Buffer.byteLength(publication.suffix);
    if (this.#queue.length >= maxPublishesInFlight || this.#queuedBytes + bytes > maxPublishBytesInFlight) {
      throw new BackplaneError('unavailable', 'too many messages are waiting on this node');
    }
    const key = this.#keyOf(publication);
    const first = key === undefined ? undefined : this.#keys.get(key);
    if (first !== undefined) return { duplicate: true, position: first.position };
    const delivery = this.#keep(publication);
    if (key !== undefined) {
      this.#keys.set(key, { forgetAt: performance.now() + this.#dedupeMs, position: delivery.position });
    }
    if (this.#queue.length === 0) setImmediate(() => this.#deliver());
    this.#queue.push(delivery);
    this.#queuedBytes += bytes;
    return { duplicate: false, position: delivery.position };
  }

  async read(room: string, query: HistoryQuery): Promise<HistoryPage> {
    if (this.#listener === undefined) throw new BackplaneError('unavailable', 'the node is stopping');
    return this.#history.read(room, query);
  }

  renew(): void {
    // Nothing waits here for more than one turn of the event loop.
  }

  async close(): Promise<void> {
    this.#listener = undefined;
  }

  #deliver(): void {
    const queue = this.#queue;
    this.#queue = [];
    this.#queuedBytes = 0;
    for (const { room, frame, at, position } of queue) {
      if (this.#rooms.has(room)) this.#listener?.message(room, frame, at, position);
    }
  }

  #keep(publication: Publication): Delivery {
    const { room, at, history, prefix, suffix } = publication;
    if (history === undefined) return { room, frame: Buffer.from(prefix + suffix), at, position: undefined };
    const { frame, ...position } = this.#history.append(publication, history);
    return { room, frame, at, position };
  }

  /** Undefined: no key. Throws a BackplaneError if too many keys are remembered. */
  #keyOf({ room, dedupe }: Publication): string | undefined {
    if (dedupe === undefined) return undefined;
    const now = performance.now();
    for (const [oldest, { forgetAt }] of this.#keys) {
      if (forgetAt > now) break;
      this.#keys.delete(oldest);
    }
    const key = JSON.stringify([room, dedupe.by, dedupe.key]);
    if (!this.#keys.has(key) && this.#keys.size >= maxKeys) {
      throw new BackplaneError('unavailable', 'too many keys are remembered on this node');
    }
    return key;
  }
}
