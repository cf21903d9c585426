/**
 * Outgoing frames of a client: checks the buffer of its socket against the limits of backpressure.
 *
 * Owns two states. Stalled: the buffer went over the soft limit, and nothing is fanned out to the client. Full: the
 * buffer takes no more history. Both end when the buffer has drained.
 */
import { type CloseCode, closeCode, closeReason } from '../../shared/codes.ts';
import type { Dialect, Frame } from '../protocol/dialect.ts';
import type { Backpressure } from '../rooms/backpressure.ts';
import type { Socket } from './socket.ts';

export interface OutboxOwner {
  readonly dialect: Dialect;
  /** Undefined before it is welcomed. */
  readonly identity: object | undefined;
  /** It is closed: no more frames are sent. */
  readonly closing: boolean;
  close(code: typeof closeCode.slowConsumer): void;
  /** The buffer is over the soft limit. */
  stall(): void;
}

export class Outbox {
  readonly #owner: OutboxOwner;
  readonly #socket: Socket;
  readonly #backpressure: Backpressure;
  stalled = false;
  #full = false;

  constructor(owner: OutboxOwner, socket: Socket, backpressure: Backpressure) {
    this.#owner = owner;
    this.#socket = socket;
    this.#backpressure = backpressure;
  }

  /** Over the soft limit it stalls the client; over the hard limit it closes the connection. `compressible`: see Socket. */
  send(frame: Frame, compressible: boolean): void {
    this.#socket.send(frame, compressible);
    const buffered = this.#socket.bufferedBytes();
    const { hardBytes, softBytes } = this.#backpressure;
    if (buffered > hardBytes) this.#owner.close(closeCode.slowConsumer);
    else if (buffered > softBytes) this.#owner.stall();
  }

  /** False before the welcome of a dialect whose pings are frames. */
  get pings(): boolean {
    return this.#owner.dialect.ping === undefined || this.#owner.identity !== undefined;
  }

  /** In the form of the dialect. */
  ping(payload: string): void {
    const { ping } = this.#owner.dialect;
    if (ping === undefined) this.#socket.ping(payload);
    else this.#socket.send(ping, false);
  }

  /** Sends the close frame. */
  end(code: CloseCode): void {
    const [told, reason] = this.#owner.dialect.closes?.[code] ?? [code, closeReason[code]];
    this.#socket.end(told, reason);
  }

  /** False if `bytes` more of history would overfill the buffer. */
  takes(bytes: number): boolean {
    const buffered = this.#socket.bufferedBytes();
    if (buffered > 0 && buffered + bytes > this.#backpressure.feedBytes) {
      this.#full = true;
      return false;
    }
    this.#backpressure.beforeHistory(bytes);
    return true;
  }

  /** The socket has written some of its buffer. True if this ends the stalled or full state. */
  drained(): boolean {
    if (!(this.stalled || this.#full)) return false;
    const { resumeBytes } = this.#backpressure;
    // A full client still gets live messages, so a later end delays only history, and saves reads.
    if (this.#socket.bufferedBytes() > (this.stalled ? resumeBytes : resumeBytes / 2)) return false;
    this.stalled = false;
    this.#full = false;
    return true;
  }
}
