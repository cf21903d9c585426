/**
 * The admin port: /metrics, /healthz, /readyz and the HTTP API, for the operator's own network only.
 *
 * Plain node:http on a port of its own: the public port never serves metrics, whatever a proxy lets through. It knows the
 * API only as something that takes requests.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { cannotListen } from './listening.ts';

export interface Readiness {
  ready: boolean;
  text: string;
}

/** What takes the requests to /api. */
export interface RequestHandler {
  isFor(target: string): boolean;
  handle(request: IncomingMessage, response: ServerResponse): void;
  /** Resolves when every request has its answer, or after some seconds. */
  close(): Promise<void>;
}

export interface AdminParts {
  metrics: Metrics;
  /** Whether the node can do its whole job, and a sentence that says so or why not. */
  readiness(): Readiness;
  log: Logger;
  /** Undefined: there is no API. */
  api: RequestHandler | undefined;
}

/** Less than `heldBack` in gateway/http/descriptors.ts, so that the port works while descriptors are short. */
const maxConnections = 128;
/** For the head of a request, and for a whole one that nothing reads (gateway/http/api/body.ts has its own bound). */
const headersTimeout = 10_000;
const requestTimeout = 20_000;
const checkIntervalMs = 1_000;
const notFound =
  'Not found. This port serves /metrics, /healthz and /readyz, and with GATEWAY_API_KEY the calls of /api/openapi.json.';

export class Admin {
  readonly #server: Server;
  readonly #parts: AdminParts;

  constructor(parts: AdminParts) {
    this.#parts = parts;
    const take = (request: IncomingMessage, response: ServerResponse) => this.#take(request, response);
    this.#server = createServer({ headersTimeout, requestTimeout, connectionsCheckingInterval: checkIntervalMs }, take);
    // Whoever takes the body says when it may come (RFC 9110 section 10.1.1), or refuses it before it is sent.
    this.#server.on('checkContinue', take);
    this.#server.maxConnections = maxConnections;
  }

  /** Opens the port. Returns its number. */
  async listen(host: string, port: number): Promise<number> {
    try {
      await once(this.#server.listen(port, host), 'listening');
    } catch (error) {
      const place = { host, port, hostSetting: 'GATEWAY_ADMIN_HOST', portSetting: 'GATEWAY_ADMIN_PORT' };
      throw cannotListen(place, error as NodeJS.ErrnoException);
    }
    return (this.#server.address() as AddressInfo).port;
  }

  /** Calls of the API get their answers first. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    await this.#parts.api?.close();
    this.#server.closeAllConnections();
    await closed;
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    const { api, log, metrics, readiness } = this.#parts;
    const target = request.url ?? '';
    const path = target.split('?', 1)[0];
    if (api?.isFor(target)) api.handle(request, response);
    else if (!['/healthz', '/readyz', '/metrics'].includes(path ?? '')) answer(response, 404, notFound);
    else if (request.method !== 'GET' && request.method !== 'HEAD')
      answer(response, 405, 'This path takes GET and HEAD.');
    else if (path === '/healthz') answer(response, 200, 'ok');
    else if (path === '/readyz') {
      const { ready, text } = readiness();
      answer(response, ready ? 200 : 503, text);
    } else {
      metrics.text().then(
        (text) => response.writeHead(200, { 'content-type': metrics.contentType }).end(text),
        (error: unknown) => {
          log.error({ error: String(error) }, 'reading the metrics failed');
          answer(response, 500, 'The metrics could not be read; the log says why.');
        },
      );
    }
  }
}

function answer(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain' }).end(`${text}\n`);
}
