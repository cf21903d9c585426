/**
 * The public port.
 *
 * Upgrades requests to WebSockets and answers all others. Request data is copied before its handler returns. Every handler
 * is guarded, so that an exception costs only its request. Events of sockets go to gateway/http/websocket.ts.
 */
import type { BlockList } from 'node:net';
import type { Admission } from '../admission/admission.ts';
import type { Dialect } from '../protocol/dialect.ts';
import type { PublishToTopic } from '../rooms/fanout.ts';
import { type Application, Applications, certificateFiles } from './applications.ts';
import { Emulation, type EmulationParts } from './centrifugo/emulation.ts';
import { webSocketDialects, webSocketPath } from './centrifugo/endpoint.ts';
import type { Certificate } from './certificate.ts';
import { AddressCount, clientAddress } from './client-address.ts';
import { Compression, type CompressionSettings } from './deflate/compression.ts';
import { Descriptors } from './descriptors.ts';
import { Exchange } from './exchange.ts';
import { Fallback, type FallbackHandler, type FallbackRequest, type FallbackSettings } from './fallback/fallback.ts';
import {
  busy,
  type DialectsOf,
  type HandshakeRefusal,
  type HandshakeRequest,
  readHandshake,
  refusalAnswer,
} from './handshake.ts';
import {
  guarded,
  type HttpRequest,
  type HttpResponse,
  type Listening,
  listen,
  plainApp,
  readRequest,
  sharedCompression,
  tlsApp,
  type UwsApp,
  type us_socket_context_t,
  type WebSocketBehavior,
} from './library.ts';
import { type Answer, answer, textAnswer } from './response.ts';
import { type UserData, type WebSocketParts, WebSockets } from './websocket.ts';

/** Added to ping interval and pong timeout. The bounds of these two keep the sum below the library's maximum of 960 s. */
const idleMarginSeconds = 30;

/** The settings (gateway/settings.ts) of the public port. */
export interface ServerSettings extends FallbackSettings, CompressionSettings {
  host: string;
  port: number;
  maxBufferedBytes: number;
  pingIntervalMs: number;
  pongTimeoutMs: number;
  centrifugo: boolean;
  maxConnections: number;
  maxConnectionsPerIp: number;
  trustedProxies: BlockList;
  tlsCertFile: string | undefined;
  tlsKeyFile: string | undefined;
}

/** What is served besides clients, in development. */
export interface Pages {
  readonly paths: readonly string[];
  answer(path: string, request: HandshakeRequest): Promise<Answer>;
}

export interface ServerParts extends WebSocketParts, EmulationParts {
  config: ServerSettings;
  admission: Admission;
  /** Those that a client may choose. The first one is for a client that chooses none. */
  dialects: readonly Dialect[];
  demo: Pages | undefined;
}

export class Server {
  /** To every WebSocket of this node that is subscribed to the topic. */
  readonly publish: PublishToTopic;
  readonly #parts: ServerParts;
  readonly #applications: Applications<UwsApp>;
  readonly #addresses: AddressCount;
  readonly #descriptors: Descriptors;
  readonly #compression: Compression;
  readonly #webSockets: WebSockets;
  readonly #fallback: Fallback;
  /** Clients of Centrifugo's protocol without WebSockets. */
  readonly emulation: Emulation;
  readonly #utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
  #listening: Listening | undefined;
  #draining = false;

