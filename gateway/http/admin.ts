/**
 * The admin port: /metrics, /healthz and /readyz, for the operator's own network only.
 *
 * Plain node:http, apart from the public port, so that no rule of a proxy stands between the outside and it.
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
  /** Whether the node can do all that it is there for, and a sentence about that. */
  readiness(): Readiness;
  log: Logger;
}

/** Fewer than the descriptors that gateway/http/descriptors.ts holds back. */
const maxConnections = 32;

export class Admin {
  readonly #server: Server;

  constructor({ metrics, readiness, log }: AdminParts) {
    this.#server = createServer((request, response) => {
      const path = request.url?.split('?', 1)[0];
      if (request.method !== 'GET' && request.method !== 'HEAD') answer(response, 405, 'Only GET is answered here.');
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
      } else answer(response, 404, 'Here are /metrics, /healthz and /readyz.');
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
