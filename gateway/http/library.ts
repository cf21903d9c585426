/**
 * The HTTP library, uWebSockets.js: its applications, opening a port, copying a request. The only file that imports it.
 *
 * Owns what a port without WebSockets is: its routes, each of them guarded, and its bound on connections. It knows neither
 * what a route does nor what a request means.
 */
import type {
  HttpRequest,
  HttpResponse,
  TemplatedApp,
  us_listen_socket,
  us_socket_context_t,
  WebSocketBehavior,
} from 'uWebSockets.js';
import type { Logger } from '../telemetry/log.ts';
import type { App, CertificateFiles } from './applications.ts';
import type { HandshakeRequest } from './handshake.ts';
import { addressAt, type Place, whyNot } from './listening.ts';
import type { LibraryResponse } from './response.ts';

// The library's default of 4 KiB is too small for tokens and cookies. It reads this variable when it is loaded.
process.env.UWS_HTTP_MAX_HEADERS_SIZE ??= '16384';
const uws = await import('uWebSockets.js');

export type { HttpRequest, HttpResponse, us_socket_context_t, WebSocketBehavior };
export type UwsApp = TemplatedApp & App;

export const plainApp = () => uws.App() as UwsApp;
export const tlsApp = (files: CertificateFiles | Record<string, never>) => uws.SSLApp(files) as UwsApp;

type CompressionConstants = Record<'SHARED_COMPRESSOR' | 'SHARED_DECOMPRESSOR', number>;
// The type file declares them as types.
const constants = uws as unknown as CompressionConstants;
/** For `compression` of a WebSocket route: one compressor and one decompressor for all its sockets. */
export const sharedCompression = constants.SHARED_COMPRESSOR | constants.SHARED_DECOMPRESSOR;

/** The library's LIBUS_LISTEN_EXCLUSIVE_PORT. */
const exclusivePort = 1;
type ListenExclusively = (
  host: string,
  port: number,
  options: number,
  callback: (socket: us_listen_socket | false) => void,
) => void;

export interface Listening {
  port: number;
  /** Takes no new connections; open ones stay. */
  stop(): void;
}

/** Opens a port. Rejects with an Error for the operator. */
export async function listen(app: UwsApp, place: Place): Promise<Listening> {
  const address = await addressAt(place);
  return new Promise((resolve, reject) => {
    // Exclusive, because a second node would otherwise silently share the port. The type file lacks this form.
    const listenExclusively = app.listen.bind(app) as unknown as ListenExclusively;
    listenExclusively(address, place.port, exclusivePort, (socket) => {
      if (socket === false) {
        whyNot(place, address).then(reject);
        return;
      }
      const port = uws.us_socket_local_port(socket as unknown as Parameters<typeof uws.us_socket_local_port>[0]);
      resolve({ port, stop: () => uws.us_listen_socket_close(socket) });
    });
  });
}

/** Copies a request, which the library frees when its handler returns. */
export function readRequest(req: HttpRequest): HandshakeRequest {
  const headers = new Map<string, string[]>();
  req.forEach((name, value) => {
    const lines = headers.get(name);
    if (lines === undefined) headers.set(name, [value]);
    else lines.push(value);
  });
  return { method: req.getCaseSensitiveMethod(), query: req.getQuery() ?? '', headers };
}

/** An exception in a handler would end the process: it ends the connection instead. */
export function guarded(log: Logger, res: HttpResponse, handle: () => void): void {
  try {
    handle();
  } catch (error) {
    log.error({ error: (error as Error).stack }, 'a request failed');
    res.close();
  }
}

export interface RoutedRequest extends HandshakeRequest {
  /** The segments of the path that stand for parameters, in order, as they were sent. Never empty. */
  parameters: string[];
}

export type Take = (res: LibraryResponse, request: RoutedRequest) => void;

const methods = { GET: 'get', HEAD: 'head', POST: 'post', PUT: 'put', DELETE: 'del', any: 'any' } as const;
export type Method = keyof typeof methods;

/** A port without WebSockets and without TLS. */
export class Port {
  readonly #app = plainApp();
  readonly #log: Logger;
  #listening: Listening | undefined;
  readonly #maxConnections: number;
  #connections = 0;

  /** A connection over the bound is closed as soon as it is accepted. */
  constructor(log: Logger, maxConnections: number) {
    this.#log = log;
    this.#maxConnections = maxConnections;
    this.#app.filter((res, change) => this.#counted(res, Number(change)));
  }

  /**
   * `path`: segments in braces are parameters, and `*` at the end is any rest. It is compared as it was sent, without decoding.
   * `any`: what no other method takes. The more exact path wins.
   */
  on(method: Method, path: string, take: Take): void {
    const count = path.split('{').length - 1;
    const pattern = path.replaceAll(/\{(\w+)\}/g, ':$1');
    this.#app[methods[method]](pattern, (res, req) =>
      guarded(this.#log, res, () => {
        const parameters: string[] = [];
        for (let index = 0; index < count; index++) parameters.push(req.getParameter(index) ?? '');
        // No spread: with a Map among its fields it makes a new hidden class each time, and every later access is slow.
        const { method, query, headers } = readRequest(req);
        take(res, { method, query, headers, parameters });
      }),
    );
  }

  /** Returns its number. */
  async listen(place: Place): Promise<number> {
    this.#listening = await listen(this.#app, place);
    return this.#listening.port;
  }

  stopListening(): void {
    this.#listening?.stop();
    this.#listening = undefined;
  }

  /** Cuts all connections that are still open. */
  close(): void {
    this.#app.close();
  }

  /** `change`: 1 when a client is accepted, -1 when it is gone. */
  #counted(res: HttpResponse, change: number): void {
    this.#connections += change;
    if (change > 0 && this.#connections > this.#maxConnections) res.close();
  }
}
