/**
 * A response as a stream of server-sent events for one browser (https://html.spec.whatwg.org, section 9.2).
 *
 * A browser that does not read gets nothing more until it has: at most one event waits in the library, so a response needs
 * little memory however slow its reader is. What is left out, and what that means, is for the caller. The library sends what
 * it holds only together with a further write, and cuts a response that could send nothing for about 10 s.
 */
import { type LibraryResponse, writeHeaders } from '../http/response.ts';

const headers = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-store, no-transform',
  'x-accel-buffering': 'no',
};
/** Ignored by clients. */
const comment = ':\n\n';

export class EventResponse {
  readonly #res: LibraryResponse;
  readonly #closed: () => void;
  #ended = false;
  #isWaiting = false;

  /** To be made in the handler of the request. `closed` is called once, when it has ended in any way. */
  constructor(res: LibraryResponse, closed: () => void) {
    this.#res = res;
    this.#closed = closed;
    res.onAborted(() => this.#end());
    res.onWritable(() => {
      if (!this.#ended) this.#write(comment);
      return true;
    });
    res.cork(() => {
      res.writeStatus('200 OK');
      writeHeaders(res, headers);
      this.#isWaiting = !res.write(comment);
    });
  }

  /** False: the browser has not read the last one yet, or is gone, and gets nothing. `data`: JSON, in one line. */
  send(name: string, data: string): boolean {
    if (this.#ended || this.#isWaiting) return false;
    this.#write(`event: ${name}\ndata: ${data}\n\n`);
    return true;
  }

  end(): void {
    if (this.#ended) return;
    this.#res.cork(() => this.#res.end());
    this.#end();
  }

  #write(text: string): void {
    this.#res.cork(() => {
      this.#isWaiting = !this.#res.write(text);
    });
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#closed();
  }
}
