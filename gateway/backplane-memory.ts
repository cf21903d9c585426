/**
 * The memory backplane: one node, nothing to install. Keeps the contract of gateway/backplane.ts.
 *
 * Messages go out one turn of the event loop after `publish`: the hub must never fan out inside a handler of the
 * WebSocket server, where it is many times slower (docs/architecture.md).
 */
import {
  type Backplane,
  BackplaneError,
  type BackplaneListener,
  maxPublishBytesUnderWay,
  maxPublishesUnderWay,
  type Publication,
  type Published,
} from './backplane.ts';

/** Keys remembered at once; beyond, a publish with a key is refused rather than a promise broken. */
const maxKeys = 1_000_000;

export class MemoryBackplane implements Backplane {
  readonly #dedupeMs: number;
  readonly #rooms = new Set<string>();
  /** Key to the time it is forgotten; in the order of that time, since all live equally long. */
  readonly #keys = new Map<string, number>();
  #listener: BackplaneListener | undefined;
  #queue: Publication[] = [];
  #queuedBytes = 0;

  constructor(dedupeMs: number) {
    this.#dedupeMs = dedupeMs;
  }

  get up(): boolean {
    return this.#listener !== undefined;
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
    const bytes = Buffer.byteLength(publication.frame);
    if (this.#queue.length >= maxPublishesUnderWay || this.#queuedBytes + bytes > maxPublishBytesUnderWay) {
      throw new BackplaneError('unavailable', 'too many messages are waiting on this node');
    }
    if (publication.dedupe !== undefined && !this.#remember(publication)) return { duplicate: true };
    if (this.#queue.length === 0) setImmediate(() => this.#deliver());
    this.#queue.push(publication);
    this.#queuedBytes += bytes;
    return { duplicate: false };
  }

  renew(): void {
    // Nothing waits here for longer than a turn of the event loop.
  }

  async close(): Promise<void> {
    this.#listener = undefined;
  }

  #deliver(): void {
    const queue = this.#queue;
    this.#queue = [];
    this.#queuedBytes = 0;
    for (const { room, frame, at } of queue) {
      if (this.#rooms.has(room)) this.#listener?.message(room, Buffer.from(frame), at);
    }
  }

  /** False if the key is known already. */
  #remember({ room, dedupe }: Publication): boolean {
    const now = performance.now();
    for (const [known, forgetAt] of this.#keys) {
      if (forgetAt > now) break;
      this.#keys.delete(known);
    }
    const key = JSON.stringify([room, dedupe?.by, dedupe?.key]);
    if (this.#keys.has(key)) return false;
    if (this.#keys.size >= maxKeys) throw new BackplaneError('unavailable', 'too many keys are remembered already');
    this.#keys.set(key, now + this.#dedupeMs);
    return true;
  }
}
