/**
 * The contract of occupancy: which nodes have members in which rooms. Redis, or memory on one node.
 *
 * Each node writes for itself only, and only the first and the last member of a room. The write that adds a room's first node
 * puts `room.occupied` into the outbox, the one that removes the last puts `room.vacated` there, in the same step. Other nodes
 * write for a node that died. Writes are idempotent. Next: gateway/webhooks/occupied-rooms.ts.
 */

export interface OccupancyStore {
  /** This node has members in the room. Rejects with a BackplaneError. */
  occupy(room: string): Promise<void>;

  /**
   * It has none any more. `inDoubt`: earlier writes may be lost; then a room that is empty is told also if this write removed
   * nothing. Rejects with a BackplaneError.
   */
  vacate(room: string, inDoubt: boolean): Promise<void>;
}
