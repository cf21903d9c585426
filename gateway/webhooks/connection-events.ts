/**
 * Connections that opened and closed on this node, as events for the backend.
 *
 * Owns those that are not in the outbox yet: a few a time, at most `maxPending`. While the outbox is away they wait here, and
 * are lost with the node. It listens to events of this node (gateway/telemetry/events.ts) and knows no connection.
 */
import { BackplaneError } from '../backplane/backplane.ts';
import type { EventType, NewEvent, Outbox } from '../backplane/outbox.ts';
import type { Events } from '../telemetry/events.ts';
import type { Faults } from '../telemetry/faults.ts';

const appendMs = 250;
/** Of one append: a script of Redis. */
const maxAppended = 500;
export const maxPending = 10_000;

export class ConnectionEvents implements Pick<Events, 'clientWelcomed' | 'clientLeft'> {
  readonly #outbox: Outbox;
  readonly #types: ReadonlySet<EventType>;
  readonly #instance: string;
  readonly #faults: Faults;
  readonly #timer: NodeJS.Timeout;
  #pending: NewEvent[] = [];
  #count = 0;
  #appending: Promise<void> | undefined;
  /** So many events were lost. */
  onDropped: (events: number) => void = () => undefined;

  /** `instance`: this run of the node, the prefix of the id of each connection. */
  constructor(outbox: Outbox, types: Iterable<EventType>, instance: string, faults: Faults) {
    this.#outbox = outbox;
    this.#types = new Set(types);
    this.#instance = instance;
    this.#faults = faults;
    this.#timer = setInterval(() => void this.#append(), appendMs).unref();
  }

  clientWelcomed(connection: number, user: string | null): void {
    this.#add('connection.opened', connection, user);
  }

  clientLeft(connection: number, user: string | null): void {
    this.#add('connection.closed', connection, user);
  }

  /** Appends what is left, if the outbox takes it. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#appending;
    for (let before = Number.POSITIVE_INFINITY; this.#pending.length > 0 && this.#pending.length < before; ) {
      before = this.#pending.length;
      await this.#append();
    }
    if (this.#pending.length > 0) this.onDropped(this.#pending.length);
  }

  #add(type: EventType, connection: number, user: string | null): void {
    if (!this.#types.has(type)) return;
    const fields = { type, ...(user === null ? {} : { user }), connection: `${this.#instance}-${connection}` };
    const id = `${this.#instance}-c${++this.#count}`;
    this.#pending.push({ id, at: Date.now(), text: JSON.stringify(fields).slice(1, -1) });
    if (this.#pending.length <= maxPending) return;
    this.#pending.shift();
    this.onDropped(1);
  }

  /** One append at a time. */
  #append(): Promise<void> {
    this.#appending ??= this.#appendSome().finally(() => {
      this.#appending = undefined;
    });
    return this.#appending;
  }

  async #appendSome(): Promise<void> {
    if (this.#pending.length === 0) return;
    const batch = this.#pending.splice(0, maxAppended);
    try {
      await this.#outbox.append(batch);
    } catch (error) {
      if (error instanceof BackplaneError) this.#keep(batch);
      else this.#faults.report('appending events for the webhook failed', error);
    }
  }

  /** They may be in the outbox twice then, with the same ids. */
  #keep(batch: NewEvent[]): void {
    const room = Math.max(0, maxPending - this.#pending.length);
    const lost = Math.max(0, batch.length - room);
    this.#pending = [...batch.slice(lost), ...this.#pending];
    if (lost > 0) this.onDropped(lost);
  }
}
