/**
 * The contract of a presence store: which connections of all nodes are in which rooms. Redis, or memory on one node.
 *
 * Each node writes only its own connections. A write that adds a user's first connection to a room announces `join`, one
 * that removes the last announces `leave`, to the nodes of the room and in the same step: each is announced once. Writes are
 * idempotent: adding what is there, or removing what is not, changes and announces nothing. One suite (test/contract) tests
 * every implementation. A store never knows sockets or permissions. Next: gateway/rooms/presence.ts.
 */
import type { JoinLeaveFrame } from '../../shared/protocol.ts';

/** A connection in a room. Immutable. */
export interface Present {
  readonly connection: string;
  /** Null: anonymous. Each anonymous connection counts as one user. */
  readonly user: string | null;
  /** The `info` claim as JSON text. */
  readonly info: string | undefined;
}

/** Asks for members in the order of their connections. */
export interface PresenceQuery {
  /** Members behind this connection; undefined: from the first on. */
  after: string | undefined;
  /** Members. */
  limit: number;
  /** Of members; the first may be larger. */
  maxBytes: number;
}

export interface PresencePage {
  /** Connections in the whole room. */
  count: number;
  /** Users in the whole room. */
  users: number;
  members: Present[];
  more: boolean;
}

/** What a presence store calls; never within a call to the store. */
export interface PresenceListener {
  /** Users joined or left, on any node. Redis announces it on the room's channel: there it comes by the backplane. */
  changed(frame: JoinLeaveFrame): void;
  /** The store may not hold what this node wrote: every room has to be synced. */
  outOfSync(): void;
  /** This node removed so many members of a dead node from a room. */
  reaped(members: number): void;
}

export interface PresenceStore {
  /** Resolves when the store takes writes, or after a few seconds all the same. */
  start(listener: PresenceListener): Promise<void>;

  /** Adds `entered`, then removes `left`: at most one `batchOf` each. Rejects with a BackplaneError. */
  change(room: string, entered: Present[], left: Present[]): Promise<void>;

  /** Makes the store hold exactly these connections of this node. `present` is called for each batch. Rejects as above. */
  sync(room: string, present: () => Iterable<Present>): Promise<void>;

  /** This node has no member in the room any more. Call it after the last one was removed. */
  release(room: string): Promise<void>;

  /** Includes every earlier write of any node. Rejects with a BackplaneError. */
  page(room: string, query: PresenceQuery): Promise<PresencePage>;

  /** Other nodes reap the members that this node has not removed. */
  close(): Promise<void>;
}

/** Minimum between two writes of one node to one room, and so between the `join` and `leave` frames that they cause. */
export const writeIntervalMs = 250;
/** One write: connections, and their bytes. More would block Redis, and fill a member's buffer by one frame. */
const maxBatch = 1_000;
export const maxBatchBytes = 131_072;

/** The first of these that fit into one write; at least one. */
export function batchOf(presents: Iterable<Present>): Present[] {
  const batch: Present[] = [];
  let bytes = 0;
  for (const present of presents) {
    bytes += bytesOf(present);
    if (batch.length === maxBatch || (bytes > maxBatchBytes && batch.length > 0)) break;
    batch.push(present);
  }
  return batch;
}

/** Roughly its bytes in a frame. */
function bytesOf({ connection, user, info }: Present): number {
  const braces = 32;
  return connection.length + Buffer.byteLength(user ?? '') + Buffer.byteLength(info ?? '') + braces;
}
