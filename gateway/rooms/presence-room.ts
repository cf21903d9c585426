/**
 * One room with presence on this node: its own members, and the writes that keep the store equal to them.
 *
 * The one owner of unwritten changes. The list of members is the truth. A write that failed or has an unknown outcome
 * is not repeated: a sync with the list follows, so nothing queues up while the store is away. A room has one write at
 * a time, and writes begin at least `writeIntervalMs` apart. It knows no frames. Next: gateway/backplane/presence.ts.
 */
import { BackplaneError } from '../backplane/backplane.ts';
import { batchOf, type PresenceStore, type Present, writeIntervalMs } from '../backplane/presence.ts';
import type { Faults } from '../telemetry/faults.ts';

/** Delay of the sync after a failed write. It comes sooner when the store is back, or when a client asks. */
const retryMs = 5_000;

/** A caller of `written`. */
interface Waiting {
  /** It waits until this many changes are written. */
  changes: number;
  resolve(): void;
  reject(error: unknown): void;
}

export class PresenceRoom<Member> {
  readonly name: string;
  /** By connection id. */
  readonly members = new Map<string, { present: Present; member: Member }>();
  /** See `Presence.changesSeen`, which counts it. */
  changesSeen = 0;
  readonly #store: PresenceStore;
  readonly #faults: Faults;
  readonly #onIdle: () => void;
  /** Connections that entered or left since the last write; `members` says which of the two. */
  readonly #changed = new Set<Present>();
  #changes = 0;
  #changesWritten = 0;
  /** The store may hold any members of this node, so the next write is a sync. */
  #needsSync = false;
  #writing = false;
  #lastWriteAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #waiting: Waiting[] = [];
  #ended = false;

  /** `onIdle` is called when it has no members and nothing to write; it has ended then. */
  constructor(name: string, store: PresenceStore, faults: Faults, onIdle: () => void) {
    this.name = name;
    this.#store = store;
    this.#faults = faults;
    this.#onIdle = onIdle;
  }

  /** Also to be called when user or info of the connection have changed. */
  enter(present: Present, member: Member): void {
    const before = this.members.get(present.connection);
    if (before !== undefined && isSame(before.present, present)) return;
    this.members.set(present.connection, { present, member });
    this.#change(present);
    if (before !== undefined) this.#change(before.present);
  }

  leave(connection: string): void {
    const gone = this.members.get(connection);
    if (gone === undefined) return;
    this.members.delete(connection);
    this.#change(gone.present);
  }

  /** The store may differ from the list of members: syncs it after `delayMs`. */
  syncAfter(delayMs: number): void {
    if (this.#ended) return;
    this.#needsSync = true;
    this.#schedule(delayMs);
  }

  /** Resolves when all changes so far are written; rejects when the write fails. */
  written(): Promise<void> {
    if (this.#changed.size === 0 && !this.#needsSync && !this.#writing) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiting.push({ changes: this.#changes, resolve, reject });
      this.#schedule(0);
    });
  }

  /** Nothing is written from now on. */
  end(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
  }

  #change(present: Present): void {
    this.#changes++;
    this.#changed.add(present);
    this.#schedule(0);
  }

  #schedule(delayMs: number): void {
    if (this.#writing || this.#ended) return;
    clearTimeout(this.#timer);
    const waitMs = Math.max(delayMs, this.#lastWriteAt + writeIntervalMs - performance.now());
    this.#timer = setTimeout(() => {
      this.#writing = true;
      this.#lastWriteAt = performance.now();
      this.#write().then(
        () => this.#done(),
        (error: unknown) => this.#failed(error),
      );
    }, waitMs);
  }

  async #write(): Promise<void> {
    const changes = this.#changes;
    const syncs = this.#needsSync;
    const batch = syncs ? [...this.#changed] : batchOf(this.#changed);
    for (const present of batch) this.#changed.delete(present);
    const complete = this.#changed.size === 0;
    if (syncs) {
      this.#needsSync = false;
      await this.#store.sync(this.name, () => this.#presents());
    } else if (batch.length > 0) {
      // A connection that left and came back unchanged has not left.
      const isMember = (each: Present) => isSame(this.members.get(each.connection)?.present, each);
      const left = batch.filter((each) => !isMember(each));
      await this.#store.change(this.name, batch.filter(isMember), left);
    }
    if (this.members.size === 0 && this.#changed.size === 0) await this.#store.release(this.name);
    if (complete) this.#changesWritten = changes;
  }

  *#presents(): Iterable<Present> {
    for (const { present } of this.members.values()) yield present;
  }

  #done(): void {
    this.#writing = false;
    const waiting = this.#waiting;
    this.#waiting = waiting.filter(({ changes }) => changes > this.#changesWritten);
    for (const each of waiting) if (each.changes <= this.#changesWritten) each.resolve();
    if (this.#changed.size > 0 || this.#needsSync) this.#schedule(0);
    else if (this.members.size === 0) {
      // A new PresenceRoom may take its place, so this one must not write any more.
      this.end();
      this.#onIdle();
    }
  }

  #failed(error: unknown): void {
    this.#writing = false;
    if (!(error instanceof BackplaneError)) this.#faults.report('writing presence failed', error, { room: this.name });
    // Someone asked for a sync during the write: the store may be back, so do not wait.
    const isBack = this.#needsSync;
    this.#changed.clear();
    this.#needsSync = true;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { reject } of waiting) reject(error);
    this.#schedule(isBack ? 0 : retryMs);
  }
}

function isSame(one: Present | undefined, other: Present): boolean {
  return one?.connection === other.connection && one.user === other.user && one.info === other.info;
}
