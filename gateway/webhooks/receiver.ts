/**
 * The receiver: one signed POST to the operator's backend, and what came of it.
 *
 * Owns the time limit, the connection that is kept open, and the reading of the answer, of which only the head counts. It never
 * follows a redirect, never sends anything again by itself, and never rejects. It knows neither events nor the outbox. Next:
 * gateway/auth/signature.ts.
 */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { isUrlOf } from '../../shared/url.ts';
import { signedHeaders } from '../auth/signature.ts';

const usualTimeoutMs = 10_000;
/** The rest of a longer answer is not read: the connection is closed. */
const maxAnswerBytes = 65_536;

export interface ReceiverOptions {
  url: URL;
  secrets: readonly Buffer[];
  /** In `user-agent`. */
  version: string;
  /** From the start of a request to the head of the answer, and again to its end. */
  timeoutMs?: number;
}

/** What came of a request. Only a status of 200 to 299 is a delivery. */
export type Outcome =
  | { delivered: true }
  | {
      delivered: false;
      /** For the log; it never holds the URL, which may be secret. */
      reason: string;
      /** The receiver (429, 503) asks to wait so long. */
      retryAfterMs?: number | undefined;
    };

/** Reads the setting. Throws a TypeError with a sentence for the operator, without the URL. */
export function readReceiverUrl(text: string): URL {
  if (!isUrlOf(text, 'https', 'http')) {
    throw new TypeError('must be a URL that begins with https:// or http://, and a host');
  }
  const url = new URL(text);
  if (url.hash !== '') throw new TypeError('has a # part, which is never sent to a server; leave it out');
  try {
    decodeURIComponent(url.username + url.password);
  } catch {
    throw new TypeError('has a user or a password with a % that stands for nothing; write % as %25');
  }
  return url;
}

export class Receiver {
  readonly #options: ReceiverOptions;
  readonly #agent: HttpAgent;
  readonly #request: typeof httpRequest;

  constructor(options: ReceiverOptions) {
    this.#options = options;
    const isTls = options.url.protocol === 'https:';
    this.#agent = isTls ? new HttpsAgent({ keepAlive: true }) : new HttpAgent({ keepAlive: true });
    this.#request = isTls ? httpsRequest : httpRequest;
  }

  /** `id`: the same for each attempt with the same body. */
  post(id: string, body: string): Promise<Outcome> {
    const { secrets, timeoutMs = usualTimeoutMs, url, version } = this.#options;
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      'user-agent': `Roomcast/${version}`,
      ...signedHeaders(secrets, id, Math.floor(Date.now() / 1000), body),
    };
    return new Promise((resolve) => {
      const request = this.#request(url, { method: 'POST', agent: this.#agent, headers });
      const late = () => request.destroy(new Error(`no answer within ${timeoutMs} ms`));
      let timer = setTimeout(late, timeoutMs);
      request.on('error', (error: NodeJS.ErrnoException) => resolve({ delivered: false, reason: reasonOf(error) }));
      request.on('close', () => clearTimeout(timer));
      request.on('response', (response) => {
        clearTimeout(timer);
        timer = setTimeout(() => request.destroy(), timeoutMs);
        readToEnd(response);
        resolve(outcomeOf(response));
      });
      request.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** So that the connection can be used again. */
function readToEnd(response: IncomingMessage): void {
  let bytes = 0;
  response.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > maxAnswerBytes) response.destroy();
  });
  // The answer counts already.
  response.on('error', () => undefined);
}

function outcomeOf({ headers, statusCode: status = 0 }: IncomingMessage): Outcome {
  if (status >= 200 && status < 300) return { delivered: true };
  const hint = status >= 300 && status < 400 ? '; redirects are not followed' : '';
  const asksToWait = status === 429 || status === 503;
  return {
    delivered: false,
    reason: `HTTP ${status}${hint}`,
    retryAfterMs: asksToWait ? readRetryAfter(headers['retry-after'], Date.now()) : undefined,
  };
}

/** Seconds, or a date (RFC 9110 section 10.2.3). Undefined: neither. */
export function readRetryAfter(text: string | undefined, now: number): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** An error of several addresses has no message, but a code. */
function reasonOf({ code, message }: NodeJS.ErrnoException): string {
  if (code === undefined || message.includes('within')) return message;
  return code;
}
