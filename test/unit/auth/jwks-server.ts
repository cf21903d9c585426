/**
 * An issuer's key set endpoint for tests: a real HTTP server on a free loopback port, whose answer a test changes at any
 * time, and which counts what it was asked.
 */
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onCleanup } from '../../support/cleanup.ts';

export type Answer = (response: ServerResponse, path: string) => void;

export interface JwksServer {
  url: string;
  /** The paths of all requests so far. */
  requests: string[];
  answer: Answer;
  close(): Promise<void>;
}

export function answerSet(...keys: object[]): Answer {
  return (response) => {
    response.setHeader('content-type', 'application/jwk-set+json');
    response.end(JSON.stringify({ keys }));
  };
}

export async function jwksServer(answer: Answer): Promise<JwksServer> {
  const server = createServer((request, response) => {
    jwks.requests.push(request.url ?? '');
    jwks.answer(response, request.url ?? '');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const jwks: JwksServer = {
    url: `http://127.0.0.1:${port}/jwks.json`,
    requests: [],
    answer,
    async close() {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
  onCleanup(() => jwks.close());
  return jwks;
}
