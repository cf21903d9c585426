/**
 * An HTTP response as the socket of a connection: one event stream.
 *
 * The first frame decides what the response becomes: a stream, or an error with an HTTP status. Owns the bytes that the
 * client has not read. The library buffers whatever is written and does not say how much. So after the first write that it
 * reports as not sent, frames wait here, where they are counted, until the client reads. It sends its buffer only
 * together with a further write, and cuts a response that sent nothing for about 10 s.
 *
 * Uncounted is at most one write below `corkBytes`: the library gathers those, and only the next write tells whether the
 * last one was sent.
 */
import { type CloseCode, closeCode } from '../../../shared/codes.ts';
import type { ErrorFrame } from '../../../shared/protocol.ts';
import type { Frame } from '../../protocol/dialect.ts';
import { answer, type Headers, type LibraryResponse, problemAnswer, writeHeaders } from '../response.ts';
import { problem, problemOfClose } from './problem.ts';
import { closeEvent, meaningOf } from './sse.ts';
import type { ResponseOwner, ResponseSocket } from './subscriber.ts';

/** Size of the library's buffer for gathered writes. */
const corkBytes = 16_384;
/** Frames that wait are written in pieces of this size. */
const pieceBytes = 65_536;
/** Ignored by clients (HTML section 9.2.6). */
const comment = ':\n';

/** Shared by all streams that the client reads in time. */
const noneWaiting: Frame[] = [];

const streamHeaders: Headers = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-store, no-transform',
  // nginx, and proxies that follow it, otherwise hold events back.
  'x-accel-buffering': 'no',
};

export class StreamSocket implements ResponseSocket {
  readonly topics = undefined;
  readonly address: string;
  readonly #res: LibraryResponse;
  /** Until the answer begins. */
  #headers: Headers;
  /** Set right after construction. */
  owner: ResponseOwner | undefined;
  #begun = false;
  #ended = false;
  /** Most bytes that the library may hold. 0: it has sent everything. */
  #heldBytes = 0;
  #waiting: Frame[] = noneWaiting;
  #waitingBytes = 0;
  #ping: string | undefined;

  /** `headers`: of the answer, whatever it is. */
  constructor(res: LibraryResponse, address: string, headers: Headers) {
    this.#res = res;
    this.address = address;
    this.#headers = headers;
    res.onAborted(() => this.#close(1006));
    res.onWritable(() => {
      if (this.#begun && !this.#ended) this.#writable();
      return true;
    });
  }

  send(frame: Frame): void {
    if (this.#ended || frame.length === 0) return;
    const meaning = meaningOf(frame);
    if (!this.#begun) this.#begin(frame, meaning);
    else this.#write(frame);
    if (meaning === 'last') setImmediate(() => this.#ended || this.owner?.finished());
  }

  /** A client of HTTP cannot answer. It is there if it reads: the pong comes when nothing waits. */
  ping(payload: string): void {
    if (payload === '' || this.#ended) return;
    this.#ping = payload;
    if (this.#heldBytes === 0) this.#pong();
  }

  /** Keeps proxies from ending an idle stream, and shows that the client is still there. */
  comment(): void {
    if (this.#begun && !this.#ended && this.#heldBytes === 0) this.#write(comment);
  }

  end(code: CloseCode, reason: string): void {
    if (this.#ended) return;
    if (this.#begun) {
      this.#res.cork(() => {
        if (code !== closeCode.normal) this.#res.write(closeEvent(code, reason));
        this.#res.end();
      });
    } else answer(this.#res, problemAnswer(problemOfClose(code), this.#headers));
    this.#close(code);
  }

  destroy(): void {
    if (!this.#ended) this.#res.close();
  }

  bufferedBytes(): number {
    return this.#ended ? 0 : this.#heldBytes + this.#waitingBytes;
  }

  #begin(frame: Frame, meaning: ReturnType<typeof meaningOf>): void {
    if (meaning === 'begin') {
      this.#begun = true;
      this.#res.cork(() => {
        this.#res.writeStatus('200 OK');
        writeHeaders(this.#res, { ...streamHeaders, ...this.#headers });
        this.#write(frame);
      });
      this.#headers = streamHeaders;
      return;
    }
    // Anything else before the answer to the subscribe is `reconnect`: the node stops.
    const why =
      meaning === 'refusal' ? problem(JSON.parse(String(frame)) as ErrorFrame) : problemOfClose(closeCode.draining);
    answer(this.#res, problemAnswer(why, this.#headers));
    this.#close(closeCode.normal);
  }

  #write(frame: Frame): void {
    if (this.#heldBytes > 0) {
      if (this.#waiting === noneWaiting) this.#waiting = [];
      this.#waiting.push(frame);
      this.#waitingBytes += Buffer.byteLength(frame);
    } else this.#hand(frame);
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

  #writable(): void {
    // Makes the library send what it holds. If it cannot send all, it is writable again later.
    this.#hand(comment);
    while (this.#heldBytes === 0 && this.#waiting.length > 0) this.#hand(this.#nextPiece());
    if (this.#heldBytes === 0) this.#pong();
    this.owner?.drained();
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

  #pong(): void {
    const payload = this.#ping;
    this.#ping = undefined;
    if (payload !== undefined) this.owner?.ponged(payload);
  }

  #close(code: number): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#waiting = noneWaiting;
    this.owner?.closed(code);
  }
}