  constructor(parts: ServerParts) {
    const { config } = parts;
    this.#parts = parts;
    this.#addresses = new AddressCount(config.maxConnectionsPerIp);
    this.#descriptors = new Descriptors(parts.log);
    this.#compression = new Compression(config);
    this.#webSockets = new WebSockets(parts, this.#compression, {
      opened: ({ application }) => this.#applications.opened(application as Application<UwsApp>),
      closed: ({ application, address }) => {
        this.#applications.closed(application as Application<UwsApp>);
        this.#addresses.remove(address);
      },
    });
    this.#fallback = new Fallback(parts);
    this.emulation = new Emulation(parts);
    const library = {
      plain: plainApp,
      tls: tlsApp,
      route: (application: Application<UwsApp>) => this.#routes(application),
    };
    this.#applications = new Applications(library, certificateFiles(config), this.#compression);
    this.publish = this.#applications.publish;
  }

  /** Open event streams. */
  get streams(): number {
    return this.#fallback.streams + this.emulation.size;
  }

  /** Polls without an answer yet. */
  get polls(): number {
    return this.#fallback.polls;
  }

  get certificate(): Certificate | undefined {
    return this.#applications.certificate;
  }

  /** See gateway/http/applications.ts. */
  takeCertificate(): Certificate | undefined {
    return this.#applications.takeCertificate();
  }

  /** Opens the port. Returns its number. */
  async listen(): Promise<number> {
    const { host, port } = this.#parts.config;
    const place = { host, port, hostSetting: 'GATEWAY_HOST', portSetting: 'GATEWAY_PORT' };
    this.#listening = await listen(this.#applications.listener, place);
    return this.#listening.port;
  }

  /** Accepts no new connections and refuses handshakes under way; open connections stay. */
  stopListening(): void {
    this.#draining = true;
    this.#listening?.stop();
    this.#listening = undefined;
  }

  /** Resolves when the publishes by HTTP that are under way are answered: a few seconds at most. */
  settled(): Promise<void> {
    return this.#fallback.settled();
  }

  /** Cuts all connections that are still open. */
  close(): void {
    this.#parts.admission.close();
    this.#descriptors.close();
    this.#fallback.close();
    this.#applications.close();
  }

  #routes(application: Application<UwsApp>): void {
    const { config, demo } = this.#parts;
    const { app } = application;
    const dialects = () => this.#parts.dialects;
    app
      .ws<UserData>('/ws', this.#endpoint(application, dialects))
      // Called with 1 when a client is accepted, before it has sent anything, and with -1 when it is gone.
      .filter((res, change) => this.#guardHttp(res, () => this.#accepted(res, Number(change))))
      .any('/ws', (res, req) => this.#noHandshake(res, req, dialects))
      .get('/healthz', answerHealth)
      .head('/healthz', answerHealth)
      .any('/*', (res, req) => {
        const missing = textAnswer('404 Not Found', 'Not found. The WebSocket endpoint is /ws.');
        new Exchange(res, readRequest(req)).answer(missing);
      });
    if (config.centrifugo) {
      app
        .ws<UserData>(webSocketPath, this.#endpoint(application, webSocketDialects))
        .any(webSocketPath, (res, req) => this.#noHandshake(res, req, webSocketDialects));
    }
    const emulated = config.centrifugo ? this.emulation.routes : [];
    for (const [path, handle] of [...this.#fallback.routes, ...emulated]) app.any(path, this.#byHttp(handle));
    if (demo === undefined) return;
    for (const path of demo.paths) {
      app.any(path, (res, req) => {
        const request = readRequest(req);
        this.#page(new Exchange(res, request), demo.answer(path, request));
      });
    }
  }

  /** A path for clients without WebSockets. */
  #byHttp(handle: FallbackHandler) {
    return (res: HttpResponse, req: HttpRequest) =>
      this.#guardHttp(res, () => handle(res, this.#fallbackRequest(res, req)));
  }

  /** A path for WebSockets. */
  #endpoint(application: Application<UwsApp>, dialects: DialectsOf): WebSocketBehavior<UserData> {
    const { config } = this.#parts;
    return {
      maxPayloadLength: 2 * config.maxMessageBytes,
      // Never reached: our own limit is lower, and leaves room for one message and a close frame.
      maxBackpressure: config.maxBufferedBytes === 0 ? 0 : config.maxBufferedBytes + 2 * config.maxMessageBytes,
      closeOnBackpressureLimit: false,
      // We send our own heartbeats. This timeout only ends closing sockets whose peer has stopped reading.
      idleTimeout: Math.ceil((config.pingIntervalMs + config.pongTimeoutMs) / 1000) + idleMarginSeconds,
      sendPingsAutomatically: false,
      // Never a compressor or decompressor for each connection: that would be several times the memory of everything else.
      // A message that inflates to more than maxPayloadLength is not inflated to its end, and cuts its connection.
      compression: this.#compression.on ? sharedCompression : 0,
      upgrade: (res, req, context) =>
        this.#guardHttp(res, () => this.#upgrade(application, dialects, res, req, context)),
      ...this.#webSockets.handlers,
    };
  }

  /** A request that the library does not see as a handshake: it lacks at least a key of the right length. */
  #noHandshake(res: HttpResponse, req: HttpRequest, dialects: DialectsOf): void {
    this.#guardHttp(res, () => {
      const request = readRequest(req);
      this.#refuse(res, request, this.#refusalOf(request, dialects));
    });
  }

  #accepted(res: HttpResponse, change: number): void {
    if (change < 0) return;
    if (this.#descriptors.short) {
      this.#parts.events.handshakeRejected('descriptors');
      res.close();
    } else this.#parts.admission.arrived(res);
  }

  #upgrade(
    application: Application,
    dialects: DialectsOf,
    res: HttpResponse,
    req: HttpRequest,
    context: us_socket_context_t,
  ): void {
    const { config } = this.#parts;
    // Before anything of the request is read: in a storm, refusals must be cheap.
    const overload = this.#overload();
    if (overload !== undefined) {
      this.#parts.events.handshakeRejected(overload.reason);
      answer(res, refusalAnswer(overload));
      return;
    }
    const request = readRequest(req);
    const handshake = readHandshake(request, config, dialects(request));
    if ('status' in handshake) {
      this.#refuse(res, request, handshake);
      return;
    }
    const address = this.#addressOf(res, request);
    const refusal = this.#admit(address);
    if (refusal !== undefined) {
      this.#refuse(res, request, refusal);
      return;
    }
    const { dialect, token } = handshake;
    const extensions = this.#compression.extensions(request.headers);
    const inflation = extensions === '' ? undefined : this.#compression.inflationBudget(performance.now());
    const data: UserData = { application, dialect, token, address, inflation, connection: undefined };
    res.upgrade(data, handshake.key, handshake.subprotocol, extensions, context);
  }

  /** Clients come faster than the node can serve them, and had to wait too long. */
  #overload(): HandshakeRefusal | undefined {
    const seconds = this.#parts.admission.ask();
    if (seconds === 0) return undefined;
    return busy('503 Service Unavailable', 'overload', 'Too many clients come at once; try again later.', seconds);
  }

  /** Takes a place for a connection of a client. `#addresses.remove` gives it back. */
  #admit(address: string): HandshakeRefusal | undefined {
    const { config, connections } = this.#parts;
    if (this.#draining) return busy('503 Service Unavailable', 'draining', 'This node is stopping; try another one.');
    if (connections.size >= config.maxConnections && config.maxConnections > 0)
      return busy('503 Service Unavailable', 'capacity', 'This node is full; try another one.');
    if (this.#addresses.add(address)) return undefined;
    return busy('429 Too Many Requests', 'address', 'Too many connections from this address.');
  }

  #addressOf(res: HttpResponse, { headers }: HandshakeRequest): string {
    const peer = {
      address: this.#utf8.decode(res.getRemoteAddressAsText()),
      proxied: this.#utf8.decode(res.getProxiedRemoteAddressAsText()),
      forwardedFor: headers.get('x-forwarded-for') ?? [],
    };
    return clientAddress(peer, this.#parts.config.trustedProxies);
  }

  #fallbackRequest(res: HttpResponse, req: HttpRequest): FallbackRequest {
    const request = readRequest(req);
    const address = this.#addressOf(res, request);
    return {
      ...request,
      room: req.getParameter(0) ?? '',
      address,
      draining: () => this.#draining,
      admit: () => this.#overload() ?? this.#admit(address) ?? (() => this.#addresses.remove(address)),
    };
  }

  #refuse(res: HttpResponse, request: HandshakeRequest, refusal: HandshakeRefusal): void {
    const { status, reason } = refusal;
    this.#parts.events.handshakeRejected(reason);
    this.#parts.log.debug({ status, reason }, 'handshake refused');
    new Exchange(res, request).answer(refusalAnswer(refusal));
  }

  #refusalOf(request: HandshakeRequest, dialects: DialectsOf): HandshakeRefusal {
    const handshake = readHandshake(request, this.#parts.config, dialects(request));
    if ('status' in handshake) return handshake;
    return { status: '400 Bad Request', reason: 'request', message: 'This is not a WebSocket handshake.' };
  }

  #guardHttp(res: HttpResponse, handle: () => void): void {
    guarded(this.#parts.log, res, handle);
  }

  #page(exchange: Exchange, page: Promise<Answer>): void {
    page
      .then((made) => exchange.answer(made))
      .catch((error: unknown) => {
        this.#parts.log.error({ error: String(error) }, 'a file of the demo page cannot be read');
        exchange.answer(textAnswer('500 Internal Server Error', 'The log of the node says why.'));
      });
  }
}

function answerHealth(res: HttpResponse, req: HttpRequest): void {
  new Exchange(res, readRequest(req)).answer(textAnswer('200 OK', 'ok'));
}
