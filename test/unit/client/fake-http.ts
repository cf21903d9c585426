/**
 * The HTTP side of a gateway in unit tests of the fallback: requests that a test answers by hand, in place of `fetch`.
 *
 * Owns the list of all requests. It judges nothing.
 */
import { vi } from 'vitest';
import { onCleanup } from '../../support/cleanup.ts';

export class FakeRequest {
  readonly url: URL;
  readonly method: string;
  readonly headers: Record<string, string>;
  readonly body: { data?: unknown; key?: string };
  readonly credentials: string | undefined;
  isAborted = false;
  readonly answered: Promise<Response>;
  #resolve: (response: Response) => void = () => undefined;
  #reject: (error: Error) => void = () => undefined;
  #stream: ReadableStreamDefaultController<Uint8Array> | undefined;

  constructor(url: string, init: RequestInit & { credentials?: string }) {
    this.url = new URL(url);
    this.method = init.method ?? 'GET';
    this.headers = init.headers as Record<string, string>;
    this.body = JSON.parse(String(init.body ?? '{}'));
    this.credentials = init.credentials;
    this.answered = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    const abort = () => {
      this.isAborted = true;
      this.fail();
    };
    init.signal?.addEventListener('abort', abort);
    if (init.signal?.aborted) abort();
  }

  answer(body: object): void {
    this.#resolve(new Response(JSON.stringify(body), { status: 200 }));
  }

  refuse(status: number, code: string, headers: Record<string, string> = {}): void {
    const body = JSON.stringify({ type: `https://roomcast.dev/problems/${code}`, detail: code });
    this.#resolve(new Response(body, { status, headers }));
  }

  /** The answer of something that is no gateway. */
  page(status: number): void {
    this.#resolve(new Response('<html>', { status }));
  }

  /** The line breaks, before the answer or behind it. */
  fail(): void {
    const error = new TypeError('fetch failed');
    this.#reject(error);
    this.#stream?.error(error);
    this.#stream = undefined;
  }

  /** Begins a stream, or goes on with it. */
  tell(frame: { type: string; [field: string]: unknown }, retryMs?: number): void {
    const retry = retryMs === undefined ? '' : `retry: ${retryMs}\n`;
    this.write(`${retry}event: ${frame.type}\ndata: ${JSON.stringify(frame)}\n\n`);
  }

  write(text: string): void {
    if (this.#stream === undefined) {
      const body = new ReadableStream<Uint8Array>({
        start: (controller) => {
          this.#stream = controller;
        },
      });
      this.#resolve(new Response(body, { status: 200 }));
    }
    this.#stream?.enqueue(new TextEncoder().encode(text));
  }

  end(): void {
    this.#stream?.close();
    this.#stream = undefined;
  }
}

export class FakeHttp {
  readonly requests: FakeRequest[] = [];

  constructor() {
    vi.stubGlobal('fetch', (url: string, init: RequestInit) => {
      const request = new FakeRequest(url, init);
      this.requests.push(request);
      return request.answered;
    });
    onCleanup(() => vi.unstubAllGlobals());
  }

  /** The last request to a path that ends so. */
  last(end: string): FakeRequest {
    const request = this.to(end).at(-1);
    if (request === undefined) throw new Error(`nobody asked for ${end}`);
    return request;
  }

  to(end: string): FakeRequest[] {
    return this.requests.filter(({ url }) => url.pathname.endsWith(end));
  }

  /** Lets the fallback see that a gateway answers. */
  welcome(): void {
    this.last('/-/messages').refuse(400, 'bad_request');
  }
}
