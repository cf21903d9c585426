/**
 * Clients of Centrifugo's protocol that cannot use WebSockets: a response that does not end carries what they are told, and each
 * of their commands is a request of its own, which may come to any node.
 *
 * Owns the sessions of this node. The name of one is a secret of its client and this node: no other client can speak for it.
 * It knows the library only by gateway/http/response.ts.
 */
import { createHmac, randomBytes } from 'node:crypto';
import type { Connection } from '../../connection/connection.ts';
import type { Connections } from '../../connection/connections.ts';
import { requestBurst } from '../../connection/limits.ts';
import type { ClusterParts } from '../../operations/cluster/ask.ts';
import { type Emulated, emulate } from '../../operations/cluster/emulate.ts';
import { Refusal } from '../../operations/refusal.ts';
import { type EmulatedDialect, emulatedDialects } from '../../protocol/centrifugo/emulated.ts';
import type { Events } from '../../telemetry/events.ts';
import { Bodies, Exchange, jsonType } from '../exchange.ts';
import { ClientRates } from '../fallback/client-rates.ts';
import { admitPage } from '../fallback/cors.ts';
import type { FallbackHandler, FallbackRequest, FallbackSettings } from '../fallback/fallback.ts';
import { problem } from '../fallback/problem.ts';
import { Subscriber } from '../fallback/subscriber.ts';
import { Problem } from '../problem.ts';
import { type Answer, type Headers, type LibraryResponse, problemAnswer } from '../response.ts';
import { binaryType, readEmulation } from './emulation-request.ts';
import { emulationPath, eventsPath, streamPath } from './endpoint.ts';
import { EmulatedSocket } from './response-socket.ts';

export interface EmulationParts {
  config: FallbackSettings;
  connections: Connections;
  events: Events;
  /** This run of this node. */
  instance: string;
  cluster: ClusterParts;
}

type EmulationRequest = Omit<FallbackRequest, 'room'>;

/** Of a session, beside its commands. */
const maxEnvelopeBytes = 1_024;

export class Emulation {
  readonly #parts: EmulationParts;
  readonly #secret = randomBytes(32);
  readonly #dialects;
  readonly #sessions = new Map<string, Connection>();
  readonly #bodies = new Bodies();
  readonly #rates: ClientRates;

  constructor(parts: EmulationParts) {
    const { config, instance } = parts;
    this.#parts = parts;
    this.#rates = new ClientRates(config.requestRate, requestBurst(config));
    this.#dialects = emulatedDialects((connection) => ({ session: this.#sessionOf(connection), node: instance }));
  }

