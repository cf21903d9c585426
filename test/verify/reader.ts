/**
 * A reader of one room, by any of the three ways into it: where it is, what it has heard, and how it comes back.
 *
 * Owns the record, which becomes lines of the log (log.ts). It is compact: thousands of readers hear the same messages, so a
 * delivery is a reference to one object for all of them. How it follows the room is in socket-reader.ts,
 * stream-reader.ts and poll-reader.ts.
 */
import type { GapFrame, Position } from '../../shared/protocol.ts';
import type { Entry } from './log.ts';
import { idOf } from './payload.ts';

/** One message, as all readers share it. */
export interface Heard {
  id: string;
  offset: number;
  /** When a node took it, Unix ms. */
  at: number;
}

/** What the gateway says at the beginning: an `ok`, or the answer to a poll. */
export interface Beginning extends Position {
  recovered?: boolean | undefined;
}

/** One connection, stream or poll. */
interface Chapter {
  conn: number;
  openedAt: number;
  from: Position | undefined;
  beginning: Beginning;
  lines: (Heard | GapFrame)[];
  closedAt: number | undefined;
}

/** Where readers go: the port of a node that takes them now, another one at each call. */
export type Place = () => number | undefined;

/** Messages by the text of their frame: each is parsed and checked once. */
export class Messages {
  readonly #room: string;
  readonly #byText = new Map<string, Heard>();

  constructor(room: string) {
    this.#room = room;
  }

  read(text: string): Heard {
    const known = this.#byText.get(text);
    if (known !== undefined) return known;
    const { data, offset, at } = JSON.parse(text) as { data: unknown; offset: number; at: number };
    const heard = { id: idOf(this.#room, data), offset, at };
    this.#byText.set(text, heard);
    return heard;
  }
}

let connections = 1_000_000;

export class Reader {
  readonly name: string;
  readonly room: string;
  /** From the acceptance by a node to here, in ms, of every message. */
  readonly latencies: number[] = [];
  readonly #chapters: Chapter[] = [];
  #position: Position | undefined;
  #newest: Chapter | undefined;

  constructor(name: string, room: string) {
    this.name = name;
    this.room = room;
  }

  /** Where it goes on. */
  get position(): Position | undefined {
    return this.#position && { ...this.#position };
  }

  /** As `<epoch>:<offset>`. */
  get since(): string | undefined {
    return this.#position && `${this.#position.epoch}:${this.#position.offset}`;
  }

  get beginnings(): readonly Beginning[] {
    return this.#chapters.map(({ beginning }) => beginning);
  }

  /** Messages heard so far. */
  get deliveries(): number {
    return this.#chapters.reduce((sum, { lines }) => sum + lines.filter(isHeard).length, 0);
  }

  get gaps(): number {
    return this.#chapters.reduce((sum, { lines }) => sum + lines.filter((line) => !isHeard(line)).length, 0);
  }

  /** Begins to listen. `from`: the position that it asked for. Returns what the other calls need. */
  begin(from: Position | undefined, { epoch, offset, recovered }: Beginning): Chapter {
    const beginning = { epoch, offset, recovered };
    const chapter: Chapter = {
      ...{ conn: ++connections, openedAt: performance.now(), from, beginning },
      ...{ lines: [], closedAt: undefined },
    };
    this.#chapters.push(chapter);
    this.#newest = chapter;
    this.#position = { epoch, offset };
    return chapter;
  }

  hear(chapter: Chapter, heard: Heard): void {
    chapter.lines.push(heard);
    this.latencies.push(Date.now() - heard.at);
    if (chapter === this.#newest && this.#position) this.#position.offset = heard.offset;
  }

  gap(chapter: Chapter, gap: GapFrame): void {
    if (gap.count === 0) return;
    chapter.lines.push(gap);
    if (chapter !== this.#newest || !this.#position) return;
    const { epoch = this.#position.epoch, offset = gap.last ?? this.#position.offset } = gap;
    this.#position = { epoch, offset };
  }

  end(chapter: Chapter): void {
    chapter.closedAt ??= performance.now();
  }

  /** The record as lines of the log. The newest chapter counts as open. */
  *entries(): Generator<Entry> {
    const { name: client, room } = this;
    for (const chapter of this.#chapters) {
      const { conn, openedAt: t, from, beginning, lines } = chapter;
      const said = { ...beginning, ...(beginning.recovered === undefined ? {} : { recovered: beginning.recovered }) };
      if (beginning.recovered === undefined) delete said.recovered;
      const place = { t, client, conn, room };
      yield (
        from === undefined ? { ...place, event: 'subscribe', ...said } : { ...place, event: 'resume', from, ...said }
      ) as Entry;
      for (const line of lines) {
        if (isHeard(line)) yield { ...place, event: 'deliver', id: line.id, offset: line.offset };
        else {
          const { type: _, ...gap } = line;
          yield { ...place, event: 'gap', ...gap };
        }
      }
      if (chapter === this.#newest) yield { t: performance.now(), client, conn, event: 'end', rooms: [room] };
      else yield { t: chapter.closedAt ?? performance.now(), client, conn, event: 'close', code: 1000 };
    }
  }
}

export type { Chapter };

function isHeard(line: Heard | GapFrame): line is Heard {
  return 'id' in line;
}
