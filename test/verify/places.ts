/**
 * The places of messages in rooms with history: room, epoch and offset, as acknowledged, delivered and stored.
 *
 * Collects every line that names a place, and judges them: DIVERGE (two messages at one place), DOUBLE (one message at two
 * places of an epoch, or of two epochs without an excuse), EPOCH (more epochs than reasons), FIFO (messages of a connection
 * not in the order in which it sent them). It knows no streams.
 */
import type { Position } from '../../shared/protocol.ts';
import type { Entry } from './log.ts';
import type { Publications, Report } from './publications.ts';
import { ensure } from './streams.ts';

interface Place extends Position {
  line: Entry;
}

interface Taken {
  id: string;
  line: Entry;
}

export class Places {
  readonly #publications: Publications;
  readonly #report: Report;
  /** Room, epoch, offset. */
  readonly #taken = new Map<string, Map<string, Map<number, Taken>>>();
  readonly #byId = new Map<string, Place[]>();

  constructor(publications: Publications, report: Report) {
    this.#publications = publications;
    this.#report = report;
  }

  put(room: string, { epoch, offset }: Position, id: string, line: Entry): void {
    const epochs = ensure(this.#taken, room, () => new Map<string, Map<number, Taken>>());
    const taken = ensure(
      ensure(epochs, epoch, () => new Map<number, Taken>()),
      offset,
      () => ({ id, line }),
    );
    const at = `${epoch}:${offset} of ${room}`;
    if (taken.id !== id) this.#report('DIVERGE', `${taken.id} and ${id} are both at ${at}`, taken.line, line);
    const places = ensure(this.#byId, id, () => []);
    if (places.some((place) => place.epoch === epoch && place.offset === offset)) return;
    const other = places.at(-1);
    places.push({ epoch, offset, line });
    if (other === undefined) return;
    const publication = this.#publications.get(id);
    if (other.epoch !== epoch && publication && this.#publications.mayBeDouble(publication)) return;
    this.#report('DOUBLE', `${id} is at ${at} and at ${other.epoch}:${other.offset}`, other.line, line);
  }

  /** All places at which this message was seen. */
  of(id: string): readonly Position[] {
    return this.#byId.get(id) ?? [];
  }

  /** True if the message has this offset in another epoch: the next epoch keeps messages of the one before. */
  isLeft(id: string, { epoch, offset }: Position): boolean {
    return this.#byId.get(id)?.some((place) => place.epoch !== epoch && place.offset === offset) ?? false;
  }

  /** The acknowledged messages among these offsets, both ends included; at most `most`. */
  acknowledged(room: string, epoch: string, first: number, last: number, most = 3): string[] {
    const offsets = this.#taken.get(room)?.get(epoch);
    const found: string[] = [];
    for (let offset = first; offset <= last && found.length < most; offset++) {
      const id = offsets?.get(offset)?.id;
      if (id !== undefined && this.#publications.get(id)?.acks.length) found.push(id);
    }
    return found;
  }

  /** Call it when all places are known. */
  judgeEpochs(): void {
    for (const [room, epochs] of this.#taken) {
      const reasons = this.#publications.reasonsForEpochs(room);
      if (epochs.size <= reasons + 1) continue;
      const lines = [...epochs.values()].flatMap((offsets) =>
        [...offsets.values()].slice(0, 1).map(({ line }) => line),
      );
      this.#report('EPOCH', `${room} had ${epochs.size} epochs, and ${reasons} reasons to begin a new one`, ...lines);
    }
  }

  /** Call it when all places are known. Any attempt may have stored a retried message. */
  judgeFifo(): void {
    const last = new Map<string, Place & { id: string }>();
    for (const { id, room, conn, attempts } of this.#publications.all()) {
      const [place] = this.#byId.get(id) ?? [];
      if (attempts.length !== 1 || place === undefined) continue;
      const key = `${conn}/${room}`;
      const before = last.get(key);
      if (before?.epoch === place.epoch && before.offset > place.offset) {
        this.#report(
          'FIFO',
          `${id} was sent after ${before.id}, and stands before it in ${room}`,
          before.line,
          place.line,
        );
      }
      last.set(key, { ...place, id });
    }
  }
}
