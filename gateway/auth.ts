/**
 * Authentication: a token becomes an identity, or is refused with a reason.
 *
 * The only file that imports jose. Algorithms come from the key (gateway/keys.ts) and the configuration, never from the
 * token; `exp` and `sub` are required (RFC 7519 section 4.1). Named claims are copied, the payload is never merged into
 * anything. It knows nothing of connections.
 */
import { webcrypto } from 'node:crypto';
import { createLocalJWKSet, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify, SignJWT } from 'jose';
import { type Identity, readGrants } from './access.ts';
import type { Config } from './config.ts';
import { type JsonWebKeySet, Jwks } from './jwks.ts';
import { algorithmsOf, publicAlgorithms, secretAlgorithms } from './keys.ts';
import type { Logger } from './log.ts';

/** Why a token was refused; also a metric label, so the set is closed. */
export type TokenRefusal = 'malformed' | 'signature' | 'key' | 'expired' | 'claims';

/** A token that is not good. The message is for the log; clients are told none of it. */
export class TokenError extends Error {
  readonly reason: TokenRefusal;

  constructor(reason: TokenRefusal, message: string) {
    super(message);
    this.name = 'TokenError';
    this.reason = reason;
  }
}

/** No key of the issuer could be read yet: not the client's fault. */
export class KeysUnavailableError extends Error {
  constructor() {
    super('the key set of the token issuer could not be read yet');
    this.name = 'KeysUnavailableError';
  }
}

export interface Verified {
  identity: Identity & { user: string };
  /** Unix milliseconds. From then on nothing of this connection is obeyed. */
  expiresAt: number;
}

/** Clocks of issuer and gateway may differ by this much. */
const toleranceSeconds = 5;
const maxTokenBytes = 16_384;
const maxUserBytes = 200;
const maxInfoBytes = 512;
/** The last second of the year 9999: a number beyond is no time. */
const latestExpiry = 253_402_300_799;

export interface Authenticator {
  /** Rejects with a TokenError, or a KeysUnavailableError. */
  verify(token: string): Promise<Verified>;
  close(): void;
}

export async function createAuthenticator(config: Config, log: Logger): Promise<Authenticator> {
  const { key, possible, close } = await keySource(config, log);
  const options = {
    algorithms: config.jwtAlgorithms ?? possible,
    clockTolerance: toleranceSeconds,
    requiredClaims: ['exp', 'sub'],
    ...(config.jwtIssuer === undefined ? {} : { issuer: config.jwtIssuer }),
    ...(config.jwtAudience === undefined ? {} : { audience: config.jwtAudience }),
  };
  return {
    async verify(token) {
      if (token.length > maxTokenBytes) throw new TokenError('malformed', `longer than ${maxTokenBytes} bytes`);
      try {
        return readClaims((await jwtVerify(token, key, options)).payload);
      } catch (error) {
        throw refusal(error);
      }
    },
    close,
  };
}

interface KeySource {
  key: JWTVerifyGetKey;
  possible: string[];
  close(): void;
}

async function keySource(config: Config, log: Logger): Promise<KeySource> {
  if (config.jwtJwksUrl !== undefined) {
    const jwks = new Jwks(config.jwtJwksUrl, log);
    return { key: keyFromSet(jwks), possible: publicAlgorithms, close: () => jwks.close() };
  }
  const publicKey = config.jwtPublicKey;
  if (publicKey !== undefined) {
    return { key: async () => publicKey, possible: algorithmsOf(publicKey), close: () => undefined };
  }
  // An imported key verifies twice as fast as raw bytes.
  const secret = await importSecret(new TextEncoder().encode(config.jwtSecret), 'verify');
  return { key: async () => secret, possible: secretAlgorithms, close: () => undefined };
}

function keyFromSet(jwks: Jwks): JWTVerifyGetKey {
  // A resolver imports each key once and remembers it; it lives as long as its set.
  const resolvers = new WeakMap<JsonWebKeySet, JWTVerifyGetKey>();
  const resolverOf = (set: JsonWebKeySet | undefined) => {
    if (set === undefined) throw new KeysUnavailableError();
    const resolver = resolvers.get(set) ?? createLocalJWKSet(set as Parameters<typeof createLocalJWKSet>[0]);
    resolvers.set(set, resolver);
    return resolver;
  };
  return async (header, token) => {
    try {
      return await resolverOf(await jwks.current())(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
    }
    return await resolverOf(await jwks.renewed())(header, token);
  };
}

function importSecret(secret: Uint8Array, usage: 'sign' | 'verify'): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey('raw', secret, { name: 'HMAC', hash: 'SHA-256' }, false, [usage]);
}

function readClaims(payload: JWTPayload): Verified {
  const { sub, exp = 0, info, rooms } = payload;
  if (typeof sub !== 'string' || sub === '' || Buffer.byteLength(sub) > maxUserBytes || !sub.isWellFormed()) {
    throw new TokenError('claims', `sub must be 1 to ${maxUserBytes} bytes of valid Unicode`);
  }
  if (exp > latestExpiry) throw new TokenError('claims', 'exp is beyond the year 9999');
  if (info !== undefined && Buffer.byteLength(JSON.stringify(info)) > maxInfoBytes) {
    throw new TokenError('claims', `info is larger than ${maxInfoBytes} bytes`);
  }
  // A token that came inside the tolerance shows that the clocks differ: it is given the tolerance to its end.
  const expired = exp * 1000 <= Date.now();
  const expiresAt = Math.floor((exp + (expired ? toleranceSeconds : 0)) * 1000);
  try {
    const shown = info === undefined ? {} : { info: JSON.stringify(info) };
    return { identity: { user: sub, grants: readGrants(rooms), ...shown }, expiresAt };
  } catch (error) {
    throw new TokenError('claims', (error as TypeError).message);
  }
}

function refusal(error: unknown): TokenError | KeysUnavailableError {
  if (error instanceof TokenError || error instanceof KeysUnavailableError) return error;
  if (error instanceof errors.JWTExpired) return new TokenError('expired', error.message);
  if (error instanceof errors.JWTClaimValidationFailed) return new TokenError('claims', error.message);
  if (error instanceof errors.JWSSignatureVerificationFailed) return new TokenError('signature', error.message);
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) {
    return new TokenError('key', error.message);
  }
  if (error instanceof errors.JOSEError) return new TokenError('malformed', error.message);
  // What is left comes from a key of the issuer's set that is broken, or does not fit the algorithm it is for.
  return new TokenError('key', String(error));
}

export interface TokenClaims {
  sub: string;
  rooms?: Record<string, string[]>;
  info?: unknown;
}

/** Signs a token with HS256: for the demo page and deploy/mint-token.mjs. The gateway itself issues none. */
export async function signToken(secret: Uint8Array, claims: TokenClaims, ttlSeconds: number): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  return new SignJWT({ ...claims })
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuedAt(now)
    .setExpirationTime(now + ttlSeconds)
    .sign(await importSecret(secret, 'sign'));
}
