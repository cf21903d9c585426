/**
 * A bound on the log: a line that is due again and again is written at once, then once a minute with the number of times.
 * So neither a client, nor a Redis that refuses, nor a fault of our own can fill a disk.
 *
 * Owns the counts and their timers. Two lines are alike when message, role, and reason (or error, or mistakes) are; the other
 * fields are those of the last time. It knows nothing of what lines say.
 */

const intervalMs = 60_000;
/** Of one message so many kinds are told apart. What comes beyond shares one. */
const maxKinds = 10;

type Fields = Record<string, unknown>;

interface Kind {
  /** Since its last line. */
  times: number;
  fields: Fields;
  write: (fields: Fields) => void;
}

export class LineLimit {
  /** By message, then by what else tells lines apart. */
  readonly #messages = new Map<string, Map<string, Kind>>();

  /** Writes the line now, or counts it. `write` may be called once more within a minute. */
  pass(message: string, fields: Fields, write: (fields: Fields) => void): void {
    const kinds = this.#messages.get(message) ?? new Map<string, Kind>();
    this.#messages.set(message, kinds);
    const own = [fields.role, fields.reason ?? fields.error ?? fields.mistakes].join('\n');
    const name = kinds.size < maxKinds || kinds.has(own) ? own : 'other';
    const known = kinds.get(name);
    if (known === undefined) {
      write(fields);
      this.#wait(message, kinds, name, { times: 0, fields, write });
    } else {
      known.times++;
      known.fields = fields;
    }
  }

  #wait(message: string, kinds: Map<string, Kind>, name: string, kind: Kind): void {
    kinds.set(name, kind);
    setTimeout(() => {
      const { times, fields, write } = kind;
      if (times === 0) {
        kinds.delete(name);
        if (kinds.size === 0) this.#messages.delete(message);
        return;
      }
      write({ ...fields, times });
      this.#wait(message, kinds, name, { times: 0, fields, write });
    }, intervalMs).unref();
  }
}
