/**
 * A `for await` loop over what a listener would get.
 *
 * Owns the values between two turns of the loop. Their number is bounded; a loop that falls further behind ends with an
 * error, because leaving something out without a word is what nobody notices.
 */
import { RoomcastError } from './error.ts';

export class Reader<Value extends object> implements AsyncIterableIterator<Value> {
  readonly #max: number;
  readonly #stopped: () => void;
  readonly #values: Value[] = [];
  #turns: { resolve(result: IteratorResult<Value>): void; reject(error: unknown): void }[] = [];
  /** Undefined while it goes on; null: it ends without an error. */
  #end: RoomcastError | null | undefined;

  /** `stopped` is called once, when nothing more is wanted. */
  constructor(max: number, stopped: () => void) {
    this.#max = max;
    this.#stopped = stopped;
  }

  push(value: Value): void {
    const turn = this.#turns.shift();
    if (turn !== undefined) turn.resolve({ value, done: false });
    else if (this.#values.length < this.#max) this.#values.push(value);
    else this.end(new RoomcastError('limit_exceeded', `the loop is ${this.#max} messages behind`));
  }

  /** After the values that are there already. */
  end(error: RoomcastError | null): void {
    if (this.#end !== undefined) return;
    this.#end = error;
    this.#stopped();
    for (const turn of this.#turns.splice(0)) {
      if (error === null) turn.resolve({ value: undefined, done: true });
      else turn.reject(error);
    }
  }

  async next(): Promise<IteratorResult<Value>> {
    const [value] = this.#values.splice(0, 1);
    if (value !== undefined) return { value, done: false };
    if (this.#end === undefined) return new Promise((resolve, reject) => this.#turns.push({ resolve, reject }));
    const error = this.#end;
    this.#end = null;
    if (error !== null) throw error;
    return { value: undefined, done: true };
  }

  async return(): Promise<IteratorResult<Value>> {
    this.#values.length = 0;
    this.end(null);
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