  /** By path. */
  readonly routes: readonly [path: string, handle: FallbackHandler][] = [
    [streamPath, (res, request) => this.#stream(res, request)],
    [eventsPath, (res, request) => this.#events(res, request)],
    [emulationPath, (res, request) => this.#commands(res, request)],
  ];

  get size(): number {
    return this.#sessions.size;
  }

  /** `/connection/http_stream`: the body is the first frame. */
  #stream(res: LibraryResponse, request: EmulationRequest): void {
    const headers = admitPage(res, request, this.#parts, ['POST']);
    if (headers === undefined) return;
    const binary = isBinary(request);
    const { lines, messages } = this.#dialects;
    const type = binary ? binaryType : 'application/json';
    this.#openWithBody(res, request, binary ? messages : lines, { ...headers, 'content-type': type });
  }

  /** `/connection/sse`: the first frame is in the query, or the body. */
  #events(res: LibraryResponse, request: EmulationRequest): void {
    const headers = admitPage(res, request, this.#parts, ['GET', 'POST']);
    if (headers === undefined) return;
    const { events } = this.#dialects;
    const opened = { ...headers, 'content-type': 'text/event-stream' };
    if (request.method === 'POST') this.#openWithBody(res, request, events, opened);
    else {
      const first = new URLSearchParams(request.query).get('cf_connect') ?? '';
      this.#open(new Exchange(res, request), request, events, opened, Buffer.from(first));
    }
  }

  /** `/emulation`: commands of a session, of this node or another. */
  #commands(res: LibraryResponse, request: EmulationRequest): void {
    const headers = admitPage(res, request, this.#parts, ['POST']);
    if (headers === undefined) return;
    const binary = isBinary(request);
    const exchange = new Exchange(res, request);
    // In JSON the commands are a string, whose quotes have backslashes.
    const most = 2 * this.#parts.config.maxMessageBytes + maxEnvelopeBytes;
    const done = this.#bodies.readBytes(
      exchange,
      most,
      (body) => this.#perform(readEmulation(body, binary), request.address),
      binary ? binaryPattern : jsonType,
    );
    this.#answer(exchange, done, headers);
  }

  /** What the client of a session sends. False if it is not here, or has ended. */
  receive(session: string, data: Buffer): boolean {
    const connection = this.#sessions.get(session);
    if (connection === undefined) return false;
    try {
      connection.receive(Uint8Array.from(data).buffer);
    } catch (error) {
      connection.fail(error);
    }
    return true;
  }

  async #perform(emulated: Emulated, address: string): Promise<Answer> {
    const retryAfterMs = this.#rates.take(null, address);
    if (retryAfterMs > 0) {
      const message = 'Too many requests from this address; send the next one after Retry-After.';
      throw problem({ code: 'rate_limited', message, retryAfterMs });
    }
    const { instance, cluster } = this.#parts;
    // The stream of a session that has ended has ended too: its client needs no other sign.
    if (emulated.node === instance) this.receive(emulated.session, emulated.data);
    else if (!(await emulate(cluster, emulated))) {
      throw new Problem('not_found', 'No node has this session; connect again.');
    }
    return { status: '204 No Content', headers: {}, body: undefined };
  }

  #openWithBody(res: LibraryResponse, request: EmulationRequest, dialect: EmulatedDialect, headers: Headers): void {
    const exchange = new Exchange(res, request);
    const { 'content-type': _, ...refused } = headers;
    const opened = this.#bodies
      .readBytes(
        exchange,
        // As of a WebSocket frame: SDKs send `connect` and all `subscribe`s together.
        2 * this.#parts.config.maxMessageBytes,
        (body) => this.#open(exchange, request, dialect, headers, body),
        dialect === this.#dialects.messages ? binaryPattern : jsonType,
      )
      .then(() => undefined);
    this.#answer(exchange, opened, refused);
  }

  #open(
    exchange: Exchange,
    { admit, address }: EmulationRequest,
    dialect: EmulatedDialect,
    headers: Headers,
    first: Buffer,
  ): void {
    const leave = admit();
    if (typeof leave !== 'function') {
      this.#parts.events.handshakeRejected(leave.reason);
      const { message, retryAfterSeconds: seconds = 5 } = leave;
      exchange.answer(problemAnswer(problem({ code: 'unavailable', message, retryAfterMs: seconds * 1_000 }), headers));
      return;
    }
    const res = exchange.takeResponse();
    if (res === undefined) {
      leave();
      return;
    }
    const socket = new EmulatedSocket(res, dialect, address, headers);
    const connection = Subscriber.attach(this.#parts.connections, socket, dialect, () => {
      this.#sessions.delete(session);
      leave();
    });
    const session = this.#sessionOf(connection.id);
    this.#sessions.set(session, connection);
    connection.open(undefined);
    this.receive(session, first);
  }

  /** `made` resolves to undefined if the response is taken. */
  #answer(exchange: Exchange, made: Promise<Answer | undefined>, headers: Headers): void {
    made
      .catch((error: unknown): Answer => problemAnswer(this.#asProblem(error), headers))
      .then((answer) => {
        if (answer !== undefined) exchange.answer({ ...answer, headers: { ...answer.headers, ...headers } });
      })
      .catch((error: unknown) => this.#parts.cluster.faults.report('an answer by HTTP failed', error));
  }

  #asProblem(error: unknown): Problem {
    if (error instanceof Problem) return error;
    if (error instanceof Refusal) return problem(error);
    this.#parts.cluster.faults.report('a request of a session failed', error);
    return problem({ code: 'internal', message: 'a fault of the gateway, which is in its log; connect again.' });
  }

  #sessionOf(connection: string): string {
    return createHmac('sha256', this.#secret).update(connection).digest('base64url');
  }
}

const binaryPattern = /^application\/octet-stream$/i;

function isBinary({ headers }: EmulationRequest): boolean {
  return binaryPattern.test(headers.get('content-type')?.[0] ?? '');
}
