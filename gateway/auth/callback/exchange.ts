/**
 * One question to the operator's backend over HTTP, and the text of its answer: a POST of JSON, signed if there is a secret.
 *
 * Bounded in time and in bytes, whatever the backend does. It follows no redirect, and keeps connections open for the next
 * question. It knows neither what is asked nor what the answer means: gateway/auth/callback/callback.ts.
 */
import { randomUUID } from 'node:crypto';
import { lookup } from 'node:dns';
import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest, Agent as SecureAgent } from 'node:https';
import type { LookupFunction } from 'node:net';
import { unescape as percentDecoded } from 'node:querystring';
import { truncate } from '../../telemetry/log.ts';
import { signedHeaders } from '../signature.ts';

/** From the question to the last byte of the answer, name look-up and TLS included. */
const answerMs = 2_000;
/** An answer is some hundred bytes. */
const maxAnswerBytes = 16_384;
/**
 * What changes something cannot be sent twice. So a connection that waited this long is not used again: servers close theirs
 * after 5 s (Node) or more, and a request would meet the end on its way.
 */
const freshMs = 4_000;
/** Connections kept open while nothing is asked. */
const idleConnections = 16;

/** The backend gave no whole answer in time. */
export class SlowAnswerError extends Error {}

/** What came of one request. */
type Outcome = { text: string } | { error: Error };

/** What the exchanges with one place of the backend have in common. */
export interface Terms {
  /** The setting with its URL. */
  setting: string;
  /** What to answer, in JSON. */
  expected: string;
  /** A request changes nothing: it may be sent again where it is unknown whether it came. */
  repeatable: boolean;
  maxAnswerBytes: number;
  /** From a request to the last byte of its answer. */
  timeoutMs: number;
}

/** Of GATEWAY_AUTH_URL. */
const questions: Terms = {
  setting: 'GATEWAY_AUTH_URL',
  expected: '{"allow": true} or {"allow": false}',
  repeatable: true,
  maxAnswerBytes,
  timeoutMs: answerMs,
};

export class Exchange {
  /** Scheme, host and port, for the log. */
  readonly origin: string;
  readonly #url: URL;
  readonly #headers: Record<string, string>;
  readonly #secrets: readonly Buffer[];
  readonly #terms: Terms;
  readonly #agent: Agent;
  readonly #lookup = sharedLookup();

  /**
   * `url`: http or https; user and password in it become basic authentication (RFC 7617). `secrets`: none, and questions are
   * not signed. `terms`: what is different from questions about rights.
   */
  constructor(url: string, secrets: readonly Buffer[], terms: Partial<Terms> = {}) {
    this.#terms = { ...questions, ...terms };
    this.#url = new URL(url);
    this.#secrets = secrets;
    this.#headers = { accept: 'application/json', 'content-type': 'application/json' };
    const { username, password } = this.#url;
    if (username !== '' || password !== '') {
      const credentials = `${percentDecoded(username)}:${percentDecoded(password)}`;
      this.#headers.authorization = `Basic ${Buffer.from(credentials).toString('base64')}`;
      this.#url.username = '';
      this.#url.password = '';
    }
    this.origin = this.#url.origin;
    const kept = { keepAlive: true, maxFreeSockets: idleConnections };
    const options = this.#terms.repeatable ? kept : { ...kept, timeout: freshMs };
    this.#agent = this.#url.protocol === 'https:' ? new SecureAgent(options) : new Agent(options);
  }

  /** Resolves with the body of an answer 200 in JSON. Rejects with an Error that says what is wrong with any other. */
  ask(body: string): Promise<string> {
    const { repeatable, timeoutMs } = this.#terms;
    return new Promise((resolve, reject) => {
      let request: ClientRequest | undefined;
      const timer = setTimeout(() => {
        request?.destroy(new SlowAnswerError(`no whole answer within ${timeoutMs} ms`));
      }, timeoutMs);
      const send = (agent: Agent | false) => {
        request = this.#send(body, agent, (outcome) => {
          if (repeatable && 'error' in outcome && agent !== false && isStale(request, outcome.error)) {
            send(false);
            return;
          }
          clearTimeout(timer);
          if ('text' in outcome) resolve(outcome.text);
          else reject(outcome.error);
        });
      };
      send(this.#agent);
    });
  }

  /** Ends the connections, also those of questions under way. */
  close(): void {
    this.#agent.destroy();
  }

  /** `done` is called once, after this function has returned. `agent` false: on a connection of its own. */
  #send(body: string, agent: Agent | false, done: (outcome: Outcome) => void): ClientRequest {
    const seconds = Math.floor(Date.now() / 1000);
    const signature =
      this.#secrets.length > 0 ? signedHeaders(this.#secrets, `msg_${randomUUID()}`, seconds, body) : {};
    const headers = { ...this.#headers, ...signature, 'content-length': Buffer.byteLength(body) };
    const options = { method: 'POST', headers, agent, lookup: this.#lookup };
    const request = (this.#url.protocol === 'https:' ? httpsRequest : httpRequest)(this.#url, options);
    let isDone = false;
    const finish = (outcome: Outcome) => {
      if (isDone) return;
      isDone = true;
      done(outcome);
    };
    request.on('error', (error) => finish({ error }));
    request.on('response', (response) => {
      const mistake = mistakeIn(response, this.#terms);
      if (mistake === undefined) readText(response, request, this.#terms.maxAnswerBytes, finish);
      else request.destroy(new Error(mistake));
    });
    request.end(body);
    return request;
  }
}

/**
 * The backend has closed a kept connection while the question was on its way. A question changes nothing, so it is asked
 * again, on a new connection.
 */
function isStale(request: ClientRequest | undefined, error: NodeJS.ErrnoException): boolean {
  return request?.reusedSocket === true && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
}

function mistakeIn({ statusCode = 0, headers }: IncomingMessage, { expected, setting }: Terms): string | undefined {
  if (statusCode >= 300 && statusCode < 400) {
    return `the answer is HTTP ${statusCode}, a redirect, which is not followed: let ${setting} name the place itself`;
  }
  if (statusCode !== 200) {
    return `the answer is HTTP ${statusCode}; answer 200 with ${expected}`;
  }
  const [type = ''] = (headers['content-type'] ?? '').split(';');
  if (type.trim().toLowerCase() === 'application/json') return undefined;
  return `the answer has the content type ${JSON.stringify(truncate(type))}; send application/json`;
}

function readText(
  response: IncomingMessage,
  request: ClientRequest,
  maxBytes: number,
  finish: (outcome: Outcome) => void,
): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  response.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > maxBytes) request.destroy(new Error(`the answer has more than ${maxBytes} bytes`));
    else chunks.push(chunk);
  });
  response.on('end', () => finish({ text: Buffer.concat(chunks).toString() }));
  // Also what `destroy` was given arrives here, once the answer has begun.
  response.on('error', (error) => finish({ error }));
}

/**
 * Looks a name up once for all who ask meanwhile. Each look-up holds one of the four threads of the process for as long as
 * DNS does not answer, and tokens are verified on these threads too.
 */
function sharedLookup(): LookupFunction {
  let waiting: Parameters<LookupFunction>[2][] = [];
  return (hostname, options, callback) => {
    waiting.push(callback);
    if (waiting.length > 1) return;
    lookup(hostname, options, (...found: Parameters<typeof callback>) => {
      const all = waiting;
      waiting = [];
      for (const each of all) each(...found);
    });
  };
}
