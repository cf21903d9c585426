/**
 * The fallback: HTTP for clients that cannot use WebSockets, on the public port. `/rooms/{room}/events` is a stream,
 * `/rooms/{room}/messages` answers polls and takes a publish.
 *
 * Each request is checked like a handshake: origin, method, room, place, token. It knows the library only by
 * gateway/http/fallback/response.ts; gateway/http/server.ts has the routes.
 */
import type { Connections } from '../../connection/connections.ts';
import type { Events } from '../../telemetry/events.ts';
import {
  checkOrigin,
  findToken,
  type HandshakeRefusal,
  type HandshakeRequest,
  type HandshakeSettings,
} from '../handshake.ts';
import { takeBody } from './body.ts';
import { corsHeaders, preflight } from './cors.ts';
import { Polls } from './polls.ts';
import { type ProblemDetail, problem } from './problem.ts';
import { type Post, Publishing } from './publishing.ts';
import { readRoom, readSince, readWaitMs } from './request.ts';
import { answer, Exchange, type Headers, type LibraryResponse, problemAnswer } from './response.ts';
import { Streams } from './streams.ts';

/**
 * A refused body up to this length is read and thrown away. With a longer one, or one of unknown length, the connection
 * ends; then the client may not get to read why, because it is still sending.
 */
const mostDiscardedBytes = 1_048_576;

export interface FallbackSettings extends HandshakeSettings {
  maxMessageBytes: number;
}

export interface FallbackParts {
  config: FallbackSettings;
  connections: Connections;
  events: Events;
}

/** A request, and what the public port knows of its client. */
export interface FallbackRequest extends HandshakeRequest {
  /** The segment of the path that names the room, as sent. */
  room: string;
  /** Of the client. */
  address: string;
  /** The node stops: its client should go to another one. */
  draining(): boolean;
  /** Takes a place for one more connection. Returns a function that gives it back, to be called once. */
  admit(): (() => void) | HandshakeRefusal;
}

export class Fallback {
  readonly #parts: FallbackParts;
  readonly #streams: Streams;
  readonly #polls: Polls;
  readonly #publishing = new Publishing();
  /** Publishes that are not answered yet. They never reject. */
  readonly #underWay = new Set<Promise<void>>();

  constructor(parts: FallbackParts) {
    this.#parts = parts;
    this.#streams = new Streams(parts.connections);
    this.#polls = new Polls(parts.connections);
  }

  /** Open streams. */
  get streams(): number {
    return this.#streams.size;
  }

  /** Polls without an answer yet. */
  get polls(): number {
    return this.#polls.size;
  }

