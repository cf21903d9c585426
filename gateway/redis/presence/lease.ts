/**
 * The lease of a node: a counter that it increments every second (a beat). The lease expires when the beat does not change.
 *
 * Owns the name of this node's lease, whether the node still holds it, and when the beat of each other node last changed. It
 * compares times of its own monotonic clock only: clocks of other hosts and of Redis do not matter. It never knows Redis:
 * gateway/redis/presence/leases.ts beats, and reaps expired leases.
 */

export const beatMs = 1_000;
/** A lease expires after this time without a change of its beat. One beat to notice it, and the time to reap: 10 s in all. */
export const leaseMs = 5_000;
/** Without a confirmed beat for this time a node writes nothing, so that no write lands after it was reaped. */
const writeMs = leaseMs - beatMs;

export class Lease {
  readonly instance: string;
  /** Part of the name: a lost lease is never used again, and late reapers remove only members of the life before. */
  #life = 1;
  /** When the last confirmed beat was sent. */
  #heldFrom = Number.NEGATIVE_INFINITY;
  /** Of each other lease: its beat, and since when that has not changed. */
  #seen = new Map<string, { beat: string; since: number }>();
  #watchedAt = Number.NEGATIVE_INFINITY;

  /** `instance`: this run of this node, unique. */
  constructor(instance: string) {
    this.instance = instance;
  }

  get life(): string {
    return String(this.#life);
  }

  get name(): string {
    return `${this.instance}.${this.#life}`;
  }

  /** While true, no other node reaps this one. */
  holds(now: number): boolean {
    return now - this.#heldFrom < writeMs;
  }

  /**
   * Takes the reply to a beat that was sent at `sentAt`; `beat`: the counter. Returns false if the lease was lost: others may
   * have reaped this node. It has a new name then.
   */
  confirm(beat: number, sentAt: number, now: number): boolean {
    const isFirst = this.#heldFrom === Number.NEGATIVE_INFINITY;
    // 1: the counter was deleted. This node was reaped, or Redis was emptied.
    if (!isFirst && (beat === 1 || now - this.#heldFrom >= leaseMs)) {
      this.lose();
      return false;
    }
    this.#heldFrom = sentAt;
    return true;
  }

  /** Begins a new life, with a new name. */
  lose(): void {
    this.#life++;
    this.#heldFrom = Number.NEGATIVE_INFINITY;
  }

  /** Takes the beats of all leases. Returns the expired ones. */
  expired(beats: Record<string, string>, now: number): string[] {
    // This node did not watch for a while: that time does not count.
    if (now - this.#watchedAt > leaseMs / 2) this.#seen.clear();
    this.#watchedAt = now;
    const before = this.#seen;
    this.#seen = new Map();
    for (const [name, beat] of Object.entries(beats)) {
      const seen = before.get(name);
      if (name !== this.name) this.#seen.set(name, seen?.beat === beat ? seen : { beat, since: now });
    }
    return [...this.#seen].filter(([, { since }]) => now - since >= leaseMs).map(([name]) => name);
  }

  /** The connection was lost: the time until now does not count. */
  interrupted(): void {
    this.#seen.clear();
  }
}

/** The parts of a lease's name. */
export function ownerOf(lease: string): { instance: string; life: string } {
  const dot = lease.lastIndexOf('.');
  return { instance: lease.slice(0, dot), life: lease.slice(dot + 1) };
}

/** The name of a node. `instance`: one run of it, `<name>-<random>` (gateway/gateway.ts). */
export function nodeOf(instance: string): string {
  return instance.slice(0, instance.lastIndexOf('-'));
}
