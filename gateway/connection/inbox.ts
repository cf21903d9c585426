/**
 * What a client sends, until it takes effect: decoded, held to the rates, and in its order.
 *
 * Owns the requests that wait for the result of an `auth`, how much waits in all, and how many malformed messages came in a
 * row. What a request does is its owner's affair: gateway/connection/connection.ts.
 */
import { type CloseCode, closeCode, type ErrorCode } from '../../shared/codes.ts';
import type { FrameId } from '../../shared/protocol.ts';
import type { Dialect } from '../protocol/dialect.ts';
import type { Reply } from '../protocol/reply.ts';
import type { Rejected, Request } from '../protocol/request.ts';
import { Backlog, type RateSettings, Rates } from './limits.ts';

const malformedBeforeClose = 10;
/** Requests that wait for earlier ones may together be as large as this many of the largest messages. */
const maxWaitingMessages = 4;

export interface InboxSettings extends RateSettings {
  maxMessageBytes: number;
  maxRoomsPerConnection: number;
}

export interface InboxOwner {
  readonly dialect: Dialect;
  /** True while requests have to wait for the result of an `auth`. */
  readonly authenticating: boolean;
  /** True once nothing is obeyed any more. */
  readonly closing: boolean;
  /** The next request takes effect. */
  handle(request: Request | Rejected): void;
  reply(reply: Reply): void;
  close(code: CloseCode): void;
}

export class Inbox {
  readonly #owner: InboxOwner;
  readonly #settings: InboxSettings;
  readonly #rates: Rates;
  /** Requests that wait for a token to be verified. */
  #waiting: (Request | Rejected)[] | undefined;
  /** These, and the ones that wait for a room to be joined. */
  #backlog: Backlog | undefined;
  #malformedInARow = 0;

  constructor(owner: InboxOwner, settings: InboxSettings) {
    this.#owner = owner;
    this.#settings = settings;
    this.#rates = new Rates(settings);
  }

  /** One message of the client, at `now` of performance.now(). */
  take(message: ArrayBuffer, now: number): void {
    const most = this.#settings.maxMessageBytes;
    const bytes = message.byteLength;
    const request = bytes > most ? undefined : this.#owner.dialect.decode(message);
    if (this.#overRate(request, message, now)) return;
    if (request === undefined) {
      this.#refuse(this.#idOf(message), 'too_large', `The frame has ${bytes} bytes; send at most ${most}.`);
    } else if (this.#owner.authenticating || this.#waiting !== undefined) {
      if (!this.mayWait(request)) return;
      this.#waiting ??= [];
      this.#waiting.push(request);
    } else this.#owner.handle(request);
  }

  /** False if a WebSocket ping or pong frame is part of a flood. */
  takeControl(now: number): boolean {
    return this.#rates.takeControl(now);
  }

  /** False if too much waits already; the request has been refused then. Otherwise it is counted until `release`. */
  mayWait(request: Request | Rejected): boolean {
    const { maxMessageBytes, maxRoomsPerConnection } = this.#settings;
    this.#backlog ??= new Backlog(maxRoomsPerConnection, maxWaitingMessages * maxMessageBytes);
    if (this.#backlog.add(request)) return true;
    this.#refuse(request.id, 'limit_exceeded', 'Too many frames wait for earlier ones; wait for an answer first.');
    return false;
  }

  /** A request that waited takes effect. */
  release(request: Request | Rejected): void {
    this.#backlog?.remove(request);
    this.#owner.handle(request);
  }

  /** The `auth` has its result: what waited for it goes on, up to the next one. */
  releaseWaiting(): void {
    while (this.#waiting !== undefined && !this.#owner.authenticating && !this.#owner.closing) {
      const request = this.#waiting.shift();
      if (request === undefined) this.#waiting = undefined;
      else this.release(request);
    }
  }

  wellFormed(): void {
    this.#malformedInARow = 0;
  }

  malformed({ id, code, message }: Rejected): void {
    this.#malformedInARow++;
    this.#refuse(id, code, message);
    if (this.#malformedInARow >= malformedBeforeClose) this.#owner.close(closeCode.protocolError);
  }

  /** True if the request is over a rate; it has been refused then. */
  #overRate(request: Request | Rejected | undefined, message: ArrayBuffer, now: number): boolean {
    const publish = request?.type === 'publish';
    const retryAfterMs = this.#rates.takeFrame(publish, now);
    if (retryAfterMs === 0) return false;
    if (this.#rates.ignoresRefusals) {
      this.#owner.close(closeCode.rateLimited);
      return true;
    }
    const id = request === undefined ? this.#idOf(message) : request.id;
    const sentence = `Too many ${publish ? 'messages' : 'frames'}; send the next one after retryAfterMs.`;
    this.#owner.reply({ type: 'error', id, code: 'rate_limited', message: sentence, retryAfterMs });
    return true;
  }

  /** Of a request that is refused undecoded, so that the answer can name it. */
  #idOf(message: ArrayBuffer): FrameId | undefined {
    return this.#owner.dialect.decode(message).id;
  }

  #refuse(id: FrameId | undefined, code: ErrorCode, message: string): void {
    this.#owner.reply({ type: 'error', id, code, message });
  }
}
