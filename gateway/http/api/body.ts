/**
 * The bodies of requests to the HTTP API: reads them within bounds of size and time, and checks that each is one JSON object.
 *
 * Owns the number of bytes that all bodies under way hold together. It knows no route and no schema.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { maxDepth, scanObject } from '../../protocol/roomcast/object-text.ts';
import { Problem } from './problem.ts';

export interface Body {
  fields: Record<string, unknown>;
  /** The text of `data`, byte for byte as it was sent; undefined without one. */
  data: string | undefined;
}

/** The client went away before it had sent the whole body: there is nobody to answer. */
export class Aborted extends Error {}

/** For a whole body, from the head of its request on. */
const readTimeoutMs = 10_000;
/** Of all bodies that are being read or worked on. */
const maxBytesUnderWay = 33_554_432;
/** More than the largest body that a call takes, usually. */
const maxDiscardedBytes = 4_194_304;
const discardTimeoutMs = 2_000;

const jsonType = /^application\/json[\t ]*(;[\t ]*charset="?utf-8"?[\t ]*)?$/i;
/** Fails on invalid UTF-8. Keeps a byte order mark, which makes the text invalid JSON. */
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export class Bodies {
  #bytesUnderWay = 0;

  /**
   * Reads a body, and passes it to `use`. Rejects with a Problem or with Aborted, or as `use` does. Afterwards a part of the
   * body may be unread.
   */
  async read<Result>(
    request: IncomingMessage,
    response: ServerResponse,
    maxBytes: number,
    use: (body: Body) => Promise<Result>,
  ): Promise<Result> {
    checkHead(request, maxBytes);
    if (expectsContinue(request)) response.writeContinue();
    let held = 0;
    const hold = (bytes: number) => {
      held += bytes;
      this.#bytesUnderWay += bytes;
      if (held > maxBytes) throw tooLarge(maxBytes);
      if (this.#bytesUnderWay > maxBytesUnderWay) {
        throw new Problem('unavailable', 'Too many bodies are under way on this node; send it again in a moment.');
      }
    };
    try {
      return await use(parse(await bytesOf(request, hold)));
    } finally {
      this.#bytesUnderWay -= held;
    }
  }
}

/** True if the client has not sent its body, and waits for a 100 that it never gets: the connection cannot go on. */
export function isHeldBack(request: IncomingMessage): boolean {
  return !request.complete && expectsContinue(request);
}

/**
 * Reads and drops what is left of a body, so that its sender, who may write all of it before it reads, sees the answer that is
 * already written; then calls `done`. A body that is too long or too slow for that is left where it is, and the connection cut.
 */
export function discardRest(request: IncomingMessage, done: () => void): void {
  let left = maxDiscardedBytes;
  const timer = setTimeout(() => request.destroy(), discardTimeoutMs);
  const end = () => {
    clearTimeout(timer);
    done();
  };
  request.once('end', end).once('close', end);
  request.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) request.pause();
  });
  request.resume();
}

function expectsContinue({ headers }: IncomingMessage): boolean {
  return headers.expect?.toLowerCase() === '100-continue';
}

function checkHead({ headers }: IncomingMessage, maxBytes: number): void {
  // A page of any origin can send a form or text, but no JSON without asking first (CORS): this stops forged requests.
  if (!jsonType.test(headers['content-type'] ?? '')) {
    throw new Problem(
      'unsupported',
      'Send the body as JSON in UTF-8, with the header "content-type: application/json".',
    );
  }
  const encoding = headers['content-encoding'] ?? 'identity';
  if (encoding.toLowerCase() !== 'identity') {
    throw new Problem('unsupported', 'Send the body without a content-encoding.', {
      headers: { 'accept-encoding': 'identity' },
    });
  }
  if (Number(headers['content-length'] ?? 0) > maxBytes) throw tooLarge(maxBytes);
}

function tooLarge(maxBytes: number): Problem {
  return new Problem('too_large', `The body may have at most ${maxBytes} bytes; send less.`);
}

function tooLate(): Problem {
  const detail = `The body did not come within ${readTimeoutMs / 1_000} s; send it faster.`;
  return new Problem('bad_request', detail, { status: 408 });
}

/** `hold` is told of each chunk, and throws when it is one too many. */
function bytesOf(request: IncomingMessage, hold: (bytes: number) => void): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const settle = (outcome: () => void) => {
      clearTimeout(timer);
      request.off('data', take).off('end', end).off('close', abort).off('error', abort).pause();
      // An aborted request emits its error after it was settled, too.
      request.on('error', () => undefined);
      outcome();
    };
    const timer = setTimeout(() => settle(() => reject(tooLate())), readTimeoutMs);
    const take = (chunk: Buffer) => {
      try {
        hold(chunk.length);
        chunks.push(chunk);
      } catch (error) {
        settle(() => reject(error as Error));
      }
    };
    const end = () => settle(() => resolve(Buffer.concat(chunks)));
    const abort = () => settle(() => reject(new Aborted('the client went away')));
    request.on('data', take).once('end', end).once('close', abort).once('error', abort);
  });
}

function parse(bytes: Buffer): Body {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    throw new Problem('bad_request', 'The body is not valid UTF-8; encode it in UTF-8, without a byte order mark.');
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Problem('bad_request', 'The body is not JSON; send one JSON object.');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Problem('bad_request', 'The body is not a JSON object; send one, in braces.');
  }
  const fields = value as Record<string, unknown>;
  const scan = scanObject(text);
  if (scan === undefined) throw new Problem('bad_request', `The body is nested more than ${maxDepth} levels deep.`);
  if (scan.keys !== Object.keys(fields).length) {
    throw new Problem('bad_request', 'The body has a top-level key twice; send each once.');
  }
  return { fields, data: scan.data };
}
