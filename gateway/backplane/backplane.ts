/**
 * The contract of a backplane: what carries messages between nodes. Redis, or memory on one node.
 *
 * There is one path for every message, the publisher's own node included: publish -> backplane -> `message` of every
 * node that is subscribed. Within a room all nodes see one order. Delivery is at most once; whenever messages of a room
 * may have passed a subscribed node by, the backplane says so with `missed` before it delivers the next one.
 *
 * A message of a room with history is also kept, and has a position: an epoch, and an offset that rises by one. To keep
 * and to deliver it is one step, so both have one order. When what was kept may have lost its end (a restart without
 * all of it, a failover, an eviction), the room begins a new epoch; an offset never stands for two messages.
 * One suite (test/contract) holds every implementation to this page. A backplane knows rooms and bytes, nothing of
 * connections, permissions or frames.
 */
import type { JoinLeaveFrame, Position } from '../../shared/protocol.ts';

/** What is kept of a room: at most so many messages and bytes, until so long after the last publish. */
export interface HistoryRule {
  size: number;
  maxBytes: number;
  ttlSeconds: number;
}

export interface Publication {
  room: string;
  /**
   * The finished `message` frame, JSON text: `prefix` and `suffix`, with the offset between them in a room with history.
   * Nodes hand its bytes to their members as they are.
   */
  prefix: string;
  suffix: string;
  /** Where the text of `data` lies in `suffix`, in UTF-16 units; undefined: nobody says. */
  data?: { start: number; length: number } | undefined;
  /** When the publishing node accepted it, Unix milliseconds. */
  at: number;
  /** Makes it idempotent: of all publications to the room with the same `by` and `key`, the first one is delivered. */
  dedupe?: { by: string; key: string };
  /** How the room keeps messages; undefined: it is a plain one. */
  history?: HistoryRule | undefined;
  /** The room's position as far as this node has seen: a backplane that is behind it has lost messages. */
  known?: Position | undefined;
}

export interface Published {
  /** True: this key had been published within the dedupe time, and nothing was delivered now. */
  duplicate: boolean;
  /** Of the message, the first one where this is a duplicate; in a room with history. */
  position?: Position | undefined;
}

/** Asks for messages that are kept, in ascending order: at most `limit` and, but for the first, `maxBytes`. */
export interface HistoryQuery {
  /**
   * Those after it; without an epoch, in the present one. Of another epoch: from where the present one began. Without a
   * position: the newest ones.
   */
  after?: { epoch: string | undefined; offset: number } | undefined;
  /** Only those with a lower offset. */
  before?: number | undefined;
  limit: number;
  maxBytes: number;
  /** See Publication. */
  known?: Position | undefined;
}

export interface HistoryPage {
  epoch: string;
  /** The newest offset of the epoch, 0 when nothing was published yet. */
  top: number;
  /** The epoch began behind this offset: 0, or higher where messages of the epoch before are left. They are kept on. */
  base: number;
  /** The oldest offset that is kept; `top` + 1 when none is, and where no messages were asked for. */
  first: number;
  messages: KeptMessage[];
}

export interface KeptMessage {
  offset: number;
  /** The finished frame. */
  frame: Uint8Array;
}

/**
 * What a presence store tells the nodes of a room. `recount`: who is there was counted anew, and some who came or went may
 * never have been told.
 */
export type PresenceNews = JoinLeaveFrame | { type: 'recount'; room: string };

/** What a backplane calls. Calls are synchronous, never from within a call to the backplane. */
export interface BackplaneListener {
  /** The next message of a room, with its position where the room keeps history. `frame` may be kept. */
  message(room: string, frame: Uint8Array, at: number, position: Position | undefined): void;
  /**
   * Messages of this room are missing from here on: `interrupted`, the subscription was lost and is back; `unreadable`,
   * one message came that this version cannot read.
   */
  missed(room: string, why: 'interrupted' | 'unreadable'): void;
  /** As the presence store of the room told it; in no order to the messages of the room. */
  presence(news: PresenceNews): void;
  /** The canary came back through the backplane after this time. */
  roundTrip(seconds: number): void;
  /** A connection to the backplane was lost and made again. */
  reconnected(): void;
}

export interface Backplane {
  /** True while messages flow: connected, and a canary came back within the last seconds. Otherwise nothing is published. */
  readonly up: boolean;

  /** Why this node cannot do all that it is there for, for the operator: down, or writes are refused. Undefined if it can. */
  readonly trouble: string | undefined;

  /**
   * Begins to connect. Resolves when up, or after a few seconds anyway: a node serves without its backplane. Rejects, with
   * a sentence for the operator, where it can never be up.
   */
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
   * Resolves when the backplane took the message. Publications of one node to a room take effect in the order of the calls.
   * Rejects with a BackplaneError.
   */
  publish(publication: Publication): Promise<Published>;

  /** What is kept of a room with history; begins its first epoch where there is none. Rejects with a BackplaneError. */
  read(room: string, query: HistoryQuery): Promise<HistoryPage>;

  /**
   * The node stood still, and what was published meanwhile is old: what waits of it is not delivered from here on. Where
   * there may be such, the subscribed rooms are told by `missed`.
   */
  renew(): void;

  /** Ends all connections; publications under way are rejected with `timeout`. */
  close(): Promise<void>;
}

/** `unavailable`: certainly not taken. `timeout`: the outcome is unknown; the same `key` makes a retry safe. */
export class BackplaneError extends Error {
  readonly code: 'unavailable' | 'timeout';
  /** What the backplane answered, where it did: for the operator, never for a client. */
  override readonly cause: Error | undefined;

  constructor(code: 'unavailable' | 'timeout', message: string, cause?: Error) {
    super(message);
    this.name = 'BackplaneError';
    this.code = code;
    this.cause = cause;
  }
}

/** Publications of one node that may be under way at once; one more is `unavailable`. */
export const maxPublishesUnderWay = 10_000;
export const maxPublishBytesUnderWay = 67_108_864;
/** Reads of one node that may be under way at once; one more is `unavailable`. */
export const maxReadsUnderWay = 1_000;

/** A room's epoch and offset are kept this long after it was last used, and as long as its messages. */
export const positionTtlMs = 7 * 86_400_000;
/** Of a room to which nothing was published yet. */
export const unusedPositionTtlMs = 3_600_000;
