/**
 * The admin port: /metrics, /healthz, /readyz and the HTTP API, for the operator's own network only.
 *
 * A port of its own: the public port never serves metrics, whatever a proxy lets through. It knows the API only as something
 * that adds routes.
 */
import type { Logger } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { Exchange } from './exchange.ts';
import { Port, type Take } from './library.ts';
import { textAnswer } from './response.ts';

export interface Readiness {
  ready: boolean;
  text: string;
}

/** What has routes of its own on the port. */
export interface Routes {
  addTo(port: Pick<Port, 'on'>): void;
  /** Resolves when every request has its answer, or after some seconds. */
  close(): Promise<void>;
}

export interface AdminParts {
  metrics: Metrics;
  /** Whether the node can do its whole job, and a sentence that says so or why not. */
  readiness(): Readiness;
  log: Logger;
  /** Undefined: there is no API, and no dashboard. */
  api: Routes | undefined;
  dashboard: Routes | undefined;
}

/** Less than `heldBack` in gateway/http/descriptors.ts, so that the port works while descriptors are short. */
const maxConnections = 128;
const notFound =
  'Not found. This port serves /metrics, /healthz and /readyz, and with GATEWAY_API_KEY the dashboard, /, and the calls of /api/openapi.json.';

export class Admin {
  readonly #port: Port;
  readonly #parts: AdminParts;

  constructor(parts: AdminParts) {
    this.#parts = parts;
    const { api, dashboard, log, readiness } = parts;
    this.#port = new Port(log, maxConnections);
    this.#add('/healthz', (exchange) => exchange.answer(textAnswer('200 OK', 'ok')));
    this.#add('/readyz', (exchange) => {
      const { ready, text } = readiness();
      exchange.answer(textAnswer(ready ? '200 OK' : '503 Service Unavailable', text));
    });
    this.#add('/metrics', (exchange) => this.#metrics(exchange));
    const missing = textAnswer('404 Not Found', notFound);
    this.#port.on('any', '/*', (res, request) => new Exchange(res, request).answer(missing));
    api?.addTo(this.#port);
    dashboard?.addTo(this.#port);
  }

  /** Opens the port. Returns its number. */
  listen(host: string, port: number): Promise<number> {
    return this.#port.listen({ host, port, hostSetting: 'GATEWAY_ADMIN_HOST', portSetting: 'GATEWAY_ADMIN_PORT' });
  }

  /** Calls of the API get their answers first. */
  async close(): Promise<void> {
    this.#port.stopListening();
    await Promise.all([this.#parts.dashboard?.close(), this.#parts.api?.close()]);
    this.#port.close();
  }

  #add(path: string, handle: (exchange: Exchange) => void): void {
    const take: Take = (res, request) => handle(new Exchange(res, request));
    this.#port.on('GET', path, take);
    this.#port.on('HEAD', path, take);
    const refusal = textAnswer('405 Method Not Allowed', 'This path takes GET and HEAD.', { allow: 'GET, HEAD' });
    this.#port.on('any', path, (res, request) => new Exchange(res, request).answer(refusal));
  }

  #metrics(exchange: Exchange): void {
    const { log, metrics } = this.#parts;
    metrics.text().then(
      (body) => exchange.answer({ status: '200 OK', headers: { 'content-type': metrics.contentType }, body }),
      (error: unknown) => {
        log.error({ error: String(error) }, 'reading the metrics failed');
        exchange.answer(textAnswer('500 Internal Server Error', 'The metrics could not be read; the log says why.'));
      },
    );
  }
}
