/**
 * Authentication: a token becomes an identity, or is refused with a reason.
 *
 * The only file that imports jose; of HS256 it does the HMAC itself. Algorithms come from the key (gateway/auth/keys.ts) and
 * the configuration, never from the token; `exp` and `sub` are required (RFC 7519 section 4.1). Named claims are copied,
 * the payload is never merged into anything. It knows nothing of connections.
 */
import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';
import {
  createLocalJWKSet,
  decodeJwt,
  decodeProtectedHeader,
  errors,
  type JWTPayload,
  type JWTVerifyGetKey,
  type JWTVerifyOptions,
  jwtVerify,
  SignJWT,
  UnsecuredJWT,
} from 'jose';
import QuickLRU from 'quick-lru';
import type { Logger } from '../telemetry/log.ts';
import { type Grants, type Identity, readGrants } from './grants.ts';
import { Jwks, type KeySet } from './jwks.ts';
import { algorithmsOf, publicAlgorithms, secretAlgorithms } from './keys.ts';

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

/** The key of the token may be one that cannot be had now: not the client's fault, and different in a while. */
export class KeysUnavailableError extends Error {
  constructor(message: string) {
    super(message);
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

/** Of the settings (gateway/settings.ts), those about tokens; one of secret, public key and URL is given. */
export interface AuthSettings {
  jwtSecret: string | undefined;
  jwtPublicKey: KeyObject | undefined;
  jwtJwksUrl: string | undefined;
  jwtAlgorithms: string[] | undefined;
  jwtIssuer: string | undefined;
  jwtAudience: string[] | undefined;
}

export function createAuthenticator(config: AuthSettings, log: Logger): Authenticator {
  const { payloadOf, close } = createVerifier(config, log);
  const grantsOf = rememberGrants();
  return {
    async verify(token) {
      if (token.length > maxTokenBytes) throw new TokenError('malformed', `longer than ${maxTokenBytes} bytes`);
      try {
        return readClaims(await payloadOf(token), grantsOf);
      } catch (error) {
        if (error instanceof KeysUnavailableError) log.warn({ error: error.message }, 'a token could not be checked');
        throw refusal(error);
      }
    },
    close,
  };
}

interface Verifier {
  /** The claims of a token whose signature, header and times are good. Throws or rejects for any other. */
  payloadOf(token: string): JWTPayload | Promise<JWTPayload>;
  close(): void;
}

function createVerifier(config: AuthSettings, log: Logger): Verifier {
  const options = (possible: string[]) => ({
    algorithms: config.jwtAlgorithms ?? possible,
    clockTolerance: toleranceSeconds,
    requiredClaims: ['exp', 'sub'],
    ...(config.jwtIssuer === undefined ? {} : { issuer: config.jwtIssuer }),
    ...(config.jwtAudience === undefined ? {} : { audience: config.jwtAudience }),
  });
  if (config.jwtJwksUrl !== undefined) {
    const jwks = new Jwks(config.jwtJwksUrl, log);
    return { payloadOf: verifyBySet(jwks, options(publicAlgorithms)), close: () => jwks.close() };
  }
  const { jwtPublicKey: publicKey } = config;
  if (publicKey !== undefined) {
    const how = options(algorithmsOf(publicKey));
    return { payloadOf: async (token) => (await jwtVerify(token, publicKey, how)).payload, close: () => undefined };
  }
  if (config.jwtSecret === undefined) throw new TypeError('no key is configured that could verify tokens');
  const secret = createSecretKey(config.jwtSecret, 'utf8');
  const how = options(secretAlgorithms);
  return { payloadOf: (token) => verifyHmac(token, secret, how), close: () => undefined };
}

const unsecuredHeader = new UnsecuredJWT().encode().split('.')[0];

/**
 * HS256. jose would have WebCrypto do this HMAC of 3 microseconds in a thread, and the way there and back costs nearly as
 * much as everything else about a new connection. What header and claims must be is jose's to say here too.
 */
function verifyHmac(token: string, secret: KeyObject, options: JWTVerifyOptions): JWTPayload {
  const { alg, crit } = headerOf(token);
  if (alg !== 'HS256') throw new errors.JOSEAlgNotAllowed('the algorithm of the token is not HS256');
  if (crit !== undefined) throw new errors.JOSENotSupported('the token has critical header parameters');
  const dot = token.lastIndexOf('.');
  const signature = createHmac('sha256', secret).update(token.slice(0, dot)).digest('base64url');
  if (!isEqual(signature, token.slice(dot + 1))) throw new errors.JWSSignatureVerificationFailed();
  return UnsecuredJWT.decode(`${unsecuredHeader}.${token.slice(token.indexOf('.') + 1, dot)}.`, options).payload;
}

function headerOf(token: string): { alg?: unknown; crit?: unknown } {
  if (token.split('.').length !== 3) throw new errors.JWSInvalid('the token has not three parts');
  try {
    return decodeProtectedHeader(token);
  } catch (error) {
    throw new errors.JWSInvalid((error as Error).message);
  }
}

/** In a time that does not tell how much of it is equal. */
function isEqual(expected: string, given: string): boolean {
  const [one, other] = [Buffer.from(expected), Buffer.from(given)];
  return one.length === other.length && timingSafeEqual(one, other);
}

/**
 * By the issuer's key set. A token that no key of the set verifies may be of a newer key, under a new id or the same one,
 * so the set is fetched again, within the bounds of gateway/auth/jwks.ts. Whether a token that still has no key is bad for good
 * depends on which is older: a set that was asked for after the token was issued would hold its key.
 */
function verifyBySet(jwks: Jwks, options: JWTVerifyOptions): Verifier['payloadOf'] {
  // A resolver imports each key once and remembers it; it lives as long as its set.
  const resolvers = new WeakMap<KeySet, JWTVerifyGetKey>();
  const resolverOf = (set: KeySet) => {
    const resolver = resolvers.get(set) ?? createLocalJWKSet(set as Parameters<typeof createLocalJWKSet>[0]);
    resolvers.set(set, resolver);
    return resolver;
  };
  const judge = async (token: string, set: KeySet, cameAt: number): Promise<JWTPayload> => {
    try {
      return await verifyByCandidates(token, resolverOf(set), options);
    } catch (error) {
      if (!isOfNoKnownKey(error) || set.askedAt >= cameAt) throw error;
      const newest = (await jwks.renewed()) ?? set;
      if (newest !== set) return judge(token, newest, cameAt);
      if (issuedBefore(token, set.askedAt)) throw error;
      throw new KeysUnavailableError(
        'no key of the key set verifies the token, and the set cannot be fetched again yet',
      );
    }
  };
  return async (token) => {
    const cameAt = performance.now();
    const set = await jwks.current();
    if (set === undefined) throw new KeysUnavailableError('the key set of the token issuer could not be read yet');
    return judge(token, set, cameAt);
  };
}

/** An issuer that changes its key and not the id, or has no ids, lists both for a while; each that is tried costs time. */
const maxCandidates = 4;

/** Several keys may have the id that a token names, and several may do for one that names none. */
async function verifyByCandidates(
  token: string,
  resolver: JWTVerifyGetKey,
  options: JWTVerifyOptions,
): Promise<JWTPayload> {
  try {
    return (await jwtVerify(token, resolver, options)).payload;
  } catch (several) {
    if (!(several instanceof errors.JWKSMultipleMatchingKeys)) throw several;
    let failure: unknown = several;
    let tried = 0;
    for await (const key of several) {
      try {
        return (await jwtVerify(token, key, options)).payload;
      } catch (error) {
        failure = error;
      }
      if (!(failure instanceof errors.JWSSignatureVerificationFailed) || ++tried === maxCandidates) break;
    }
    throw failure;
  }
}

function isOfNoKnownKey(error: unknown): boolean {
  return error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWSSignatureVerificationFailed;
}

/** By what the token says, which nobody has verified: who lies there changes only what he is answered. */
function issuedBefore(token: string, at: number): boolean {
  const { iat } = decodeJwt(token);
  if (typeof iat !== 'number') return false;
  return Date.now() - iat * 1000 > performance.now() - at + toleranceSeconds * 1000;
}

/** The claims seen last are remembered: so many at least, twice as many at most. */
const maxRememberedGrants = 1_000;
const maxRememberedCharacters = 1_000;

/** Most tokens of an issuer grant the same: it is checked once, and all connections share it. */
function rememberGrants(): (claim: unknown) => Grants {
  const remembered = new QuickLRU<string, Grants>({ maxSize: maxRememberedGrants });
  return (claim) => {
    const text = JSON.stringify(claim) ?? '';
    const known = remembered.get(text);
    if (known !== undefined) return known;
    const grants = readGrants(claim);
    if (text.length <= maxRememberedCharacters) remembered.set(text, grants);
    return grants;
  };
}

function readClaims(payload: JWTPayload, grantsOf: (claim: unknown) => Grants): Verified {
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
    const identity = { user: sub, grants: grantsOf(rooms) };
    return { identity: info === undefined ? identity : { ...identity, info: JSON.stringify(info) }, expiresAt };
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
    .sign(secret);
}
