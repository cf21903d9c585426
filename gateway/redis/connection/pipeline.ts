/**
 * Commands on one open connection to Redis: written once per turn of the event loop, answered in their order.
 *
 * Owns the commands in flight, until the answer or the end of the connection. No command is written twice. It never knows how
 * a connection is made or when it is closed: gateway/redis/connection/connection.ts. Next: gateway/redis/connection/resp.ts.
 */
import type { Duplex } from 'node:stream';
import { BackplaneError } from '../../backplane/backplane.ts';
import { command, ProtocolError, type Reply, ReplyError, type ReplyListener, ReplyReader, type Words } from './resp.ts';

/** Called once, with an error or with the last answer. */
export type Settle = (error: ReplyError | BackplaneError | undefined, reply: Reply) => void;

interface Pending {
  settle: Settle;
  /** Replies still to come: SUBSCRIBE has one for each channel. */
  answers: number;
  next: Pending | undefined;
}

/** Text above this is flushed at once. UTF-16 units. */
const maxTextLength = 65_536;

export class RedisPipeline {
  readonly #stream: Duplex;
  /** In flight: a linked list, the oldest first. */
  #first: Pending | undefined;
  #last: Pending | undefined;
  #sent = 0;
  #settled = 0;
  /** Commands of this turn, not written yet. */
  #text = '';
  #unwritten = 0;

  /** `onMessage`: only for a connection that subscribes. */
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

  /** Commands since the connection was opened. */
  get sent(): number {
    return this.#sent;
  }

  /** Of these, not in flight any more. */
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

  /** Writes the commands of this turn. */
  flush(): void {
    // After the end of the stream `end` settles them.
    if (this.#unwritten === 0 || !this.#stream.writable) return;
    this.#stream.write(this.#text);
    this.#text = '';
    this.#unwritten = 0;
  }

  /** The connection is closed. Outcome of written commands: unknown. Of others: certainly not executed. */
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
    if (pending === undefined) throw new ProtocolError('Redis sent a reply to no command');
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
