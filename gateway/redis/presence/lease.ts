/**
 * A node's lease among the others: shown by a counter that it raises every second, its beat, and lost when the beat stands
 * still.
 *
 * Owns the name of this node's lease, whether it still holds it, and for how long the beats of the others have stood
 * still. Only spans of one's own monotonic clock are compared, so the clocks of other hosts and of Redis do not matter.
 * It knows no Redis: gateway/redis/presence/presence.ts beats, and reaps whom this file calls dead.
 */

export const beatMs = 1_000;
/** A node whose beat stood still for this long is dead. With a beat more until it is seen, and as much to reap: 10 s. */
export const leaseMs = 5_000;
/** A node writes nothing after this: what it writes must not come behind those who reap it. */
const writeMs = leaseMs - beatMs;

export class Lease {
  readonly instance: string;
  /** A lease that was lost is never taken up again: what others reap late is of the life before. */
  #life = 1;
  /** When the last beat that was confirmed was sent. */
  #heldFrom = Number.NEGATIVE_INFINITY;
  /** The beats of all others, and since when they stand still. */
  #seen = new Map<string, { beat: string; since: number }>();
  #lookedAt = Number.NEGATIVE_INFINITY;

  /** `instance` is this run of this node; no other one has the name. */
  constructor(instance: string) {
    this.instance = instance;
  }

  get life(): string {
    return String(this.#life);
  }

  get name(): string {
    return `${this.instance}.${this.#life}`;
  }

  /** While it is true, nobody has taken this node for dead. */
  holds(now: number): boolean {
    return now - this.#heldFrom < writeMs;
  }

  /**
   * Takes the answer to a beat that was sent at `sentAt`; `beat` is the counter's value. Returns false if the lease was
   * lost: others may have reaped this node, and it has a new life, with a new name.
   */
  confirm(beat: number, sentAt: number, now: number): boolean {
    const begun = this.#heldFrom === Number.NEGATIVE_INFINITY;
    // 1: the counter was gone, because somebody reaped this node or emptied Redis.
    if (!begun && (beat === 1 || now - this.#heldFrom >= leaseMs)) {
      this.lose();
      return false;
    }
    this.#heldFrom = sentAt;
    return true;
  }

  /** Others may not find all that this life has left when it ends: it has a new one, with a new name. */
  lose(): void {
    this.#life++;
    this.#heldFrom = Number.NEGATIVE_INFINITY;
  }

  /** Takes up the beats of all nodes. Returns those that have stood still for too long, all the while it looked. */
  dead(beats: Record<string, string>, now: number): string[] {
    // Nobody is called dead for a time in which this node itself was away.
    if (now - this.#lookedAt > leaseMs / 2) this.#seen.clear();
    this.#lookedAt = now;
    const before = this.#seen;
    this.#seen = new Map();
    for (const [name, beat] of Object.entries(beats)) {
      const seen = before.get(name);
      if (name !== this.name) this.#seen.set(name, seen?.beat === beat ? seen : { beat, since: now });
    }
    return [...this.#seen].filter(([, { since }]) => now - since >= leaseMs).map(([name]) => name);
  }

  /** The connection was lost: the beats of the others may have stood still for that alone. */
  interrupted(): void {
    this.#seen.clear();
  }
}

/** Takes apart a lease's name. */
export function ownerOf(lease: string): { instance: string; life: string } {
  const dot = lease.lastIndexOf('.');
  return { instance: lease.slice(0, dot), life: lease.slice(dot + 1) };
}
