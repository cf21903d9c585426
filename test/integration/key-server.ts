/**
 * An issuer of tokens for tests: key pairs by key id, and an HTTP endpoint for their JSON Web Key Set (RFC 7517) that can
 * fail in every way.
 *
 * Owns the HTTP server and counts what is fetched. It signs, and never verifies.
 */
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onCleanup } from '../support/cleanup.ts';
import { forgeToken, type TestClaims } from '../support/token.ts';

export type Answer = 'keys' | 'hang' | 'error' | 'garbage' | 'redirect' | 'endless';

export class KeyServer {
  readonly url: string;
  answer: Answer = 'keys';
  /** Fetches so far, answered or not. */
  fetches = 0;
  /** What the endpoint serves; keys that are not listed go on signing. */
  served: string[] = [];
  readonly #pairs = new Map<string, { publicKey: KeyObject; privateKey: KeyObject }>();

  static async start(): Promise<KeyServer> {
    const hanging = new Set<ServerResponse>();
    const server = createServer((request, response) => keys.#respond(request.url ?? '', response, hanging));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const keys = new KeyServer(`http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`);
    onCleanup(() => {
      server.closeAllConnections();
      server.close();
    });
    return keys;
  }

  private constructor(url: string) {
    this.url = url;
  }

  /** A token signed by the key with this id; both are made when first asked for. */
  token(kid: string, claims: Partial<TestClaims> = {}): string {
    const { privateKey } = this.#pair(kid);
    const now = Math.floor(Date.now() / 1000);
    const payload = { sub: 'user', iat: now, exp: now + 3600, ...claims };
    const unsigned = forgeToken({ alg: 'ES256', kid }, payload, null);
    const bytes = sign('sha256', Buffer.from(unsigned.slice(0, -1)), { key: privateKey, dsaEncoding: 'ieee-p1363' });
    return unsigned + bytes.toString('base64url');
  }

  #pair(kid: string) {
    const pair = this.#pairs.get(kid) ?? generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#pairs.set(kid, pair);
    return pair;
  }

  #respond(path: string, response: ServerResponse, hanging: Set<ServerResponse>): void {
    this.fetches++;
    const set = { keys: this.served.map((kid) => ({ ...this.#pair(kid).publicKey.export({ format: 'jwk' }), kid })) };
    const answer = path === '/elsewhere' ? 'keys' : this.answer;
    if (answer === 'keys') response.setHeader('content-type', 'application/json').end(JSON.stringify(set));
    else if (answer === 'error') response.writeHead(500).end();
    else if (answer === 'garbage') response.end('{"keys": "none"}');
    else if (answer === 'redirect') response.writeHead(302, { location: '/elsewhere' }).end();
    else if (answer === 'endless') response.end(`{"keys": [], "padding": "${'x'.repeat(2_000_000)}"}`);
    else hanging.add(response);
  }
}
