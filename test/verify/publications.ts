/**
 * What publishers did, read from the log: every message, its attempts, and their answers.
 *
 * Judges single messages: PHANTOM (nobody published it, or its payload changed), LEAK (it belongs to another room), UNDEAD
 * (every attempt was refused, but it was delivered). Knows the excuses: a Redis that lost its data between two attempts
 * cannot know the key of the first one (DOUBLE), and begins new epochs; a plain message accepted by a former master may be
 * missing, if a gap reports it soon. It does not know who received what, and in which order.
 */
import type { Entry, EntryOf } from './log.ts';

export type ViolationKind =
  | 'LOST_GAP'
  | 'LOST_TAIL'
  | 'GAP'
  | 'DUP'
  | 'REORDER'
  | 'DIVERGE'
  | 'DOUBLE'
  | 'PHANTOM'
  | 'UNDEAD'
  | 'LEAK'
  | 'EPOCH'
  | 'BAD_RESUME'
  | 'FIFO'
  | 'HISTORY'
  | 'PRESENCE'
  | 'STUCK'
  | 'CLIENT';

export interface Violation {
  kind: ViolationKind;
  what: string;
  /** The lines of the log that show it. */
  lines: Entry[];
}

export type Report = (kind: ViolationKind, what: string, ...lines: (Entry | undefined)[]) => void;

export interface Publication {
  id: string;
  room: string;
  /** The time of the first attempt. */
  conn: number;
  attempts: EntryOf<'publish'>[];
  acks: EntryOf<'ack'>[];
  nacks: number;
  firstAt: number;
  /** The time of the first `ok`; infinite without one. */
  ackedAt: number;
}

/** Time, after the last node has left a former master, until a gap reports the messages that it accepted last. */
const toldWithinMs = 5_000;

export class Publications {
  readonly #byId = new Map<string, Publication>();
  readonly #wipes: EntryOf<'wipe'>[] = [];
  readonly #takeovers: EntryOf<'takeover'>[] = [];
  readonly #lapses: EntryOf<'lapse'>[] = [];
  readonly #report: Report;

  constructor(entries: readonly Entry[], report: Report) {
    this.#report = report;
    for (const entry of entries) {
      if (entry.event === 'wipe') this.#wipes.push(entry);
      if (entry.event === 'takeover') this.#takeovers.push(entry);
      if (entry.event === 'lapse') this.#lapses.push(entry);
      if (entry.event === 'publish') this.#attempt(entry);
      if (entry.event === 'nack') this.#published(entry).nacks++;
      if (entry.event === 'ack') this.#acked(entry);
    }
  }

  /** When the history of the room was last deleted. */
  deletedAt(room: string): number {
    const lapses = this.#lapses.filter((lapse) => lapse.room === room);
    return Math.max(Number.NEGATIVE_INFINITY, ...[...this.#wipes, ...lapses].map(({ t }) => t));
  }

  /** The number of reasons for a new epoch of this room. */
  reasonsForEpochs(room: string): number {
    const lapses = this.#lapses.filter((lapse) => lapse.room === undefined || lapse.room === room);
    return this.#wipes.length + this.#takeovers.length + lapses.length;
  }

  /** In the order of their first attempts. */
  all(): IterableIterator<Publication> {
    return this.#byId.values();
  }

  get(id: string): Publication | undefined {
    return this.#byId.get(id);
  }

  /** Judges a message that was seen in this room. Returns it, unless nobody published it. */
  seen(id: string, room: string, line: Entry): Publication | undefined {
    const publication = this.#byId.get(id);
    if (publication === undefined) {
      this.#report('PHANTOM', `${id} in ${room} was never published`, line);
      return undefined;
    }
    if (publication.room !== room) {
      this.#report('LEAK', `${id} of ${publication.room} came in ${room}`, publication.attempts[0], line);
    }
    if (publication.nacks === publication.attempts.length) {
      this.#report('UNDEAD', `${id} was refused every time, and is there`, ...publication.attempts, line);
    }
    return publication;
  }

  /** True if Redis lost all keys between the first and the last attempt. */
  mayBeDouble({ attempts, firstAt }: Publication): boolean {
    const lastAt = attempts.at(-1)?.t ?? firstAt;
    return this.#wipes.some(({ from, t }) => firstAt <= t && lastAt >= from);
  }

  /**
   * True if a former master may have taken this plain message, to be heard by those alone who were still there, and who
   * did not get it was told so, or left, at `toldAt`.
   */
  mayBeMissed({ firstAt, ackedAt }: Publication, toldAt: number): boolean {
    return this.#takeovers.some(
      ({ from, t }) => firstAt <= t && ackedAt >= from && toldAt >= from && toldAt <= t + toldWithinMs,
    );
  }

  #attempt(entry: EntryOf<'publish'>): void {
    const known = this.#byId.get(entry.id);
    if (known !== undefined) {
      known.attempts.push(entry);
      return;
    }
    const { id, room, conn, t } = entry;
    const publication = { id, room, conn, attempts: [entry], acks: [], nacks: 0, firstAt: t, ackedAt: Infinity };
    this.#byId.set(id, publication);
  }

  #acked(entry: EntryOf<'ack'>): void {
    const publication = this.#published(entry);
    publication.acks.push(entry);
    publication.ackedAt = Math.min(publication.ackedAt, entry.t);
  }

  #published(entry: EntryOf<'ack' | 'nack'>): Publication {
    const publication = this.#byId.get(entry.id);
    if (publication === undefined) throw new TypeError(`the log has an answer before its publish: ${entry.id}`);
    return publication;
  }
}
