/**
 * How scripts of presence and occupancy tell events: the words that they need, and what becomes of the events.
 *
 * Such a script appends to the outbox in the step that changes who is there (outbox/tell.lua). In a cluster the outbox lies in
 * the slot of the room, so that both move together. It never knows how events are taken out: gateway/redis/outbox/outbox.ts, and
 * gateway/redis/cluster/outbox.ts.
 */
import type { EventType, OutboxListener } from '../../backplane/outbox.ts';
import { type Logger, truncate } from '../../telemetry/log.ts';

export interface TellingOptions {
  /** This run of this node, unique. */
  instance: string;
  /** Of the events that stores tell. */
  types: Iterable<EventType>;
  /** Events that are kept. In a cluster: for each slot, too. */
  most: number;
}

/** What a script needs to append events: its last key, and arguments. */
export interface Words {
  keys: readonly string[];
  /** The types that are wanted, separated by spaces; the prefix of their ids; events kept. */
  words: readonly [types: string, prefix: string, most: number];
}

export const tellNothing: Words = { keys: [], words: ['', '', 0] };

export class Telling {
  readonly #options: TellingOptions;
  readonly #keyOf: (room: string) => string;
  readonly #log: Logger;
  readonly #types: ReadonlySet<EventType>;
  /** Runs of scripts that may tell something. */
  #writes = 0;
  /** Hears of events that are lost. */
  listener: OutboxListener | undefined;

  /** `keyOf`: the outbox of a room. */
  constructor(options: TellingOptions, keyOf: (room: string) => string, log: Logger) {
    this.#options = options;
    this.#keyOf = keyOf;
    this.#log = log;
    this.#types = new Set(options.types);
  }

  /** For one run of a script that may tell events of these types. */
  wordsFor(room: string, ...types: EventType[]): Words {
    const wanted = types.filter((type) => this.#types.has(type));
    if (wanted.length === 0) return tellNothing;
    const prefix = `${this.#options.instance}-${++this.#writes}-`;
    return { keys: [this.#keyOf(room)], words: [wanted.join(' '), prefix, this.#options.most] };
  }

  /** What a script says of the events of this room that it told. */
  told(room: string, dropped: number, refusal: string): void {
    if (refusal !== '') {
      const line = dropped > 0 ? 'redis refused an event for the webhook' : 'the outbox was of another type; deleted';
      this.#log.error({ key: this.#keyOf(room), error: truncate(refusal) }, line);
    }
    if (dropped > 0) this.listener?.dropped(dropped);
  }
}
