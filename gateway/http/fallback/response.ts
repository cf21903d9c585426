/**
 * The response of the HTTP library, as far as the fallback uses it, and answers that are written at once. Only
 * gateway/http/server.ts imports the library.
 */
import type { Frame } from '../../protocol/dialect.ts';
import { problemContentType } from '../problem.ts';
import type { Problem } from './problem.ts';

/** Not to be used after `end`, nor after the library has called the handler of `onAborted`. */
export interface LibraryResponse {
  writeStatus(status: string): unknown;
  writeHeader(name: string, value: string): unknown;
  /** Writes one chunk of the body. False if bytes of this response wait in the library. */
  write(chunk: Frame): boolean;
  /** `close`: ends the connection too. Never with `close` after `write`: the library would write a header into the body. */
  end(body?: string, close?: boolean): unknown;
  /**
   * Sends as much of a whole body as the peer takes, and buffers nothing. `sent`: it was taken; `done`: the response has ended.
   * Otherwise the rest, from `getWriteOffset` on, is to be sent when it is writable.
   */
  tryEnd(rest: Uint8Array, totalBytes: number): [sent: boolean, done: boolean];
  getWriteOffset(): number;
  /** With an argument, even an undefined one, the library waits for a body, and ends the process if none comes. */
  endWithoutBody(): unknown;
  /** Ends the connection at once. The handler of `onAborted` is called from within. */
  close(): unknown;
  /** What is written within is sent in one call of the system. */
  cork(write: () => void): unknown;
  onAborted(handler: () => void): unknown;
  /** The peer has read some of its buffer. */
  onWritable(handler: (offset: number) => boolean): unknown;
  onData(handler: (chunk: ArrayBuffer, isLast: boolean) => void): unknown;
}

export type Headers = Record<string, string>;

export interface Answer {
  /** Number and words, as in the status line. */
  status: string;
  headers: Headers;
  /** Undefined: none, in the answer to HEAD (RFC 9110 section 9.3.2). */
  body: string | undefined;
  /** Ends the connection after an answer with a body: the rest of the request is not wanted, or the node stops. */
  close?: boolean;
}

/** Writes a whole answer and ends the response. */
export function answer(res: LibraryResponse, { status, headers, body, close = false }: Answer): void {
  res.cork(() => {
    res.writeStatus(status);
    writeHeaders(res, headers);
    if (body === undefined) res.endWithoutBody();
    else res.end(body, close);
  });
}

/** A response that is answered later, at most once, and only if the client is still there. */
export class Exchange {
  readonly #res: LibraryResponse;
  #open = true;

  /** To be called in the handler of the request. */
  constructor(res: LibraryResponse) {
    this.#res = res;
    res.onAborted(() => {
      this.#open = false;
    });
  }

  answer(made: Answer): void {
    if (!this.#open) return;
    this.#open = false;
    answer(this.#res, made);
  }
}

export function writeHeaders(res: LibraryResponse, headers: Headers): void {
  for (const [name, value] of Object.entries(headers)) res.writeHeader(name, value);
}

export function problemAnswer(problem: Problem, headers: Headers): Answer {
  const { status, reason, retryAfterSeconds, body } = problem;
  return {
    status: `${status} ${reason}`,
    headers: {
      'content-type': problemContentType,
      'cache-control': 'no-store',
      ...(status === 401 ? { 'www-authenticate': 'Bearer' } : {}),
      ...(retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) }),
      ...headers,
    },
    body,
  };
}
