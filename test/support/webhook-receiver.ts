/**
 * The operator's backend, as webhooks see it: a real HTTP server that checks each signature with `standardwebhooks`, and answers
 * as a test says.
 *
 * Owns the list of what came. A request that it answers with 2xx counts as taken.
 */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';
import { onCleanup } from './cleanup.ts';
import type { NodeSettings } from './node.ts';

export const webhookSecret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;

export interface WebhookEvent {
  type: string;
  room?: string;
  user?: string;
  connection?: string;
  at: number;
  id: string;
}

export interface WebhookRequest {
  headers: IncomingHttpHeaders;
  events: WebhookEvent[];
  /** What it was answered; undefined: nothing yet. */
  status: number | undefined;
  /** Of performance.now(). */
  at: number;
}

/** Answers with a status, with more, or never. */
export type Answer = number | { status: number; headers: Record<string, string> } | 'never';

export class WebhookReceiver {
  /** All requests with a valid signature, in the order in which they came. */
  readonly requests: WebhookRequest[] = [];
  /** Of requests that are not as they should be. */
  readonly complaints: string[] = [];
  answer: (request: WebhookRequest, number: number) => Answer = () => 200;
  readonly #secret: string;
  readonly #server: Server;
  readonly #scheme: 'http' | 'https';
  #underWay = 0;
  /** The most requests that were open at a time. */
  mostUnderWay = 0;

  /** `tls`: PEM. */
  constructor(secret = webhookSecret, tls?: { cert: Buffer; key: Buffer }) {
    this.#secret = secret;
    this.#scheme = tls === undefined ? 'http' : 'https';
    this.#server = tls === undefined ? createServer() : createSecureServer(tls);
    this.#server.on('request', (request, response) => {
      let body = '';
      this.mostUnderWay = Math.max(this.mostUnderWay, ++this.#underWay);
      response.on('close', () => this.#underWay--);
      request.on('data', (chunk) => {
        body += chunk;
      });
      request.on('end', () => this.#take(request.headers, body, response));
      // The node gives up a request that hangs.
      request.on('error', () => undefined);
    });
    onCleanup(() => this.stop());
  }

  async start(port = 0): Promise<this> {
    this.#server.listen(port, '127.0.0.1');
    await once(this.#server, 'listening');
    return this;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** For startNode and spawnNode. */
  get settings(): NodeSettings {
    return { WEBHOOK_URL: `${this.#scheme}://127.0.0.1:${this.port}/hook`, WEBHOOK_SECRET: this.#secret };
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }

  /** Events that were taken, in order, repeated ones included. */
  get taken(): WebhookEvent[] {
    return this.requests.filter(({ status = 0 }) => status >= 200 && status < 300).flatMap(({ events }) => events);
  }

  /** The types of the events of a room that were taken; of members with the user: `member.joined ann`. */
  story(room: string): string[] {
    return this.taken.filter((event) => event.room === room).map(({ type, user }) => (user ? `${type} ${user}` : type));
  }

  #take(headers: IncomingHttpHeaders, body: string, response: ServerResponse): void {
    let payload: { events: WebhookEvent[] };
    try {
      payload = new Webhook(this.#secret).verify(body, headers as Record<string, string>) as typeof payload;
    } catch (error) {
      this.complaints.push(`${error}: ${body}`);
      response.writeHead(401).end();
      return;
    }
    const request: WebhookRequest = { headers, events: payload.events, status: undefined, at: performance.now() };
    this.requests.push(request);
    const answer = this.answer(request, this.requests.length);
    if (answer === 'never') return;
    const { status, headers: more } = typeof answer === 'number' ? { status: answer, headers: {} } : answer;
    request.status = status;
    response.writeHead(status, more).end();
  }
}
