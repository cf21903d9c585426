/**
 * The contract of a presence store: what knows, for all nodes together, which connections are in which rooms. Redis, or
 * memory on one node.
 *
 * Each node writes only its own connections. A write that brings a user's first connection into a room, or takes the last
 * one out, tells it to the nodes of that room in the same step, so that each is told once whoever writes. Every write may
 * be repeated: what is there already, or gone already, changes nothing and tells nothing. One suite (test/contract) holds
 * every implementation to this page. It knows nothing of sockets and permissions. Next: gateway/rooms/presence.ts.
 */
import type { JoinLeaveFrame } from '../../shared/protocol.ts';

/** A connection in a room. Immutable. */
export interface Present {
  readonly connection: string;
  /** Null is anonymous: such a connection counts as a user of its own. */
  readonly user: string | null;
  /** The `info` claim as JSON text. */
  readonly info: string | undefined;
}

/** Asks for those after this connection, in the order of connections: at most `limit` and, but for the first, `maxBytes`. */
export interface PresenceQuery {
  after: string | undefined;
  limit: number;
  maxBytes: number;
}

export interface PresencePage {
  /** Connections and users in the room, all of them. */
  count: number;
  users: number;
  members: Present[];
  more: boolean;
}

/** What a presence store calls; never from within a call to it. */
export interface PresenceListener {
  /** Users came or went, on whichever node. Redis tells it by the room's channel, so there it comes by the backplane. */
  told(frame: JoinLeaveFrame): void;
  /** The store is back, and what it holds of this node is in doubt: every room has to be synced. */
  doubtful(): void;
  /** This node took so many members of a dead one out of a room. */
  reaped(members: number): void;
}

export interface PresenceStore {
  /** Resolves when it takes writes, or after a few seconds anyway. */
  start(listener: PresenceListener): Promise<void>;

  /** Writes who came and who went, those who came first. At most `batchOf` of each. Rejects with a BackplaneError. */
  change(room: string, entered: Present[], left: Present[]): Promise<void>;

  /** Makes the store hold exactly these connections of this node. `present` is asked again for each part of the work. */
  sync(room: string, present: () => Iterable<Present>): Promise<void>;

  /** This node has nobody in the room any more. To be called after the last of them was written as gone. */
  release(room: string): Promise<void>;

  /** Everything that was written before, by any node, is in it. Rejects with a BackplaneError. */
  page(room: string, query: PresenceQuery): Promise<PresencePage>;

  /** Ends it. What this node has not taken out is reaped by others. */
  close(): Promise<void>;
}

/** Writes of one node for one room are at least so far apart, and so are the `join` and `leave` frames they cause. */
export const writeIntervalMs = 250;
/** Of one write, so that neither Redis nor a member's buffer is held up by one frame: connections, and bytes of them. */
const maxBatch = 1_000;
export const maxBatchBytes = 131_072;

/** As many of these, from the first on, as fit into one write. */
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

/** About as many bytes as it takes in a frame. */
function bytesOf({ connection, user, info }: Present): number {
  const braces = 32;
  return connection.length + Buffer.byteLength(user ?? '') + Buffer.byteLength(info ?? '') + braces;
}
