/**
 * An HTTP response as the socket of a connection: one long poll.
 *
 * Gathers what comes in one turn of the event loop, and answers it: the first message does not wait for a second one, and
 * messages that come together leave together. Owns the bytes that the client has not read; the library holds none of
 * them. Whatever a poll does not tell comes from history with the next one, because the client names its position.
 */
import { type CloseCode, closeCode } from '../../../shared/codes.ts';
import type { Position } from '../../../shared/protocol.ts';
import type { Frame } from '../../protocol/dialect.ts';
import type { GapReply } from '../../protocol/reply.ts';
import { answer, type Headers, type LibraryResponse, problemAnswer, writeHeaders } from '../response.ts';
import { type PollReply, pollBody, readMessage, readReply } from './poll-dialect.ts';
import { type ProblemDetail, problem, problemOfClose } from './problem.ts';
import type { ResponseOwner, ResponseSocket } from './subscriber.ts';

const noHistory: ProblemDetail = {
  code: 'forbidden',
  message:
    'The rule of this room keeps no history, so messages between two polls would be lost; open /events instead, or add "history": {} to the rule in GATEWAY_ROOMS_FILE.',
};

export interface PollOptions {
  /** The client named no position: it is told the present one at once. */
  fresh: boolean;
  /** Of the client. */
  address: string;
  /** Of the answer, whatever it is. */
  headers: Headers;
  /** The node stops: the client should send its next request to another one. */
  draining(): boolean;
  /** As of a Socket. */
  overRate(user: string | null): number;
}

export class PollSocket implements ResponseSocket {
  readonly topics = undefined;
  readonly address: string;
  readonly overRate: PollOptions['overRate'];
  /** Set right after construction. */
  owner: ResponseOwner | undefined;
  readonly #res: LibraryResponse;
  readonly #options: PollOptions;
  #state: 'joining' | 'waiting' | 'answering' | 'answered' | 'ended' = 'joining';
  /** The poll waits for nothing more. */
  #hurries: boolean;
  #finishing = false;
  /** Behind everything gathered so far. Known once it waits. */
  #position: Position = { epoch: '', offset: 0 };
  #recovered: boolean | undefined;
  #messages: Uint8Array[] = [];
  #gap: GapReply | undefined;
  /** What is gathered; later, the part of the answer that the client has not read. */
  #heldBytes = 0;

  constructor(res: LibraryResponse, options: PollOptions) {
    this.#res = res;
    this.#options = options;
    this.address = options.address;
    this.overRate = options.overRate;
    this.#hurries = options.fresh;
    res.onAborted(() => this.#close(1006));
  }

  send(frame: Frame): void {
    if (frame.length === 0 || this.#gap !== undefined) return;
    if (this.#state !== 'joining' && this.#state !== 'waiting') return;
    if (typeof frame === 'string') this.#take(readReply(frame));
    else {
      const { position, frame: message } = readMessage(frame);
      this.#messages.push(message);
      this.#heldBytes += message.length;
      this.#position = position;
      this.#finishSoon();
    }
  }

  /** The time to wait is over. */
  hurry(): void {
    this.#hurries = true;
    if (this.#state === 'waiting') this.#finishSoon();
  }

  /** A client of HTTP cannot answer, and a poll ends by itself. */
  ping(payload: string): void {
    if (payload !== '') this.owner?.ponged(payload);
  }

  /** Called when nothing is held. */
  end(code: CloseCode): void {
    if (this.#state === 'joining' || (this.#state === 'waiting' && code !== closeCode.draining)) {
      this.#refuse(problemOfClose(code));
    } else if (this.#state === 'waiting') this.#answer();
    this.#close(code);
  }

  destroy(): void {
    if (this.#state === 'answered') this.#close(closeCode.normal);
    else if (this.#state !== 'ended') this.#res.close();
  }

  bufferedBytes(): number {
    return this.#heldBytes;
  }

  #take(reply: PollReply): void {
    if (reply.type === 'error') this.#refuse(problem(reply));
    else if (reply.type === 'ok') this.#begin(reply);
    else if (reply.type === 'reconnect') this.hurry();
    else if (reply.type === 'gap') this.#takeGap(reply);
    else if (reply.reason !== 'revoked' || this.#messages.length > 0) this.hurry();
    else this.#refuse(problem({ code: 'forbidden', message: 'The right to this room has been taken away.' }));
  }

  #begin({ epoch, offset, recovered }: Extract<PollReply, { type: 'ok' }>): void {
    if (epoch === undefined || offset === undefined) {
      this.#refuse(problem(noHistory));
      return;
    }
    this.#position = { epoch, offset };
    this.#recovered = recovered;
    this.#state = 'waiting';
    if (this.#hurries || recovered === false) this.#finishSoon();
  }

  /** Frames of one answer are told in order, so nothing is taken behind a gap. */
  #takeGap(gap: GapReply): void {
    // Only `join` or `leave` frames are missing, which a poll does not tell.
    if (gap.count === 0) return;
    this.#gap = gap;
    this.#recovered = false;
    const { epoch = this.#position.epoch, offset = gap.last ?? this.#position.offset } = gap;
    this.#position = { epoch, offset };
    this.#finishSoon();
  }

  /** Called from within a fan-out, which must not change members. Whatever else comes in this turn is gathered. */
  #finishSoon(): void {
    if (this.#finishing) return;
    this.#finishing = true;
    setImmediate(() => {
      if (this.#state === 'waiting') this.#answer();
      if (this.#state !== 'ended') this.owner?.finished();
    });
  }

  /** Only to be called outside of a fan-out, or right before the end. */
  #refuse(why: ReturnType<typeof problem>): void {
    this.#state = 'answered';
    answer(this.#res, { ...problemAnswer(why, this.#options.headers), close: this.#options.draining() });
    this.#finishSoon();
  }

  #answer(): void {
    const { draining, headers } = this.#options;
    const body = pollBody({
      ...{ position: this.#position, messages: this.#messages },
      ...{ recovered: this.#recovered, gap: this.#gap },
    });
    this.#state = 'answering';
    this.#messages = [];
    const send = (from: number) => {
      const [sent, done] = this.#res.tryEnd(from === 0 ? body : body.subarray(from), body.length);
      this.#heldBytes = done ? 0 : body.length - this.#res.getWriteOffset();
      if (done) this.#state = 'answered';
      return sent;
    };
    this.#res.onWritable((offset) => {
      if (this.#state !== 'answering') return true;
      const sent = send(offset);
      this.owner?.drained();
      return sent;
    });
    this.#res.cork(() => {
      this.#res.writeStatus('200 OK');
      writeHeaders(this.#res, { 'content-type': 'application/json', ...headers });
      if (draining()) this.#res.writeHeader('connection', 'close');
      send(0);
    });
  }

  #close(code: number): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.#heldBytes = 0;
    this.#messages = [];
    this.owner?.closed(code);
  }
}
