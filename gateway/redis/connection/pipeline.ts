/**
 * Commands on one open connection to Redis: written once a turn of the event loop, answered in their order.
 *
 * Owns what is under way, from the command until its answer or the end of the connection; nothing is ever written twice.
 * It knows neither how a connection is made nor when it is given up: gateway/redis/connection/connection.ts. Next: gateway/redis/connection/resp.ts.
 */
import type { Duplex } from 'node:stream';
import { BackplaneError } from '../../backplane/backplane.ts';
import { command, ProtocolError, type Reply, ReplyError, type ReplyListener, ReplyReader, type Words } from './resp.ts';

/** Called once: with an error, or without one and with the answer. */
export type Settle = (error: ReplyError | BackplaneError | undefined, reply: Reply) => void;

interface Pending {
  settle: Settle;
  /** Answers that are still to come: a SUBSCRIBE has one for each channel. */
  answers: number;
  next: Pending | undefined;
}

/** As soon as there is more text it is written, and not at the end of the turn. */
const maxTextLength = 65_536;

export class RedisPipeline {
  readonly #stream: Duplex;
  /** Under way, the oldest first. */
  #first: Pending | undefined;
  #last: Pending | undefined;
  #sent = 0;
  #settled = 0;
  /** The commands of this turn. */
  #text = '';
  #unwritten = 0;

  /** `onMessage`: of a connection that subscribes. */
  constructor(stream: Duplex, onMessage: ReplyListener['message']) {
    this.#stream = stream;
    const reader = new ReplyReader({ reply: (reply) => this.#answered(reply), message: onMessage });
    stream.on('data', (chunk: Buffer) => {
      try {
        reader.read(chunk);
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        stream.destroy(error);
      }
    });
  }

  /** Commands so far. */
  get sent(): number {
    return this.#sent;
  }

  /** Of these, the ones that are not under way any more. */
  get settled(): number {
    return this.#settled;
  }

  send(words: Words, settle: Settle, answers = 1): void {
    const pending: Pending = { settle, answers, next: undefined };
    if (this.#last === undefined) this.#first = pending;
    else this.#last.next = pending;
    this.#last = pending;
    this.#sent++;
    if (this.#unwritten === 0) setImmediate(() => this.flush());
    this.#unwritten++;
    this.#text += command(words);
    if (this.#text.length > maxTextLength) this.flush();
  }

  /** Writes what waits for the end of the turn. */
  flush(): void {
    // The end of a stream that has ended is told by `end`.
    if (this.#unwritten === 0 || !this.#stream.writable) return;
    this.#stream.write(this.#text);
    this.#text = '';
    this.#unwritten = 0;
  }

  /** The connection is gone: of what was written the outcome is unknown, what was not is certainly not carried out. */
  end(): void {
    let written = this.#sent - this.#settled - this.#unwritten;
    while (this.#first !== undefined) {
      const error =
        written > 0
          ? new BackplaneError('timeout', 'Redis did not answer in time')
          : new BackplaneError('unavailable', 'Redis is away');
      written--;
      this.#settle(this.#first, error, null);
    }
    this.#text = '';
    this.#unwritten = 0;
  }

  #answered(reply: Reply): void {
    const pending = this.#first;
    if (pending === undefined) throw new ProtocolError('Redis answers what was not asked');
    if (reply instanceof ReplyError) this.#settle(pending, reply, null);
    else if (--pending.answers === 0) this.#settle(pending, undefined, reply);
  }

  #settle(pending: Pending, error: ReplyError | BackplaneError | undefined, reply: Reply): void {
    this.#first = pending.next;
    if (this.#first === undefined) this.#last = undefined;
    this.#settled++;
    pending.settle(error, reply);
  }
}
