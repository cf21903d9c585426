/**
 * What goes out to a client: its socket's buffer, and whether the client reads fast enough.
 *
 * Owns two states. Stalled: the buffer is over the soft limit, and nothing is fanned out to the client. Full: it takes no more
 * history for now. Both end when it has read.
 */
import { closeCode } from '../../shared/codes.ts';
import type { Frame } from '../protocol/dialect.ts';
import type { Backpressure } from '../rooms/backpressure.ts';
import type { Socket } from './socket.ts';

export interface OutboxOwner {
  /** Nothing is sent to it any more. */
  readonly closing: boolean;
  close(code: typeof closeCode.slowConsumer): void;
  /** It reads too slowly. */
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

  /** Over the soft limit the client is stalled; over the hard one it is closed. */
  send(frame: Frame): void {
    this.#socket.send(frame);
    const buffered = this.#socket.bufferedBytes();
    const { hardBytes, softBytes } = this.#backpressure;
    if (buffered > hardBytes) this.#owner.close(closeCode.slowConsumer);
    else if (buffered > softBytes) this.#owner.stall();
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

  /** The client has read. True if it was stalled or full and goes on. */
  drained(): boolean {
    if (!(this.stalled || this.#full)) return false;
    const { resumeBytes } = this.#backpressure;
    // A full one still gets live messages: waiting longer costs it nothing, and saves reads.
    if (this.#socket.bufferedBytes() > (this.stalled ? resumeBytes : resumeBytes / 2)) return false;
    this.stalled = false;
    this.#full = false;
    return true;
  }
}
