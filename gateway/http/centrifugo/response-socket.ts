/**
 * An HTTP response as the socket of a connection: what a client without WebSockets is told. What it sends comes by requests of
 * their own (emulation.ts).
 *
 * What the client has not read is in gateway/http/fallback/outflow.ts.
 */
import { closeCode } from '../../../shared/codes.ts';
import type { EmulatedDialect } from '../../protocol/centrifugo/emulated.ts';
import type { Frame } from '../../protocol/dialect.ts';
import { Outflow } from '../fallback/outflow.ts';
import type { ResponseOwner, ResponseSocket } from '../fallback/subscriber.ts';
import { type Headers, type LibraryResponse, writeHeaders } from '../response.ts';

/** What an end without a close frame is called (RFC 6455 section 7.1.5). */
const abnormal = 1006;

export class EmulatedSocket implements ResponseSocket {
  readonly topics = undefined;
  readonly address: string;
  readonly #res: LibraryResponse;
  readonly #outflow: Outflow;
  readonly #dialect: EmulatedDialect;
  #headers: Headers | undefined;
  /** Set right after construction. */
  owner: ResponseOwner | undefined;
  #ended = false;

  /** `headers`: of the response. */
  constructor(res: LibraryResponse, dialect: EmulatedDialect, address: string, headers: Headers) {
    this.#res = res;
    this.#dialect = dialect;
    this.address = address;
    this.#headers = headers;
    this.#outflow = new Outflow(res, dialect.filler);
    res.onAborted(() => this.#close(abnormal));
    res.onWritable(() => {
      if (this.#headers === undefined && !this.#ended) this.#writable();
      return true;
    });
  }

  send(frame: Frame): void {
    if (this.#ended || frame.length === 0) return;
    this.#begin();
    this.#outflow.write(frame);
  }

  ping(): void {
    // Its pings are frames of the dialect, and frames are sent at once: there is nothing to flush.
  }

  end(code: number, reason: string): void {
    if (this.#ended) return;
    this.#begin();
    this.#res.cork(() => {
      if (code !== closeCode.normal) this.#res.write(this.#dialect.goodbye(code, reason));
      this.#res.end();
    });
    this.#close(code);
  }

  destroy(): void {
    if (!this.#ended) this.#res.close();
  }

  bufferedBytes(): number {
    return this.#outflow.bytes;
  }

  #begin(): void {
    if (this.#headers === undefined) return;
    const headers = this.#headers;
    this.#headers = undefined;
    this.#res.cork(() => {
      this.#res.writeStatus('200 OK');
      writeHeaders(this.#res, { 'cache-control': 'no-store, no-transform', 'x-accel-buffering': 'no', ...headers });
      if (this.#dialect.opening.length > 0) this.#outflow.write(this.#dialect.opening);
    });
  }

  #writable(): void {
    this.#outflow.writable();
    this.owner?.drained();
  }

  #close(code: number): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#outflow.end();
    this.owner?.closed(code);
  }
}
