/**
 * The fallback: HTTP for clients that cannot use WebSockets, on the public port. `/rooms/{room}/events` is a stream,
 * `/rooms/{room}/messages` answers polls and takes a publish.
 *
 * Each request is checked like a handshake: origin, method, room, place, token. It knows the library only by
 * gateway/http/response.ts; gateway/http/server.ts has the routes.
 */
import type { Connections } from '../../connection/connections.ts';
import { type RateSettings, requestBurst } from '../../connection/limits.ts';
import type { ConnectionParts } from '../../connection/parts.ts';
import type { Events } from '../../telemetry/events.ts';
import { Bodies, Exchange } from '../exchange.ts';
import { findToken, type HandshakeRefusal, type HandshakeRequest, type HandshakeSettings } from '../handshake.ts';
import { Problem } from '../problem.ts';
import { type Answer, answer, type Headers, type LibraryResponse, problemAnswer } from '../response.ts';
import { ClientRates } from './client-rates.ts';
import { admitPage } from './cors.ts';
import { Polls } from './polls.ts';
import { type ProblemDetail, problem } from './problem.ts';
import { Publishing } from './publishing.ts';
import { readRoom, readSince, readWaitMs } from './request.ts';
import { Streams } from './streams.ts';

export interface FallbackSettings extends HandshakeSettings, RateSettings {
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

export type FallbackHandler = (res: LibraryResponse, request: FallbackRequest) => void;

export class Fallback {
  readonly #parts: FallbackParts;
  readonly #streams: Streams;
  readonly #polls: Polls;
  readonly #bodies = new Bodies();
  readonly #publishing: Publishing;
  /** Publishes that are not answered yet. They never reject. */
  readonly #underWay = new Set<Promise<void>>();

  constructor(parts: FallbackParts) {
    this.#parts = parts;
    this.#streams = new Streams(parts.connections);
    const { publishRate, publishBurst, requestRate } = parts.config;
    this.#polls = new Polls(parts.connections, new ClientRates(requestRate, requestBurst(parts.config)));
    this.#publishing = new Publishing(new ClientRates(publishRate, publishBurst));
  }

  /** By path, in the form of the library. */
  readonly routes: readonly [path: string, handle: FallbackHandler][] = [
    ['/rooms/:room/events', (res, request) => this.#events(res, request)],
    ['/rooms/:room/messages', (res, request) => this.#messages(res, request)],
  ];

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
  #events(res: LibraryResponse, request: FallbackRequest): void {
    const headers = this.#begin(res, request, 'GET');
    if (headers === undefined) return;
    const asked = check(() => ({ room: readRoom(request.room), since: readSince(request) }));
    this.#open(res, request, headers, asked, (following, leave) => {
      this.#streams.open(res, { ...following, ...this.#common(request, headers) }, leave);
    });
  }

  /** `/rooms/{room}/messages` */
  #messages(res: LibraryResponse, request: FallbackRequest): void {
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
    const { reason, message, retryAfterSeconds } = leave;
    this.#parts.events.handshakeRejected(reason);
    const code = reason === 'address' ? 'limit_exceeded' : 'unavailable';
    const retryAfterMs = retryAfterSeconds === undefined ? undefined : retryAfterSeconds * 1_000;
    answer(res, { ...problemAnswer(problem({ code, message, retryAfterMs }), headers), close: draining() });
  }

  #post(res: LibraryResponse, request: FallbackRequest, headers: Headers): void {
    const exchange = new Exchange(res, request);
    const { config } = this.#parts;
    const asked = check(() => ({ room: readRoom(request.room) }));
    if ('code' in asked) {
      exchange.answer(problemAnswer(problem(asked), headers));
      return;
    }
    const post = { ...asked, token: findToken(request, [], config), address: request.address };
    const answered = this.#bodies
      .read(exchange, config.maxMessageBytes, (text) => {
        this.#underWay.add(answered);
        return this.#publishing.publish(this.#running, { ...post, text });
      })
      .then(
        (published): Answer =>
          'problem' in published
            ? problemAnswer(published.problem, headers)
            : { status: '200 OK', headers: { 'content-type': 'application/json', ...headers }, body: published.ok },
        (error: unknown) => problemAnswer(this.#asProblem(error), headers),
      )
      .then((made) => exchange.answer(request.draining() ? { ...made, close: true } : made))
      .catch((error: unknown) => this.#running.faults.report('an answer by HTTP failed', error))
      .finally(() => this.#underWay.delete(answered));
  }

  #asProblem(error: unknown): Problem {
    if (error instanceof Problem) return error;
    this.#running.faults.report('a publish by HTTP failed', error);
    const message = 'a fault of the gateway, which is in its log; publish again with the same key.';
    return problem({ code: 'internal', message });
  }

  get #running(): ConnectionParts {
    const { parts } = this.#parts.connections;
    if (parts === undefined) throw new Error('nothing can be published before the node has started');
    return parts;
  }

  #begin(res: LibraryResponse, request: FallbackRequest, ...methods: string[]): Headers | undefined {
    return admitPage(res, request, this.#parts, methods);
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
