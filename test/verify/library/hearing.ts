/**
 * What one application hears of one room through the library, as lines of the log (log.ts).
 *
 * Owns the position by what was told, which is not the library's own: the judge must see where the library goes on from
 * another place than the application has reached. A time without a connection is no line; what it may cost is a `gap`.
 */
import type { Gap, Message, RoomState } from '../../../shared/client/client.ts';
import type { Position } from '../../../shared/protocol.ts';
import type { EntryOf } from '../log.ts';
import { idOf } from '../payload.ts';

/** What it uses of a room of the library. */
interface HeardRoom {
  readonly position: Position | undefined;
}

type Line = EntryOf<'subscribe' | 'resume' | 'unsubscribe' | 'deliver' | 'gap'>;
type WithoutPlace<Of> = Of extends unknown ? Omit<Of, 't' | 'client' | 'conn' | 'room'> : never;

export interface HearingListener {
  line(entry: WithoutPlace<Line>): void;
  misbehaved(what: string): void;
}

export class Hearing {
  readonly name: string;
  readonly #listener: HearingListener;
  /** The last that was told, in a room with history. */
  #position: Position | undefined;
  #isIn = false;
  /** Where the library says it goes on, until what comes next shows whether anything is missing. */
  #opened: { at: Position | undefined } | undefined;

  constructor(name: string, listener: HearingListener) {
    this.name = name;
    this.#listener = listener;
  }

  /** To be given back as `since`. */
  get position(): Position | undefined {
    return this.#position && { ...this.#position };
  }

  state(state: RoomState, room: HeardRoom): void {
    if (state === 'joined') this.#opened = { at: room.position && { ...room.position } };
  }

  message({ data, offset, id }: Message, room: HeardRoom): void {
    this.flush();
    this.#listener.line({
      ...{ event: 'deliver', id: idOf(this.name, data) },
      ...(offset === undefined ? {} : { offset }),
      ...(id === undefined ? {} : { wire: id }),
    });
    if (offset === undefined || this.#position === undefined) return;
    this.#position.offset = offset;
    this.#compare(room);
  }

  gap(gap: Gap, room: HeardRoom): void {
    const here = room.position && { ...room.position };
    if (gap.reason === 'unrecovered' && this.#position !== undefined && here !== undefined) {
      this.#opened = undefined;
      this.#listener.line({ event: 'resume', from: this.#position, ...here, recovered: false });
      this.#position = here;
      return;
    }
    this.flush();
    this.#listener.line({ event: 'gap', ...gap, ...here } as WithoutPlace<EntryOf<'gap'>>);
    this.#position = here;
  }

  /** Nothing is missing since the room was joined again. */
  flush(): void {
    if (this.#opened === undefined) return;
    const { at } = this.#opened;
    this.#opened = undefined;
    const from = this.#position;
    if (from !== undefined && at !== undefined) {
      this.#listener.line({ event: 'resume', from, ...at, recovered: true });
    } else if (!this.#isIn) this.#listener.line({ event: 'subscribe', ...at });
    this.#isIn = true;
    this.#position = at;
  }

  left(): void {
    this.flush();
    this.#opened = undefined;
    this.#isIn = false;
    this.#listener.line({ event: 'unsubscribe' });
  }

  #compare({ position }: HeardRoom): void {
    const { epoch, offset } = this.#position ?? {};
    if (position?.epoch === epoch && position?.offset === offset) return;
    const [told, said] = [`${epoch}:${offset}`, `${position?.epoch}:${position?.offset}`];
    this.#listener.misbehaved(`it has told ${this.name} up to ${told}, and room.position is ${said}`);
  }
}
