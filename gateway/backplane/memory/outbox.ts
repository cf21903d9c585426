/** The outbox in memory, for one node: the only sender. Contract: gateway/backplane/outbox.ts. */
import type { EventType, KeptEvent, NewEvent, Outbox, OutboxListener, Taken } from '../outbox.ts';

export class MemoryOutbox implements Outbox {
  readonly shared = false;
  readonly #types: ReadonlySet<EventType>;
  readonly #instance: string;
  readonly #most: number;
  /** By entry, the oldest first. */
  readonly #events = new Map<string, KeptEvent>();
  #listener: OutboxListener | undefined;
  #count = 0;

  /** `types`: of the events that stores tell; `instance`: this run of the node; `most`: events that are kept. */
  constructor({ types, instance, most }: { types: Iterable<EventType>; instance: string; most: number }) {
    this.#types = new Set(types);
    this.#instance = instance;
    this.#most = most;
  }

  start(listener: OutboxListener): void {
    this.#listener = listener;
  }

  /** For stores. */
  tell(type: EventType, fields: object): void {
    if (!this.#types.has(type)) return;
    const text = JSON.stringify({ type, ...fields }).slice(1, -1);
    this.#add({ id: `${this.#instance}-${this.#count + 1}`, at: Date.now(), text });
  }

  async append(events: readonly NewEvent[]): Promise<void> {
    for (const event of events) this.#add(event);
  }

  async take(limit: number, done: readonly string[]): Promise<Taken> {
    for (const entry of done) this.#events.delete(entry);
    const events: KeptEvent[] = [];
    for (const event of this.#events.values()) {
      if (events.length === limit) break;
      events.push(event);
    }
    return { mine: true, waiting: this.#events.size, events };
  }

  async release(): Promise<void> {
    // Nobody waits for the place.
  }

  close(): void {
    this.#listener = undefined;
  }

  #add(event: NewEvent): void {
    const entry = String(++this.#count);
    this.#events.set(entry, { ...event, entry });
    if (this.#events.size <= this.#most) return;
    const [oldest = ''] = this.#events.keys();
    this.#events.delete(oldest);
    setImmediate(() => this.#listener?.dropped(1));
  }
}
