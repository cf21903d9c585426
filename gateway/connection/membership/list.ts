/**
 * The memberships of one connection, by room.
 *
 * Owns how they are stored, and what can be read off them. What happens to them is in
 * gateway/connection/membership/memberships.ts, which extends it: a field would be one more object for each connection.
 */
import type { SlowPolicy } from '../../telemetry/gauges.ts';
import type { Membership } from './membership.ts';

/** Shared by all connections, so that a scrape allocates nothing for a connection that is not slow. */
const none: ReadonlySet<SlowPolicy> = new Set();

export abstract class MembershipList {
  // Most connections are in one room, and a map would be the largest part of their memory.
  #one: Membership | undefined;
  #others: Map<string, Membership> | undefined;

  get size(): number {
    return (this.#one === undefined ? 0 : 1) + (this.#others?.size ?? 0);
  }

  /** True if the slow rule of any of its rooms is `close`. */
  get closesSlow(): boolean {
    for (const { room } of this.all()) if (room.slow === 'close') return true;
    return false;
  }

  /** The slow rules of the rooms in which this connection is detached now because it reads too slowly. */
  slowPolicies(): ReadonlySet<SlowPolicy> {
    let policies = none;
    for (const { slowBy } of this.all()) if (slowBy !== undefined) policies = new Set(policies).add(slowBy);
    return policies;
  }

  protected of(room: string): Membership | undefined {
    return this.#one?.room.name === room ? this.#one : this.#others?.get(room);
  }

  protected add(membership: Membership): void {
    if (this.#one === undefined) this.#one = membership;
    else {
      this.#others ??= new Map();
      this.#others.set(membership.room.name, membership);
    }
  }

  protected remove(room: string): void {
    if (this.#one?.room.name === room) this.#one = undefined;
    else this.#others?.delete(room);
  }

  protected clear(): void {
    this.#one = undefined;
    this.#others = undefined;
  }

  /** A copy, so that a loop over it may add and remove memberships. */
  protected all(): Membership[] {
    const one = this.#one === undefined ? [] : [this.#one];
    return this.#others === undefined ? one : [...one, ...this.#others.values()];
  }
}
