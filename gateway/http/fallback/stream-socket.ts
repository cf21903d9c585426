/**
 * An HTTP response as the socket of a connection: one event stream.
 *
 * The first frame decides what the response becomes: a stream, or an error with an HTTP status. What the client has not read is
 * in gateway/http/fallback/outflow.ts.
 */
import { type CloseCode, closeCode } from '../../../shared/codes.ts';
import type { ErrorFrame } from '../../../shared/protocol.ts';
import type { Frame } from '../../protocol/dialect.ts';
import { answer, type Headers, type LibraryResponse, problemAnswer, writeHeaders } from '../response.ts';
import { Outflow } from './outflow.ts';
import { problem, problemOfClose } from './problem.ts';
import { closeEvent, meaningOf } from './sse.ts';
import type { ResponseOwner, ResponseSocket } from './subscriber.ts';

/** Ignored by clients (HTML section 9.2.6). */
const comment = ':\n';

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
  readonly #outflow: Outflow;
  /** Until the answer begins. */
  #headers: Headers;
  /** Set right after construction. */
  owner: ResponseOwner | undefined;
  #begun = false;
  #ended = false;
  #ping: string | undefined;

  /** `headers`: of the answer, whatever it is. */
  constructor(res: LibraryResponse, address: string, headers: Headers) {
    this.#res = res;
    this.#outflow = new Outflow(res, comment);
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
    else this.#outflow.write(frame);
    if (meaning === 'last') setImmediate(() => this.#ended || this.owner?.finished());
  }

  /** A client of HTTP cannot answer. It is there if it reads: the pong comes when nothing waits. */
  ping(payload: string): void {
    if (payload === '' || this.#ended) return;
    this.#ping = payload;
    if (this.#outflow.isSent) this.#pong();
  }

  /** Keeps proxies from ending an idle stream, and shows that the client is still there. */
  comment(): void {
    if (this.#begun && !this.#ended) this.#outflow.fill();
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
    return this.#outflow.bytes;
  }

  #begin(frame: Frame, meaning: ReturnType<typeof meaningOf>): void {
    if (meaning === 'begin') {
      this.#begun = true;
      this.#res.cork(() => {
        this.#res.writeStatus('200 OK');
        writeHeaders(this.#res, { ...streamHeaders, ...this.#headers });
        this.#outflow.write(frame);
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

  #writable(): void {
    this.#outflow.writable();
    if (this.#outflow.isSent) this.#pong();
    this.owner?.drained();
  }

  #pong(): void {
    const payload = this.#ping;
    this.#ping = undefined;
    if (payload !== undefined) this.owner?.ponged(payload);
  }

  #close(code: number): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#outflow.end();
    this.owner?.closed(code);
  }
}
