/**
 * A rate limit on the log: a repeated line is written at once, then once a minute with a count. So neither a client, nor a
 * failing Redis, nor a fault of our own can fill a disk.
 *
 * Owns the counts and their timers. Lines count as equal if message, role, and reason (or error, or mistakes) are equal; the
 * other fields are those of the last one. It does not know what lines mean.
 */

const intervalMs = 60_000;
/** Kinds counted separately per message; all further ones share one count. */
const maxKinds = 10;

type Fields = Record<string, unknown>;

interface Kind {
  /** Lines held back since the last one was written. */
  times: number;
  fields: Fields;
  write: (fields: Fields) => void;
}

export class LineLimit {
  /** By message, then by role and reason. */
  readonly #messages = new Map<string, Map<string, Kind>>();

  /** Writes the line now, or counts it. `write` may be called again within a minute, with the count. */
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
