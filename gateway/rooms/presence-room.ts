/**
 * One room with presence, as far as this node's own members go: who they are, and bringing the store up to that.
 *
 * The one owner of what is not written yet. The list of members is the truth; a write that fails, or whose outcome is not
 * known, is not repeated but followed by a sync with that list, so that nothing piles up while the store is away. Writes of
 * a room follow one another, at least `writeIntervalMs` apart. It knows no frames. Next: gateway/backplane/presence.ts.
 */
import { BackplaneError } from '../backplane/backplane.ts';
import { batchOf, type PresenceStore, type Present, writeIntervalMs } from '../backplane/presence.ts';
import type { Faults } from '../telemetry/faults.ts';

/** After a failed write; sooner when the store says that it is back, or when somebody asks. */
const retryMs = 5_000;

interface Waiting {
  /** What it waits for: the number of changes that have to be written. */
  changes: number;
  resolve(): void;
  reject(error: unknown): void;
}

export class PresenceRoom<Member> {
  readonly name: string;
  /** By connection. */
  readonly members = new Map<string, { present: Present; member: Member }>();
  /** Counted by who tells. */
  changesSeen = 0;
  readonly #store: PresenceStore;
  readonly #faults: Faults;
  readonly #onIdle: () => void;
  /** Entered or left, as `members` says, since they were last written. */
  readonly #changed = new Set<Present>();
  #changes = 0;
  #changesWritten = 0;
  /** The store may hold anything of this node: only a sync helps. Until then `#changed` is of no use. */
  #doubtful = false;
  #writing = false;
  #lastWriteAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #waiting: Waiting[] = [];
  #ended = false;

  /** `onIdle`: it has no members and nothing to write, and has ended. */
  constructor(name: string, store: PresenceStore, faults: Faults, onIdle: () => void) {
    this.name = name;
    this.#store = store;
    this.#faults = faults;
    this.#onIdle = onIdle;
  }

  /** Also when what is known of the connection has changed. */
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

  /** What the store holds of this node is in doubt. It is synced after `delayMs`. */
  doubt(delayMs: number): void {
    if (this.#ended) return;
    this.#doubtful = true;
    this.#schedule(delayMs);
  }

  /** Resolves when everything up to now is written; rejects when the write fails. */
  written(): Promise<void> {
    if (this.#changed.size === 0 && !this.#doubtful && !this.#writing) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiting.push({ changes: this.#changes, resolve, reject });
      this.#schedule(0);
    });
  }

  /** Writes nothing any more. */
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
    const synced = this.#doubtful;
    const batch = synced ? [...this.#changed] : batchOf(this.#changed);
    for (const present of batch) this.#changed.delete(present);
    const complete = this.#changed.size === 0;
    if (synced) {
      this.#doubtful = false;
      await this.#store.sync(this.name, () => this.#presents());
    } else if (batch.length > 0) {
      // One that left and came back as it was has not left.
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
    if (this.#changed.size > 0 || this.#doubtful) this.#schedule(0);
    else if (this.members.size === 0) {
      // Another one may take its place; from here on it must not write what it holds to be true.
      this.end();
      this.#onIdle();
    }
  }

  #failed(error: unknown): void {
    this.#writing = false;
    if (!(error instanceof BackplaneError)) this.#faults.report('writing presence failed', error, { room: this.name });
    // The store may have said in the meantime that it is back.
    const isBack = this.#doubtful;
    this.#changed.clear();
    this.#doubtful = true;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { reject } of waiting) reject(error);
    this.#schedule(isBack ? 0 : retryMs);
  }
}

function isSame(one: Present | undefined, other: Present): boolean {
  return one?.connection === other.connection && one.user === other.user && one.info === other.info;
}
