/**
 * What a client sends, until it takes effect: read, held to the rates, and in its order.
 *
 * Owns the frames that wait for the result of an `auth`, how much waits in all, and how many malformed frames came in a row.
 * What a frame means is its owner's affair: gateway/connection/connection.ts.
 */
import { type CloseCode, closeCode } from '../../shared/codes.ts';
import { failure } from '../protocol/answers.ts';
import { type Frame, type Refused, readFrame, readFrameId } from '../protocol/frame.ts';
import { Backlog, type RateSettings, Rates } from './limits.ts';

const malformedBeforeClose = 10;
/** Frames that wait for earlier ones may together be as large as so many of the largest. */
const maxWaitingMessages = 4;

export interface InboxSettings extends RateSettings {
  maxMessageBytes: number;
  maxRoomsPerConnection: number;
}

export interface InboxOwner {
  /** True while frames have to wait for the result of an `auth`. */
  readonly authenticating: boolean;
  /** True once nothing is obeyed any more. */
  readonly closing: boolean;
  /** The next frame takes effect. */
  handle(frame: Frame | Refused): void;
  send(frame: string): void;
  close(code: CloseCode): void;
}

export class Inbox {
  readonly #owner: InboxOwner;
  readonly #settings: InboxSettings;
  readonly #rates: Rates;
  /** Frames that wait for a token to be verified. */
  #waiting: (Frame | Refused)[] | undefined;
  /** These, and the ones that wait for a room to be joined. */
  #backlog: Backlog | undefined;
  #malformedInARow = 0;

  constructor(owner: InboxOwner, settings: InboxSettings) {
    this.#owner = owner;
    this.#settings = settings;
    this.#rates = new Rates(settings);
  }

  /** A whole text message of so many bytes, at performance.now(). */
  take(text: string, bytes: number, now: number): void {
    const most = this.#settings.maxMessageBytes;
    const frame = bytes > most ? undefined : readFrame(text);
    if (this.#overRate(frame, text, now)) return;
    if (frame === undefined) {
      const message = `The frame has ${bytes} bytes; send at most ${most}.`;
      this.#owner.send(failure(readFrameId(text), 'too_large', message));
    } else if (this.#owner.authenticating || this.#waiting !== undefined) {
      if (!this.mayWait(frame)) return;
      this.#waiting ??= [];
      this.#waiting.push(frame);
    } else this.#owner.handle(frame);
  }

  /** False if a WebSocket ping or pong frame is part of a flood. */
  takeControl(now: number): boolean {
    return this.#rates.takeControl(now);
  }

  /** False if too much waits already; the frame has been refused then. Otherwise it is counted until `resume`. */
  mayWait(frame: Frame | Refused): boolean {
    const { maxMessageBytes, maxRoomsPerConnection } = this.#settings;
    this.#backlog ??= new Backlog(maxRoomsPerConnection, maxWaitingMessages * maxMessageBytes);
    if (this.#backlog.add(frame)) return true;
    const message = 'Too many frames wait for earlier ones; wait for an answer first.';
    this.#owner.send(failure(frame.id, 'limit_exceeded', message));
    return false;
  }

  /** Takes up a frame that had to wait. */
  resume(frame: Frame | Refused): void {
    this.#backlog?.remove(frame);
    this.#owner.handle(frame);
  }

  /** The `auth` has its result: what waited for it goes on, up to the next one. */
  goOn(): void {
    while (this.#waiting !== undefined && !this.#owner.authenticating && !this.#owner.closing) {
      const frame = this.#waiting.shift();
      if (frame === undefined) this.#waiting = undefined;
      else this.resume(frame);
    }
  }

  wellFormed(): void {
    this.#malformedInARow = 0;
  }

  refuseMalformed(frame: Refused): void {
    this.#malformedInARow++;
    this.#owner.send(failure(frame.id, frame.code, frame.message));
    if (this.#malformedInARow >= malformedBeforeClose) this.#owner.close(closeCode.protocolError);
  }

  /** True if the frame is over a rate; it has been refused then. */
  #overRate(frame: Frame | Refused | undefined, text: string, now: number): boolean {
    const publish = frame?.type === 'publish';
    const retryAfterMs = this.#rates.takeFrame(publish, now);
    if (retryAfterMs === 0) return false;
    if (this.#rates.hopeless) {
      this.#owner.close(closeCode.rateLimited);
      return true;
    }
    const message = `Too many ${publish ? 'messages' : 'frames'}; send the next one after retryAfterMs.`;
    const id = frame === undefined ? readFrameId(text) : frame.id;
    this.#owner.send(failure(id, 'rate_limited', message, retryAfterMs));
    return true;
  }
}
