/**
 * What publishers did, read from the log: every message, its attempts, and their answers.
 *
 * Judges single messages: PHANTOM (nobody published it, or its payload changed), LEAK (it belongs to another room), UNDEAD
 * (every attempt was refused, but it was delivered). Knows the excuses: a Redis that lost data between two attempts
 * cannot know the key of the first one (DOUBLE), and begins new epochs; a plain message accepted by a former master may be
 * missing, if a gap reports it soon, or come twice, if that master stood still (docs/operations.md, Redis Cluster). It does not know who received what, and in which order.
 */
import type { Entry, EntryOf } from './log.ts';
import { ensure } from './streams.ts';

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
  | 'NOTICED'
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
  readonly #byRoom = new Map<string, Publication[]>();
  readonly #wipes: EntryOf<'wipe'>[] = [];
  readonly #takeovers: (EntryOf<'takeover'> & { concerns(room: string): boolean })[] = [];
  readonly #lapses: EntryOf<'lapse'>[] = [];
  readonly #report: Report;

  constructor(entries: readonly Entry[], report: Report) {
    this.#report = report;
    for (const entry of entries) {
      if (entry.event === 'wipe') this.#wipes.push(entry);
      if (entry.event === 'takeover') {
        const rooms = entry.rooms && new Set(entry.rooms);
        this.#takeovers.push({ ...entry, concerns: (room) => rooms?.has(room) ?? true });
      }
      if (entry.event === 'lapse') this.#lapses.push(entry);
      if (entry.event === 'publish') this.#attempt(entry);
      if (entry.event === 'nack') this.#published(entry).nacks++;
      if (entry.event === 'ack') this.#acked(entry);
    }
  }

  /** What the room had in an earlier epoch may be gone, up to this time. */
  lostUntil(room: string): number {
    const lapses = this.#lapses.filter((lapse) => lapse.room === room);
    const lossy = this.#takeoversOf(room).filter((takeover) => takeover.lossy);
    return Math.max(Number.NEGATIVE_INFINITY, ...[...this.#wipes, ...lapses, ...lossy].map(({ t }) => t));
  }

  /** The number of reasons for a new epoch of this room. */
  reasonsForEpochs(room: string): number {
    const lapses = this.#lapses.filter((lapse) => lapse.room === undefined || lapse.room === room);
    return this.#wipes.length + this.#takeoversOf(room).length + lapses.length;
  }

  /** In the order of their first attempts. */
  all(): IterableIterator<Publication> {
    return this.#byId.values();
  }

  /** In the order of their first attempts. */
  of(room: string): readonly Publication[] {
    return this.#byRoom.get(room) ?? [];
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

  /** True if Redis may have lost the key between the first and the last attempt. */
  mayBeDouble(publication: Publication): boolean {
    const losses = this.#takeoversOf(publication.room).filter(
      ({ behind, from, lossy }) => lossy || (behind && publication.ackedAt >= from),
    );
    return [...this.#wipes, ...losses].some((loss) => spans(publication, loss));
  }

  /** True if a former master that stood still may have sent this plain message when it went on, besides the new one. */
  mayBeLate(publication: Publication): boolean {
    return this.#takeoversOf(publication.room).some((takeover) => takeover.late && spans(publication, takeover));
  }

  /**
   * True if a former master may have taken this plain message, to be heard by those alone who were still there, and who
   * did not get it was told so, or left, at `toldAt`.
   */
  mayBeMissed({ room, firstAt, ackedAt }: Publication, toldAt: number): boolean {
    return this.#takeoversOf(room).some(
      ({ from, t }) => firstAt <= t && ackedAt >= from && toldAt >= from && toldAt <= t + toldWithinMs,
    );
  }

  #takeoversOf(room: string): EntryOf<'takeover'>[] {
    return this.#takeovers.filter((takeover) => takeover.concerns(room));
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
    ensure(this.#byRoom, room, () => []).push(publication);
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

function spans({ attempts, firstAt }: Publication, { from, t }: { from: number; t: number }): boolean {
  return firstAt <= t && (attempts.at(-1)?.t ?? firstAt) >= from;
}
