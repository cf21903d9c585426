/**
 * An operator's backend that is asked by callback: a real HTTP server on a free loopback port, whose answer a test changes at
 * any time.
 *
 * Owns what it was asked, and the answers that it holds back.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { onCleanup } from './cleanup.ts';
import { until } from './until.ts';

export interface Asked {
  action: string;
  user: string | null;
  room?: string;
  connection: string | null;
  address: string;
}

export type Answer = (response: ServerResponse, asked: Asked, request: IncomingMessage, body: string) => void;

/** An answer 200 in JSON. */
export function json(value: unknown): Answer {
  return (response) => void response.setHeader('content-type', 'application/json').end(JSON.stringify(value));
}

export const allow = json({ allow: true });
export const deny = json({ allow: false });

export class Backend {
  /** For GATEWAY_AUTH_URL. */
  readonly url: string;
  readonly asked: Asked[] = [];
  /** Every TCP connection so far. */
  readonly sockets: Socket[] = [];
  answer: Answer;
  readonly #server: Server;
  #held: (() => void)[] = [];

  /** `tls`: PEM. */
  static async start(answer: Answer = allow, tls?: { cert: Buffer; key: Buffer }): Promise<Backend> {
    const server = tls === undefined ? createServer() : createSecureServer(tls);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const backend = new Backend(server, answer, tls === undefined ? 'http' : 'https');
    onCleanup(() => backend.close());
    return backend;
  }

  private constructor(server: Server, answer: Answer, scheme: string) {
    this.#server = server;
    this.answer = answer;
    this.url = `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}/may`;
    server.on('connection', (socket) => this.sockets.push(socket));
    server.on('request', (request, response) => void this.#take(request, response));
  }

  /** Answers nothing until `release`, which then answers as `answer` says. */
  hold(): void {
    const { answer } = this;
    this.answer = (...all) => void this.#held.push(() => answer(...all));
  }

  get held(): number {
    return this.#held.length;
  }

  /** Answers the first question that is held, once it is there. */
  async release(): Promise<void> {
    const held = await until(() => this.#held.shift(), 5_000, 'a question that is held');
    held?.();
  }

  /** What it was asked in a room, as `action user`, in order. */
  questions(room: string | undefined): string[] {
    return this.asked.filter((each) => each.room === room).map(({ action, user }) => `${action} ${user}`);
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    // The gateway may end it at any time.
    request.on('error', () => undefined);
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString();
    const asked = JSON.parse(body) as Asked;
    this.asked.push(asked);
    this.answer(response, asked, request, body);
  }
}
