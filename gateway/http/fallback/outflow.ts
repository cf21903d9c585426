/**
 * The bytes of an endless response that the client has not read.
 *
 * The library buffers whatever is written and does not say how much. So after the first write that it reports as not sent,
 * frames wait here, where they are counted, until the client reads. It sends its buffer only together with a further write, and
 * cuts a response that sent nothing for about 10 s.
 *
 * Uncounted is at most one write below `corkBytes`: the library gathers those, and only the next write tells whether the
 * last one was sent.
 */
import type { Frame } from '../../protocol/dialect.ts';
import type { LibraryResponse } from '../response.ts';

/** Size of the library's buffer for gathered writes. */
const corkBytes = 16_384;
/** Frames that wait are written in pieces of this size. */
const pieceBytes = 65_536;

/** Shared by all responses that the client reads in time. */
const noneWaiting: Frame[] = [];

export class Outflow {
  readonly #res: LibraryResponse;
  readonly #filler: Frame;
  /** Most bytes that the library may hold. 0: it has sent everything. */
  #heldBytes = 0;
  #waiting: Frame[] = noneWaiting;
  #waitingBytes = 0;

  /** `filler`: what clients ignore. */
  constructor(res: LibraryResponse, filler: Frame) {
    this.#res = res;
    this.#filler = filler;
  }

  get isSent(): boolean {
    return this.#heldBytes === 0;
  }

  get bytes(): number {
    return this.#heldBytes + this.#waitingBytes;
  }

  write(frame: Frame): void {
    if (this.#heldBytes > 0) {
      if (this.#waiting === noneWaiting) this.#waiting = [];
      this.#waiting.push(frame);
      this.#waitingBytes += Buffer.byteLength(frame);
    } else this.#hand(frame);
  }

  /** Keeps proxies from ending an idle response, and shows that the client is still there. */
  fill(): void {
    if (this.isSent) this.#hand(this.#filler);
  }

  /** The library can write again. */
  writable(): void {
    // Makes the library send what it holds. If it cannot send all, it is writable again later.
    this.#hand(this.#filler);
    while (this.#heldBytes === 0 && this.#waiting.length > 0) this.#hand(this.#nextPiece());
  }

  /** The response has ended: nothing is sent any more. */
  end(): void {
    this.#waiting = noneWaiting;
    this.#waitingBytes = 0;
    this.#heldBytes = 0;
  }

  /** Hands a frame to the library. Afterwards `#heldBytes` says whether it was sent. */
  #hand(frame: Frame): void {
    let sent = true;
    this.#res.cork(() => {
      sent = this.#res.write(frame);
    });
    if (sent) this.#heldBytes = 0;
    // The write before this one may not have been sent either.
    else this.#heldBytes = Math.max(this.#heldBytes, corkBytes) + Buffer.byteLength(frame);
  }

  #nextPiece(): Buffer {
    const pieces: Buffer[] = [];
    let bytes = 0;
    let taken = 0;
    for (const frame of this.#waiting) {
      if (bytes >= pieceBytes) break;
      const piece =
        typeof frame === 'string' ? Buffer.from(frame) : Buffer.from(frame.buffer, frame.byteOffset, frame.length);
      pieces.push(piece);
      bytes += piece.length;
      taken++;
    }
    this.#waiting.splice(0, taken);
    this.#waitingBytes -= bytes;
    return Buffer.concat(pieces);
  }
}
