/**
 * The response of the HTTP library, as far as this folder uses it, and answers that are written at once. Only
 * gateway/http/library.ts imports the library.
 */
import { STATUS_CODES } from 'node:http';
import type { Frame } from '../protocol/dialect.ts';
import { type Problem, problemContentType } from './problem.ts';

/** Not to be used after `end`, nor after the library has called the handler of `onAborted`. */
export interface LibraryResponse {
  writeStatus(status: string): unknown;
  writeHeader(name: string, value: string): unknown;
  /** Writes one chunk of the body. False if bytes of this response wait in the library. */
  write(chunk: Frame): boolean;
  /** `close`: ends the connection too. Never with `close` after `write`: the library would write a header into the body. */
  end(body?: string, close?: boolean): unknown;
  /**
   * Sends as much of a whole body as the peer takes now, and buffers nothing. `ended`: all of it is sent. Otherwise the rest,
   * from `getWriteOffset` on, is to be sent when it is writable.
   */
  tryEnd(rest: Uint8Array, totalBytes: number): [sent: boolean, ended: boolean];
  getWriteOffset(): number;
  /** With an argument, even an undefined one, the library waits for a body, and ends the process if none comes. */
  endWithoutBody(): unknown;
  /** Ends the connection at once. The handler of `onAborted` is called from within. */
  close(): unknown;
  /** What is written within is sent in one call of the system. */
  cork(write: () => void): unknown;
  /** Stops reading the connection. */
  pause(): unknown;
  /** Reads on, and gives the body another 8 to 12 s. */
  resume(): unknown;
  onAborted(handler: () => void): unknown;
  /** The peer has read some of its buffer; `offset` bytes of the body are written. */
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

const guards: Headers = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
};

/** Longer bodies are handed to the library as fast as the peer reads them. */
const handedAtOnce = 16_384;

/** Writes a whole answer and ends the response. */
export function answer(res: LibraryResponse, { status, headers, body, close = false }: Answer): void {
  res.cork(() => {
    res.writeStatus(status);
    writeHeaders(res, headers);
    if (body === undefined) res.endWithoutBody();
    else if (close || body.length <= handedAtOnce) res.end(body, close);
    else handOver(res, body);
  });
}

/** The library cuts a peer that reads nothing for 8 to 12 s. */
function handOver(res: LibraryResponse, body: string): void {
  const bytes = Buffer.from(body);
  const [sent] = res.tryEnd(bytes, bytes.length);
  if (!sent) res.onWritable((offset) => res.tryEnd(bytes.subarray(offset), bytes.length)[0]);
}

export function writeHeaders(res: LibraryResponse, headers: Headers): void {
  for (const name in guards) if (!(name in headers)) res.writeHeader(name, guards[name] ?? '');
  for (const name in headers) res.writeHeader(name, headers[name] ?? '');
}

/**
 * With what every answer tells a browser, unless it says something else: nothing guesses its type, loads from it, frames it,
 * keeps it, or tells others its address.
 */
export function withGuards(headers: Headers): Headers {
  return { ...guards, ...headers };
}

export function textAnswer(status: string, text: string, headers: Headers = {}): Answer {
  return { status, headers: { 'content-type': 'text/plain', ...headers }, body: `${text}\n` };
}

export function problemAnswer(problem: Problem, headers: Headers): Answer {
  const { status, retryAfterSeconds, body } = problem;
  return {
    status: `${status} ${STATUS_CODES[status] ?? ''}`,
    headers: {
      'content-type': problemContentType,
      ...(status === 401 ? { 'www-authenticate': 'Bearer' } : {}),
      ...(retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) }),
      ...problem.headers,
      ...headers,
    },
    body,
    // The rest of the body is not worth waiting for.
    close: status === 408,
  };
}
