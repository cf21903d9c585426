/**
 * The blocked users, as this node knows them. A blocked user gets no `welcome` and no refresh: close 4503.
 *
 * Owns this node's copy of the blocks, so that a handshake asks nobody. The copy follows the commands that change it, by
 * their versions (gateway/backplane/control.ts). It is read anew at the start, after every interruption, when a version was
 * missed, and every `lookMs`: so a node that missed a command knows its block `lookMs` later. While the store is away, and
 * after it lost the blocks, the node goes on with what it knows.
 */
import type { BlockChange, BlockList } from '../backplane/control.ts';

/** Between two looks. Without a change a look is one short command. */
export const lookMs = 5_000;

export interface BlocksParts {
  /** As ControlChannel.blocks. */
  read(known: string | undefined): Promise<BlockList | undefined>;
  /** These users are blocked now, and were not before: they have no connections any more. */
  onBlocked(users: { has(user: string): boolean }): void;
  /** The store has lost these blocks, so many; this node goes on with them until they end. */
  onLost(users: number): void;
  /** A fault of the gateway, or a store that is away. */
  onFailed(error: unknown): void;
}

export class Blocks {
  readonly #parts: BlocksParts;
  /** When each block ends, of performance.now(). */
  #ends = new Map<string, number>();
  /** The same, of blocks that the store has lost. */
  readonly #lost = new Map<string, number>();
  #version: string | undefined;
  /** The newest version that was told. It stays when a change was missed. */
  #newest: string | undefined;
  /** Changes that came during a look: it may have been answered before them. */
  #during: BlockChange[] = [];
  #looking: Promise<void> | undefined;
  #looksAgain = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: BlocksParts) {
    this.#parts = parts;
  }

  has(user: string): boolean {
    if (this.#ends.size === 0 && this.#lost.size === 0) return false;
    const now = performance.now();
    return (this.#ends.get(user) ?? 0) > now || (this.#lost.get(user) ?? 0) > now;
  }

  start(): void {
    this.#timer ??= setInterval(() => this.look(), lookMs);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Takes a change of any node. */
  take(change: BlockChange): void {
    this.#apply(change);
    if (this.#looking !== undefined) this.#during.push(change);
    if (this.#version === change.before) {
      this.#version = change.after;
      this.#newest = change.after;
    } else {
      if (isOlder(this.#newest, change.after)) this.#newest = change.after;
      // A change was missed, or this one is older than what is known here: all blocks are read again.
      this.#version = undefined;
      this.look();
    }
  }

  /** Reads all blocks, if they have changed. Resolves when that is done, or has failed. */
  look(): Promise<void> {
    this.#looksAgain = true;
    this.#looking ??= this.#lookWhileAsked().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #lookWhileAsked(): Promise<void> {
    while (this.#looksAgain) {
      this.#looksAgain = false;
      this.#during = [];
      const newest = this.#newest;
      try {
        const list = await this.#parts.read(this.#version);
        if (list !== undefined) this.#replace(list, newest, this.#during);
        else this.#forgetEnded();
      } catch (error) {
        this.#parts.onFailed(error);
      }
    }
  }

  /** `newest`: at the beginning of the look. */
  #replace({ version, blocks }: BlockList, newest: string | undefined, during: readonly BlockChange[]): void {
    const [before, now] = [this.#ends, performance.now()];
    const ends = new Map(blocks.map(({ user, forMs }) => [user, now + forMs]));
    if (isAnother(version, this.#newest) || isOlder(version, newest)) this.#keepLost(ends);
    for (const user of ends.keys()) this.#lost.delete(user);
    this.#ends = ends;
    this.#version = version;
    this.#newest = version;
    for (const change of during) {
      this.#apply(change);
      if (change.before === this.#version) {
        this.#version = change.after;
        this.#newest = change.after;
      } else {
        // The list has it already, or even a later one of the same user.
        this.#version = undefined;
        this.#looksAgain = true;
      }
    }
    const fresh = new Set([...this.#ends.keys()].filter((user) => !((before.get(user) ?? 0) > now)));
    if (fresh.size > 0) this.#parts.onBlocked(fresh);
  }

  /** Those that the store has no more. */
  #keepLost(there: ReadonlyMap<string, number>): void {
    const now = performance.now();
    const lasting = [...this.#ends].filter(([user, endsAt]) => endsAt > now && !there.has(user));
    for (const [user, endsAt] of lasting) this.#lost.set(user, endsAt);
    if (lasting.length > 0) this.#parts.onLost(lasting.length);
  }

  #apply({ user, forMs }: BlockChange): void {
    this.#lost.delete(user);
    if (forMs > 0) this.#ends.set(user, performance.now() + forMs);
    else this.#ends.delete(user);
  }

  #forgetEnded(): void {
    const now = performance.now();
    for (const ends of [this.#ends, this.#lost]) {
      for (const [user, endsAt] of ends) if (endsAt <= now) ends.delete(user);
    }
  }
}

/** The store keeps its list until the last block ends: another one, or none, means that the list before is gone. */
function isAnother(version: string, known: string | undefined): boolean {
  if (known === undefined) return false;
  const [beginning, before] = [beginningOf(version), beginningOf(known)];
  return beginning !== before && beginning !== undefined && before !== undefined;
}

/** Of the same list: after a failover to a replica that was behind, its last changes are gone. */
function isOlder(version: string | undefined, known: string | undefined): boolean {
  if (version === undefined || known === undefined || !version.includes('/')) return false;
  if (beginningOf(version) !== beginningOf(known)) return false;
  const [[seconds, micros], [knownSeconds, knownMicros]] = [timeOf(version), timeOf(known)];
  return seconds < knownSeconds || (seconds === knownSeconds && micros < knownMicros);
}

/** Of a version: when it was written, by the clock of Redis. Micros have no leading zeros. */
function timeOf(version: string): [seconds: number, micros: number] {
  const [seconds = '', micros = ''] = version.slice(version.indexOf('/') + 1).split('.');
  return [Number.parseInt(seconds, 10) || 0, Number.parseInt(micros, 10) || 0];
}

/** Of a version: names the list, from its first block to the end of its last. '' if there is none. */
function beginningOf(version: string): string | undefined {
  const end = version.indexOf('/');
  return end < 0 && version !== '' ? undefined : version.slice(0, Math.max(0, end));
}
