/**
 * The contract of an outbox: events for the operator's backend, kept until they are delivered. Redis, or memory on one node.
 *
 * Stores write an event in the same step as the change that it tells of (gateway/backplane/occupancy.ts, presence.ts): no
 * change is without its event, also if the node dies right after it. All nodes share one outbox, in the order of the changes.
 * One node at a time, the sender, takes events out. When it is gone, another one goes on, with what was not acknowledged.
 * An outbox has a bound: beyond it the oldest event goes. It knows neither the receiver nor what events mean. Next:
 * gateway/webhooks/sender.ts.
 */

export const eventTypes = [
  'room.occupied',
  'room.vacated',
  'member.joined',
  'member.left',
  'connection.opened',
  'connection.closed',
] as const;

export type EventType = (typeof eventTypes)[number];

/** An event before it is in the outbox. */
export interface NewEvent {
  /** Never used before. */
  id: string;
  /** Unix ms. */
  at: number;
  /** The members of its JSON object, without braces, `at` and `id`: `"type":"room.occupied","room":"chat:lobby"`. */
  text: string;
}

export interface KeptEvent extends NewEvent {
  /** Its place in the outbox. */
  entry: string;
}

export interface Taken {
  /** This node is the sender now. */
  mine: boolean;
  /** Events in the outbox, those of all nodes. */
  waiting: number;
  /** The oldest, in order; none if another node is the sender. They stay until they are acknowledged. */
  events: KeptEvent[];
}

/** What an outbox calls; never within a call to the outbox. */
export interface OutboxListener {
  /** Events were lost: the outbox is full, or refuses them. */
  dropped(events: number): void;
}

export interface Outbox {
  /** It outlives this node, and others go on with it. */
  readonly shared: boolean;

  start(listener: OutboxListener): void;

  /** Adds events that no store writes. Rejects with a BackplaneError; then they may be there or not. */
  append(events: readonly NewEvent[]): Promise<void>;

  /**
   * Removes the entries that are `done`. Then takes the place of the sender, or keeps it, for `senderMs` from now on, unless
   * another node has it. Returns at most `limit` events. Rejects with a BackplaneError.
   */
  take(limit: number, done: readonly string[]): Promise<Taken>;

  /** Gives the place of the sender up. */
  release(): Promise<void>;

  close(): void;
}

/** So long after its last `take` a sender that was killed is replaced. */
export const senderMs = 5_000;
/** Events in the outbox; in Redis about 200 bytes each. */
export const maxKeptEvents = 100_000;
