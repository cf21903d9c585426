/**
 * The contract of a backplane: what carries messages between nodes. Redis, or memory on one node.
 *
 * Every message takes one path: `publish`, the backplane, `message` of every subscribed node, the publisher's own included.
 * All nodes see the messages of a room in one order. Delivery is at most once. When a subscribed node may have missed
 * messages of a room, it gets a `gap` before the next message.
 *
 * A room with history keeps its messages. Each has a position: an epoch, and an offset that rises by one. A message is kept
 * and delivered in one step, so both have one order. When kept messages may be lost (a restart, a failover, an eviction) the
 * room begins a new epoch. Within an epoch an offset never stands for two messages.
 *
 * One suite (test/contract) tests every implementation. A backplane knows rooms and bytes; it never knows connections,
 * permissions or frames.
 */
import type { JoinLeaveFrame, Position } from '../../shared/protocol.ts';

/** The bounds of a room's history. */
export interface HistoryRule {
  /** Messages. */
  size: number;
  maxBytes: number;
  /** Since the last publish. */
  ttlSeconds: number;
}

export interface Publication {
  room: string;
  /**
   * The finished `message` frame, JSON text: `prefix`, then the offset in a room with history, then `suffix`. Members get
   * these bytes unchanged.
   */
  prefix: string;
  suffix: string;
  /** In a plain room: the id of the message, which is in `prefix` too. */
  id?: string | undefined;
  /** Where the text of `data` lies in `suffix`, in UTF-16 units. Undefined: not known. */
  dataStart?: number;
  dataLength?: number;
  /** When the publishing node accepted it, Unix milliseconds. */
  at: number;
  /**
   * Idempotency: of all publications to the room with the same `by` and `key`, only the first is delivered. `by`: the user,
   * '' without a name, null for the operator's own server.
   */
  dedupe?: { by: string | null; key: string };
  /** Undefined: a plain room. */
  history?: HistoryRule | undefined;
  /** The newest position of the room that this node has seen. A backplane that is behind it has lost messages. */
  lastSeen?: Position | undefined;
}

export interface Published {
  /** True: the key was published before, within the dedupe time. Nothing is delivered now. */
  duplicate: boolean;
  /** In a room with history: of the message; of a duplicate, that of the first message. */
  position?: Position | undefined;
}

/** Asks for kept messages, in ascending order. */
export interface HistoryQuery {
  /**
   * Messages behind this position. `epoch` undefined: the current epoch. Another epoch than the current one: from the base
   * on. No position at all: the newest messages.
   */
  after?: { epoch: string | undefined; offset: number } | undefined;
  /** Only messages with a lower offset. */
  before?: number | undefined;
  /** Messages. 0: only where the room is. */
  limit: number;
  /** Of frames; the first message may be larger. */
  maxBytes: number;
  /** As in Publication. */
  lastSeen?: Position | undefined;
}

export interface HistoryPage {
  epoch: string;
  /** The newest offset of the epoch; 0: nothing was published yet. */
  top: number;
  /** The epoch began behind this offset. Above 0: messages of the epoch before may be kept below it. */
  base: number;
  /** The oldest kept offset; `top` + 1 if there is none, and for a query with `limit` 0. */
  first: number;
  messages: KeptMessage[];
}

export interface KeptMessage {
  offset: number;
  /** The finished frame. */
  frame: Uint8Array;
}

/**
 * Users joined or left a room. `recount`: its members and the count of its users disagreed, and were counted again. Members of
 * any node may be missing, and some `join` or `leave` may never have been sent.
 */
export type PresenceUpdate = JoinLeaveFrame | { type: 'recount'; room: string };

/** What a backplane calls: synchronously, but never within a call to the backplane. */
export interface BackplaneListener {
  /** The next message of a room. `at`: Unix milliseconds. `position`: in a room with history. `frame` may be kept. */
  message(room: string, frame: Uint8Array, at: number, position: Position | undefined): void;
  /**
   * Messages of the room are missing here. `interrupted`: the subscription was lost, and is restored. `unreadable`: this
   * version cannot read what came.
   */
  gap(room: string, why: 'interrupted' | 'unreadable'): void;
  /** In no order to the messages of the room. */
  presence(update: PresenceUpdate): void;
  /** A canary came back through the backplane after this time. */
  roundTrip(seconds: number): void;
  /** A lost connection to the backplane is open again. */
  reconnected(): void;
}

export interface Backplane {
  /** True while it is connected and canaries come back. While false, `publish` rejects. */
  readonly up: boolean;

  /** A sentence for the operator: why the backplane is down or refuses writes. Undefined: all is well. */
  readonly trouble: string | undefined;

  /**
   * Only in a cluster: more than half of the rooms can be used, whatever the trouble of the others. A shard that is away is
   * away for all nodes, so clients are not better served by another one.
   */
  readonly mostlyUp?: boolean;

  /**
   * Connects. Resolves when up, or after a few seconds all the same: a node serves without its backplane. Rejects, with a
   * sentence for the operator, if the backplane can never be up.
   */
  start(listener: BackplaneListener): Promise<void>;

  /**
   * Resolves when the subscription is confirmed: each later message arrives, or a `gap` does. Resolves at once for a
   * subscribed room. Rejects with a BackplaneError `unavailable`. The subscription lasts until `unsubscribe`: it is restored
   * after each reconnect, also where this promise was rejected.
   */
  subscribe(room: string): Promise<void>;

  /** No `message` and no `gap` of the room follows. */
  unsubscribe(room: string): void;

  /**
   * Resolves when the backplane took the message. Publications of one node to a room take effect in the order of the calls.
   * Rejects with a BackplaneError.
   */
  publish(publication: Publication): Promise<Published>;

  /** Reads history. Begins the first epoch of a room that has none. Rejects with a BackplaneError. */
  read(room: string, query: HistoryQuery): Promise<HistoryPage>;

  /** The process was frozen. Messages that waited meanwhile are old: they are dropped, and the rooms concerned get a `gap`. */
  renew(): void;

  /** Closes all connections. Publications in flight are rejected with `timeout`. */
  close(): Promise<void>;
}

/**
 * `unavailable`: certainly not taken. `timeout`: outcome unknown; a retry with the same `key` is safe. It has no stack: it is an
 * answer, and an outage makes thousands in a turn. Their stacks held nodes up for a third of a second.
 */
export class BackplaneError extends Error {
  readonly code: 'unavailable' | 'timeout';
  /** The answer of the backplane, if there was one. For the operator, never for a client. */
  override readonly cause: Error | undefined;

  constructor(code: 'unavailable' | 'timeout', message: string, cause?: Error) {
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(message);
    Error.stackTraceLimit = stackTraceLimit;
    this.name = 'BackplaneError';
    this.code = code;
    this.cause = cause;
  }
}

/** Bounds of one node, in messages and in bytes of frames. A publication beyond them is `unavailable`. */
export const maxPublishesInFlight = 10_000;
export const maxPublishBytesInFlight = 67_108_864;
/** Bound of one node. A read beyond it is `unavailable`. */
export const maxReadsInFlight = 1_000;

/** Lifetime of a room's epoch and offset since the last use. At least as long as that of its messages. */
export const positionTtlMs = 7 * 86_400_000;
/** The same, before the first publish. */
export const unusedPositionTtlMs = 3_600_000;
