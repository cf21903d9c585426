/**
 * The contract of a backplane: what carries messages between nodes. Redis, or memory on one node.
 *
 * There is one path for every message, the publisher's own node included: publish -> backplane -> `message` of every
 * node that is subscribed. Within a room all nodes see one order. Delivery is at most once; whenever messages of a room
 * may have passed a subscribed node by, the backplane says so with `missed` before it delivers the next one.
 * One suite (test/contract) holds every implementation to this page. A backplane knows rooms and bytes, nothing of
 * connections, permissions or frames.
 */

export interface Publication {
  room: string;
  /** The finished `message` frame, JSON text; nodes hand its bytes to their members as they are. */
  frame: string;
  /** When the publishing node accepted it, Unix milliseconds. */
  at: number;
  /** Makes it idempotent: of all publications to the room with the same `by` and `key`, the first one is delivered. */
  dedupe?: { by: string; key: string };
}

export interface Published {
  /** True: this key had been published within the dedupe time, and nothing was delivered now. */
  duplicate: boolean;
}

/** What a backplane calls. Calls are synchronous, never from within a call to the backplane. */
export interface BackplaneListener {
  /** The next message of a room. `frame` may be kept. */
  message(room: string, frame: Uint8Array, at: number): void;
  /**
   * Messages of this room are missing from here on: `interrupted`, the subscription was lost and is back; `unreadable`,
   * one message came that this version cannot read.
   */
  missed(room: string, why: 'interrupted' | 'unreadable'): void;
  /** The canary came back through the backplane after this time. */
  roundTrip(seconds: number): void;
  /** A connection to the backplane was lost and made again. */
  reconnected(): void;
}

export interface Backplane {
  /** True while messages flow: connected, and a canary came back within the last seconds. */
  readonly up: boolean;

  /** Begins to connect. Resolves when up, or after a few seconds anyway: a node serves without its backplane. */
  start(listener: BackplaneListener): Promise<void>;

  /**
   * Resolves once the subscription is confirmed: whatever is published afterwards arrives or is told by `missed`.
   * Asking for a subscribed room again resolves at once. Rejects with a BackplaneError `unavailable`.
   * It is kept through reconnects until `unsubscribe`, also when it was rejected.
   */
  subscribe(room: string): Promise<void>;

  /** No `message` and no `missed` of this room follows. */
  unsubscribe(room: string): void;

  /**
   * Resolves when the backplane took the message. Publications of one node take effect in the order of the calls.
   * Rejects with a BackplaneError.
   */
  publish(publication: Publication): Promise<Published>;

  /**
   * The node stood still, and what is on its way to it is old: none of that is delivered from here on. For each
   * subscribed room it is told by `missed`.
   */
  renew(): void;

  /** Ends all connections; publications under way are rejected with `timeout`. */
  close(): Promise<void>;
}

/** `unavailable`: certainly not taken. `timeout`: the outcome is unknown; the same `key` makes a retry safe. */
export class BackplaneError extends Error {
  readonly code: 'unavailable' | 'timeout';

  constructor(code: 'unavailable' | 'timeout', message: string) {
    super(message);
    this.name = 'BackplaneError';
    this.code = code;
  }
}

/** Publications of one node that may be under way at once; one more is `unavailable`. */
export const maxPublishesUnderWay = 10_000;
export const maxPublishBytesUnderWay = 67_108_864;
