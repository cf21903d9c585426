/**
 * Tokens for tests: good ones, and every kind of bad one.
 *
 * Owns the secret that `startNode` and `spawnNode` set by default. `mintToken` uses jose. `forgeToken` signs by hand, because
 * no library signs tokens that must be refused.
 */
import { createHmac } from 'node:crypto';
import { SignJWT } from 'jose';

export const testSecret = 'a-secret-for-tests-of-more-than-32-bytes';

export interface TestClaims {
  sub: string;
  /** Unix seconds; in an hour by default. */
  exp?: number;
  /** `{ 'chat:*': ['subscribe', 'publish'] }` */
  rooms?: Record<string, string[]>;
  info?: unknown;
  [claim: string]: unknown;
}

/** A token that a node with the same secret accepts. */
export function mintToken(claims: TestClaims, secret = testSecret): Promise<string> {
  return new SignJWT({ exp: Math.floor(Date.now() / 1000) + 3600, ...claims })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(secret));
}

/**
 * header.payload.signature from any parts, without a check. A string is used as it is, before base64url. Signed by
 * HMAC-SHA-256 with `secret`; if that is null, the signature is empty.
 */
export function forgeToken(header: object | string, payload: object | string, secret: string | null): string {
  const encode = (part: object | string) =>
    Buffer.from(typeof part === 'string' ? part : JSON.stringify(part)).toString('base64url');
  const signed = `${encode(header)}.${encode(payload)}`;
  return `${signed}.${secret === null ? '' : createHmac('sha256', secret).update(signed).digest('base64url')}`;
}
