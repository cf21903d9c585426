/**
 * Webhooks: what happens on the nodes, told to the operator's backend. Puts the parts together; without the settings there is
 * none of this.
 *
 *     events of this node ──► occupied-rooms.ts, connection-events.ts ──► stores ──► the outbox ──► sender.ts ──► receiver.ts
 *
 * Stores write events together with the changes they tell of (gateway/backplane/outbox.ts). Owns the log of lost events.
 */
import type { OccupancyStore } from '../backplane/occupancy.ts';
import type { EventType, Outbox } from '../backplane/outbox.ts';
import type { Events } from '../telemetry/events.ts';
import type { Faults } from '../telemetry/faults.ts';
import type { Logger } from '../telemetry/log.ts';
import { ConnectionEvents } from './connection-events.ts';
import { OccupiedRooms } from './occupied-rooms.ts';
import { Receiver, type ReceiverOptions } from './receiver.ts';
import { Sender } from './sender.ts';

export interface WebhooksOptions extends ReceiverOptions {
  types: readonly EventType[];
  /** This run of the node. */
  instance: string;
  outbox: Outbox;
  occupancy: OccupancyStore;
  faults: Faults;
  log: Logger;
}

const dropLogMs = 60_000;

export class Webhooks {
  readonly #options: WebhooksOptions;
  readonly #receiver: Receiver;
  readonly #rooms: OccupiedRooms | undefined;
  readonly #connections: ConnectionEvents | undefined;
  #sender: Sender | undefined;
  /** Events lost since the last line of the log. */
  #lost = 0;
  #lossTimer: NodeJS.Timeout | undefined;

  constructor(options: WebhooksOptions) {
    const { faults, instance, occupancy, outbox, types } = options;
    this.#options = options;
    this.#receiver = new Receiver(options);
    const has = (prefix: string) => types.some((type) => type.startsWith(prefix));
    this.#rooms = has('room.') ? new OccupiedRooms(occupancy, faults) : undefined;
    this.#connections = has('connection.') ? new ConnectionEvents(outbox, types, instance, faults) : undefined;
  }

  /** They listen to the events of this node. */
  get listeners(): Partial<Events>[] {
    const toRooms: Partial<Events> = {
      roomOccupied: (room) => this.#rooms?.roomOccupied(room),
      roomVacated: (room) => this.#rooms?.roomVacated(room),
    };
    const toConnections: Partial<Events> = {
      clientWelcomed: (connection, user) => this.#connections?.clientWelcomed(connection, user),
      clientLeft: (connection, user) => this.#connections?.clientLeft(connection, user),
    };
    return [...(this.#rooms ? [toRooms] : []), ...(this.#connections ? [toConnections] : [])];
  }

  /** Events that wait, of all nodes. */
  get waiting(): number {
    return this.#sender?.waiting ?? 0;
  }

  start(events: Events): void {
    const { faults, log, outbox } = this.#options;
    const dropped = (lost: number) => {
      events.webhooks('dropped', lost);
      this.#logLoss(lost);
    };
    outbox.start({ dropped });
    if (this.#connections !== undefined) this.#connections.onDropped = dropped;
    this.#sender = new Sender({ outbox, receiver: this.#receiver, events, faults, log, onLost: dropped });
    this.#sender.start();
  }

  /** The stores may not hold what this node wrote. */
  outOfSync(): void {
    this.#rooms?.outOfSync();
  }

  /** All clients are gone: writes what is left to the stores. */
  async settle(): Promise<void> {
    await Promise.all([this.#rooms?.close(), this.#connections?.close()]);
  }

  /** To be called when the stores write nothing any more: sends what is left. */
  async close(): Promise<void> {
    await this.#sender?.close();
    this.#receiver.close();
    this.#options.outbox.close();
    if (this.#lossTimer !== undefined) this.#writeLoss();
  }

  /** A line at once, then one a minute with a count. */
  #logLoss(lost: number): void {
    this.#lost += lost;
    if (this.#lossTimer === undefined) this.#writeLoss();
  }

  #writeLoss(): void {
    clearTimeout(this.#lossTimer);
    this.#lossTimer = undefined;
    if (this.#lost === 0) return;
    const fields = { events: this.#lost };
    this.#lost = 0;
    this.#options.log.error(
      fields,
      'events for the webhook were dropped: too many wait, or Redis refuses or lost them',
    );
    this.#lossTimer = setTimeout(() => this.#writeLoss(), dropLogMs).unref();
  }
}
