/**
 * The admin port: /metrics, /healthz and /readyz, for the operator's own network only.
 *
 * Plain node:http on a port of its own: the public port never serves metrics, whatever a proxy lets through.
 */
import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { cannotListen } from './listening.ts';

export interface Readiness {
  ready: boolean;
  text: string;
}

export interface AdminParts {
  metrics: Metrics;
  /** Whether the node can do its whole job, and a sentence that says so or why not. */
  readiness(): Readiness;
  log: Logger;
}

/** Less than `heldBack` in gateway/http/descriptors.ts, so that the port works while descriptors are short. */
const maxConnections = 32;

export class Admin {
  readonly #server: Server;

  constructor({ metrics, readiness, log }: AdminParts) {
    this.#server = createServer((request, response) => {
      const path = request.url?.split('?', 1)[0];
      if (request.method !== 'GET' && request.method !== 'HEAD')
        answer(response, 405, 'This port answers only GET and HEAD.');
      else if (path === '/healthz') answer(response, 200, 'ok');
      else if (path === '/readyz') {
        const { ready, text } = readiness();
        answer(response, ready ? 200 : 503, text);
      } else if (path === '/metrics') {
        metrics.text().then(
          (text) => response.writeHead(200, { 'content-type': metrics.contentType }).end(text),
          (error: unknown) => {
            log.error({ error: String(error) }, 'reading the metrics failed');
            answer(response, 500, 'The metrics could not be read; the log says why.');
          },
        );
      } else answer(response, 404, 'Not found. This port serves /metrics, /healthz and /readyz.');
    });
    this.#server.requestTimeout = 10_000;
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

  close(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
    });
  }
}

function answer(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain' }).end(`${text}\n`);
}
