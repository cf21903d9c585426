/**
 * The memory backplane: one node, nothing to install. Keeps the contract of gateway/backplane/backplane.ts.
 *
 * Messages go out one turn of the event loop after `publish`: the hub must never fan out inside a handler of the
 * WebSocket server, where it is many times slower (docs/architecture.md).
 */
import type { Position } from '../../../shared/protocol.ts';
import {
  type Backplane,
  BackplaneError,
  type BackplaneListener,
  type HistoryPage,
  type HistoryQuery,
  maxPublishBytesUnderWay,
  maxPublishesUnderWay,
  type Publication,
  type Published,
} from '../backplane.ts';
import { MemoryHistory } from './history.ts';

/** Keys remembered at once; beyond, a publish with a key is refused rather than a promise broken. */
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
  /** In the order in which keys are forgotten, since all live equally long. */
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
    if (this.#queue.length >= maxPublishesUnderWay || this.#queuedBytes + bytes > maxPublishBytesUnderWay) {
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
    // Nothing waits here for longer than a turn of the event loop.
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

  /** Undefined where the message has no key. Refuses when too many keys are remembered. */
  #keyOf({ room, dedupe }: Publication): string | undefined {
    if (dedupe === undefined) return undefined;
    const now = performance.now();
    for (const [known, { forgetAt }] of this.#keys) {
      if (forgetAt > now) break;
      this.#keys.delete(known);
    }
    const key = JSON.stringify([room, dedupe.by, dedupe.key]);
    if (!this.#keys.has(key) && this.#keys.size >= maxKeys) {
      throw new BackplaneError('unavailable', 'too many keys are remembered already');
    }
    return key;
  }
}
