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
  /** Answered by an error, or by nothing: SUNSUBSCRIBE. The next reply that is no error belongs to a command behind it. */
  isQuiet: boolean;
  next: Pending | undefined;
}

/** Text above this is flushed at once. UTF-16 units. */
const maxTextLength = 65_536;

export class RedisPipeline {
  readonly #stream: Duplex;
  /** In flight: a linked list, the oldest first. */
  #first: Pending | undefined;
  #last: Pending | undefined;
  /** Markers behind SUNSUBSCRIBE, so far. */
  #markers = 0;
  #sent = 0;
  #settled = 0;
  /** Commands of this turn, not written yet. */
  #text = '';
  #unwritten = 0;

  /** `pushes`: only for a connection that subscribes. */
  constructor(stream: Duplex, pushes: Pick<ReplyListener, 'message' | 'unsubscribed'> = {}) {
    this.#stream = stream;
    const reader = new ReplyReader({ ...pushes, reply: (reply) => this.#answered(reply) });
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
    this.#add(words, { settle, answers, isQuiet: false, next: undefined });
  }

  /**
   * SUNSUBSCRIBE of these channels. What Redis says of it is a push that comes unasked, too, so it is never counted as a reply. A
   * marker behind the commands shows that they are executed. `refused`: an error among them.
   */
  leave(channels: readonly string[], settle: Settle, refused: (error: ReplyError) => void): void {
    const outcome: Settle = (error) => {
      if (error instanceof ReplyError) refused(error);
    };
    for (const channel of channels) {
      this.#add(['SUNSUBSCRIBE', channel], { settle: outcome, answers: 1, isQuiet: true, next: undefined });
    }
    const marker = `left ${++this.#markers}`;
    this.send(['PING', marker], (error, reply) => {
      settle(error, reply);
      if (error instanceof ReplyError || (error === undefined && String(reply) !== marker)) {
        throw new ProtocolError('Redis sent a reply to no command: has its user the right to PING?');
      }
    });
  }

  #add(words: Words, pending: Pending): void {
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
    if (!(reply instanceof ReplyError)) {
      while (this.#first?.isQuiet) this.#settle(this.#first, undefined, null);
    }
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