  /** Resolves when the publishes under way are answered. */
  async settled(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  close(): void {
    this.#streams.close();
  }

  /** `/rooms/{room}/events` */
  events(res: LibraryResponse, request: FallbackRequest): void {
    const headers = this.#begin(res, request, 'GET');
    if (headers === undefined) return;
    const asked = check(() => ({ room: readRoom(request.room), since: readSince(request) }));
    this.#open(res, request, headers, asked, (following, leave) => {
      this.#streams.open(res, { ...following, ...this.#common(request, headers) }, leave);
    });
  }

  /** `/rooms/{room}/messages` */
  messages(res: LibraryResponse, request: FallbackRequest): void {
    const headers = this.#begin(res, request, 'GET', 'POST');
    if (headers === undefined) return;
    if (request.method === 'GET') this.#poll(res, request, headers);
    else this.#post(res, request, headers);
  }

  #poll(res: LibraryResponse, request: FallbackRequest, headers: Headers): void {
    const asked = check(() => ({
      room: readRoom(request.room),
      since: readSince(request),
      waitMs: readWaitMs(request),
    }));
    const { draining } = request;
    this.#open(res, request, headers, asked, (following, leave) => {
      this.#polls.open(res, { ...following, draining, ...this.#common(request, headers) }, leave);
    });
  }

  #common(request: FallbackRequest, headers: Headers) {
    return { token: findToken(request, [], this.#parts.config), address: request.address, headers };
  }

  /** Opens a connection for what a request asks for, or refuses the request. */
  #open<Asked extends object>(
    res: LibraryResponse,
    { admit, draining }: FallbackRequest,
    headers: Headers,
    asked: Asked | ProblemDetail,
    open: (asked: Asked, leave: () => void) => void,
  ): void {
    if ('code' in asked) {
      answer(res, problemAnswer(problem(asked), headers));
      return;
    }
    const leave = admit();
    if (typeof leave === 'function') {
      open(asked, leave);
      return;
    }
    const { reason, message } = leave;
    this.#parts.events.handshakeRejected(reason);
    const code = reason === 'address' ? 'limit_exceeded' : 'unavailable';
    answer(res, { ...problemAnswer(problem({ code, message }), headers), close: draining() });
  }

  #post(res: LibraryResponse, request: FallbackRequest, headers: Headers): void {
    const exchange = new Exchange(res);
    const length = Number(request.headers.get('content-length')?.[0] ?? Number.POSITIVE_INFINITY);
    const refuse = (detail: ProblemDetail, close = length > mostDiscardedBytes) =>
      exchange.answer({ ...problemAnswer(problem(detail), headers), close: close || request.draining() });
    const { config } = this.#parts;
    const asked = check(() => ({ room: readRoom(request.room) }));
    const mistake = 'code' in asked ? asked : checkBody(request, length, config.maxMessageBytes);
    if (mistake !== undefined || 'code' in asked) {
      if (mistake !== undefined) refuse(mistake);
      return;
    }
    const post = { ...asked, token: findToken(request, [], config), address: request.address };
    takeBody(res, config.maxMessageBytes, (body) => {
      if (body === 'too large') refuse(tooLarge(config.maxMessageBytes));
      else if (body === 'too slow') {
        refuse({ code: 'bad_request', status: 408, message: 'The body came too slowly; send it at once.' }, true);
      } else this.#publish(exchange, { ...post, body }, headers, request.draining);
    });
  }

  #publish(exchange: Exchange, post: Post, headers: Headers, draining: () => boolean): void {
    const { parts } = this.#parts.connections;
    if (parts === undefined) throw new Error('nothing can be published before the node has started');
    const answered = this.#publishing
      .publish(parts, post)
      .catch((error: unknown) => {
        parts.faults.report('a publish by HTTP failed', error);
        const message = 'a fault of the gateway, which is in its log; publish again with the same key.';
        return { problem: problem({ code: 'internal', message }) };
      })
      .then((published) => {
        const made =
          'problem' in published
            ? problemAnswer(published.problem, headers)
            : { status: '200 OK', headers: { 'content-type': 'application/json', ...headers }, body: published.ok };
        exchange.answer({ ...made, close: draining() });
      })
      .catch((error: unknown) => parts.faults.report('an answer by HTTP failed', error))
      .finally(() => this.#underWay.delete(answered));
    this.#underWay.add(answered);
  }

  /** Checks what all requests have in common. Returns the headers of the answer, or undefined if it was answered. */
  #begin(res: LibraryResponse, request: FallbackRequest, ...methods: string[]): Headers | undefined {
    const refusal = checkOrigin(request, this.#parts.config.allowedOrigins) ?? checkFetchSite(request);
    const body = request.method !== 'HEAD';
    if (refusal !== undefined) {
      this.#parts.events.handshakeRejected(refusal.reason);
      const made = problemAnswer(problem({ code: 'forbidden', message: refusal.message }), {});
      answer(res, body ? made : { ...made, body: undefined });
      return undefined;
    }
    const headers = corsHeaders(request, this.#parts.config);
    if (methods.includes(request.method)) return headers;
    const allow = [...methods, 'OPTIONS'].join(', ');
    if (request.method === 'OPTIONS') {
      answer(res, preflight(allow, headers));
      return undefined;
    }
    const detail = { code: 'bad_request', status: 405, message: `Send ${methods.join(' or ')}.` } as const;
    const made = problemAnswer(problem(detail), { ...headers, allow });
    answer(res, { ...made, close: true, ...(body ? {} : { body: undefined }) });
    return undefined;
  }
}

/** Turns the TypeError of a reader into what the client is told. */
function check<Asked extends object>(read: () => Asked): Asked | ProblemDetail {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return { code: 'bad_request', message: error.message };
  }
}

function checkBody({ headers }: HandshakeRequest, length: number, maxBytes: number): ProblemDetail | undefined {
  const [type = ''] = (headers.get('content-type')?.[0] ?? '').split(';');
  if (type.trim().toLowerCase() !== 'application/json') {
    return { code: 'bad_request', status: 415, message: 'Send Content-Type: application/json.' };
  }
  return Number.isFinite(length) && length > maxBytes ? tooLarge(maxBytes) : undefined;
}

function tooLarge(maxBytes: number): ProblemDetail {
  return { code: 'too_large', message: `Send a body of at most ${maxBytes} bytes.` };
}

/**
 * An image or a link of a foreign page makes a GET without Origin, with the cookies of its visitor. Browsers say so
 * (https://www.w3.org/TR/fetch-metadata/).
 */
function checkFetchSite({ headers }: HandshakeRequest): HandshakeRefusal | undefined {
  const site = headers.get('sec-fetch-site')?.[0] ?? 'none';
  if (headers.has('origin') || site === 'none' || site === 'same-origin') return undefined;
  return { status: '403 Forbidden', reason: 'origin', message: 'A page of another site may not open this.' };
}
