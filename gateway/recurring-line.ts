/**
 * A line of the log that may be due thousands of times a second: the first is written at once, then one a minute that says
 * how often it was due. So neither a client nor a Redis that refuses can fill a disk.
 *
 * Owns the counts and their timers. It knows nothing of what the line says.
 */
import type { Logger } from './log.ts';

const intervalMs = 60_000;
/** Kinds of one line that are told apart. What comes beyond shares one line. */
const maxKinds = 10;
const otherKinds = 'other';

interface Kind {
  /** Since its last line. */
  times: number;
  /** Of the last time. */
  fields: object;
}

export class RecurringLine {
  readonly #log: Logger;
  readonly #level: 'info' | 'warn' | 'error';
  readonly #message: string;
  readonly #kinds = new Map<string, Kind>();

  constructor(log: Logger, level: 'info' | 'warn' | 'error', message: string) {
    this.#log = log;
    this.#level = level;
    this.#message = message;
  }

  /** `kind` tells apart what an operator wants to read apart, such as the text of an error. */
  write(kind: string, fields: object): void {
    const name = this.#kinds.size < maxKinds || this.#kinds.has(kind) ? kind : otherKinds;
    const known = this.#kinds.get(name);
    if (known !== undefined) {
      known.times++;
      known.fields = fields;
      return;
    }
    this.#log[this.#level](fields, this.#message);
    this.#wait(name, { times: 0, fields });
  }

  #wait(name: string, kind: Kind): void {
    this.#kinds.set(name, kind);
    setTimeout(() => {
      this.#kinds.delete(name);
      if (kind.times === 0) return;
      this.#log[this.#level]({ ...kind.fields, times: kind.times }, this.#message);
      this.#wait(name, { times: 0, fields: kind.fields });
    }, intervalMs).unref();
  }
}
