/**
 * Authentication: turns a token into an identity, or refuses it with a reason.
 *
 * The only file that imports jose; it computes the HMAC of HS256 itself. Allowed algorithms come from the key
 * (gateway/auth/keys.ts) and the configuration, never from the token. What the claims mean is in gateway/auth/claims.ts. It knows
 * nothing of connections.
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
import type { Logger } from '../telemetry/log.ts';
import {
  type ClaimSettings,
  claimsReader,
  TokenError,
  toleranceSeconds,
  type Verified,
  type VerifiedSubscription,
} from './claims.ts';
import { allGrants, anonymous, type Identity } from './grants.ts';
import { Jwks, type KeySet } from './jwks.ts';
import { algorithmsOf, publicAlgorithms, secretAlgorithms } from './keys.ts';
import { Verifications, VerificationsFullError } from './verifications.ts';
import { VerifiedTokens } from './verified-tokens.ts';

/**
 * The key of the token may be one that cannot be fetched now, or too many tokens wait. Not the client's fault; a later try may
 * succeed.
 */
export class KeysUnavailableError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'KeysUnavailableError';
  }
}

const maxTokenBytes = 16_384;
export interface Authenticator {
  /** Rejects with a TokenError, or a KeysUnavailableError. */
  verify(token: string): Promise<Verified>;
  /** The same for a token of one subscription, which the setting allows. */
  verifySubscription(token: string): Promise<VerifiedSubscription>;
  /** Of a client without a token, where it may be without one. */
  readonly anonymous: Identity;
  /** Tokens whose verification has not begun, because so many are under way. */
  readonly waiting: number;
  close(): void;
}

/** The settings (gateway/settings.ts) about tokens; exactly one of secret, public key and URL is set. */
export interface AuthSettings extends ClaimSettings {
  jwtSecret: string | undefined;
  jwtPublicKey: KeyObject | undefined;
  jwtJwksUrl: string | undefined;
  jwtAlgorithms: string[] | undefined;
  jwtIssuer: string | undefined;
  jwtAudience: string[] | undefined;
}

export function createAuthenticator(config: AuthSettings, log: Logger): Authenticator {
  const verifications = new Verifications();
  const { payloadOf, keys, close } = createVerifier(config, verifications, log);
  const readClaims = claimsReader(config);
  const tokens = new VerifiedTokens<Verified | VerifiedSubscription>((token) => {
    const payload = payloadOf(token);
    return payload instanceof Promise ? payload.then(readClaims) : readClaims(payload);
  }, keys);
  const read = async (token: string) => {
    if (token.length > maxTokenBytes) throw new TokenError('malformed', `longer than ${maxTokenBytes} bytes`);
    try {
      return await tokens.of(token);
    } catch (error) {
      if (error instanceof KeysUnavailableError) log.warn({ error: error.message }, 'a token could not be checked');
      throw refusal(error);
    }
  };
  return {
    anonymous: config.insecure ? { ...anonymous, grants: allGrants } : anonymous,
    get waiting() {
      return verifications.waiting;
    },
    async verify(token) {
      const verified = await read(token);
      if ('identity' in verified) return verified;
      throw new TokenError('claims', 'it has the claim channel: it is for one subscription, not for a connection');
    },
    async verifySubscription(token) {
      const verified = await read(token);
      if ('room' in verified) return verified;
      throw new TokenError('claims', 'it has no claim channel: it is for a connection, not for a subscription');
    },
    close,
  };
}

interface Verifier {
  /** The claims of the token. Throws or rejects if its signature, header, times, issuer or audience are bad. */
  payloadOf(token: string): JWTPayload | Promise<JWTPayload>;
  /** Another value each time the keys have changed. */
  keys(): unknown;
  close(): void;
}

function createVerifier(config: AuthSettings, verifications: Verifications, log: Logger): Verifier {
  const options = (possible: string[]) => ({
    algorithms: config.jwtAlgorithms ?? possible,
    clockTolerance: toleranceSeconds,
    ...(config.jwtIssuer === undefined ? {} : { issuer: config.jwtIssuer }),
    ...(config.jwtAudience === undefined ? {} : { audience: config.jwtAudience }),
  });
  if (config.jwtJwksUrl !== undefined) {
    const jwks = new Jwks(config.jwtJwksUrl, log);
    const payloadOf = verifyBySet(jwks, verifications, options(publicAlgorithms));
    return { payloadOf, keys: () => jwks.keys, close: () => jwks.close() };
  }
  const { jwtPublicKey: publicKey } = config;
  if (publicKey !== undefined) {
    const how = options(algorithmsOf(publicKey));
    const payloadOf: Verifier['payloadOf'] = async (token) => {
      const { payload } = await verifications.run(() => jwtVerify(token, publicKey, how));
      return payload;
    };
    return { ...fixed, payloadOf };
  }
  if (config.jwtSecret === undefined) throw new TypeError('no key is configured that could verify tokens');
  const secret = createSecretKey(config.jwtSecret, 'utf8');
  return { ...fixed, payloadOf: verifyByHmac(secret, options(secretAlgorithms)) };
}

/** Of a key that stays while the process runs. */
const fixed = { keys: () => undefined, close: () => undefined };

const unsecuredHeader = new UnsecuredJWT().encode().split('.')[0];

/**
 * Verifies HS256. jose would run this HMAC of 3 us in a WebCrypto thread, and the way there and back costs nearly as much as
 * the rest of a new connection. jose still checks header and claims.
 */
function verifyByHmac(secret: KeyObject, options: JWTVerifyOptions): (token: string) => JWTPayload {
  // All tokens of an issuer have the same header. One that was good once needs no second look.
  let goodHeader = '';
  return (token) => {
    const header = token.slice(0, token.indexOf('.'));
    if (header !== goodHeader || token.split('.').length !== 3) checkHeader(token);
    const dot = token.lastIndexOf('.');
    const signature = createHmac('sha256', secret).update(token.slice(0, dot)).digest('base64url');
    if (!isEqual(signature, token.slice(dot + 1))) throw new errors.JWSSignatureVerificationFailed();
    goodHeader = header;
    return UnsecuredJWT.decode(`${unsecuredHeader}.${token.slice(header.length + 1, dot)}.`, options).payload;
  };
}

function checkHeader(token: string): void {
  const { alg, crit } = headerOf(token);
  if (alg !== 'HS256') throw new errors.JOSEAlgNotAllowed('the algorithm of the token is not HS256');
  if (crit !== undefined) throw new errors.JOSENotSupported('the token has critical header parameters');
}

function headerOf(token: string): { alg?: unknown; crit?: unknown } {
  if (token.split('.').length !== 3) throw new errors.JWSInvalid('the token has not three parts');
  try {
    return decodeProtectedHeader(token);
  } catch (error) {
    throw new errors.JWSInvalid((error as Error).message);
  }
}

/** Compares in constant time. */
function isEqual(expected: string, given: string): boolean {
  const [one, other] = [Buffer.from(expected), Buffer.from(given)];
  return one.length === other.length && timingSafeEqual(one, other);
}

/**
 * Verifies with the issuer's key set. If no key of the set verifies a token, its key may be newer, under a new id or the
 * same one. So the set is fetched again, within the bounds of gateway/auth/jwks.ts. A token that still has no key is refused
 * for good only if it was issued before the set was requested: that set would hold its key.
 */
function verifyBySet(jwks: Jwks, verifications: Verifications, options: JWTVerifyOptions): Verifier['payloadOf'] {
  // A resolver caches the keys it has imported, and lives as long as they do.
  const resolvers = new WeakMap<KeySet['keys'], JWTVerifyGetKey>();
  const resolverOf = ({ keys }: KeySet) => {
    const resolver = resolvers.get(keys) ?? createLocalJWKSet({ keys } as Parameters<typeof createLocalJWKSet>[0]);
    resolvers.set(keys, resolver);
    return resolver;
  };
  const judge = async (token: string, set: KeySet, cameAt: number): Promise<JWTPayload> => {
    try {
      return await verifications.run(() => verifyByCandidates(token, resolverOf(set), options));
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

/** Keys tried per token. An issuer may list an old and a new key with the same id or none; each try costs time. */
const maxCandidates = 4;

/** Tries all keys that match the token: several may share its `kid`, and several may fit a token without one. */
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

/** Reads the unverified `iat`. A client that lies there only changes which refusal it gets. */
function issuedBefore(token: string, at: number): boolean {
  const { iat } = decodeJwt(token);
  if (typeof iat !== 'number') return false;
  return Date.now() - iat * 1000 > performance.now() - at + toleranceSeconds * 1000;
}

function refusal(error: unknown): TokenError | KeysUnavailableError {
  if (error instanceof VerificationsFullError) return new KeysUnavailableError(error.message);
  if (error instanceof TokenError || error instanceof KeysUnavailableError) return error;
  if (error instanceof errors.JWTExpired) return new TokenError('expired', error.message);
  if (error instanceof errors.JWTClaimValidationFailed) return new TokenError('claims', error.message);
  if (error instanceof errors.JWSSignatureVerificationFailed) return new TokenError('signature', error.message);
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) {
    return new TokenError('key', error.message);
  }
  if (error instanceof errors.JOSEError) return new TokenError('malformed', error.message);
  // All other errors come from a broken key in the issuer's set, or one that does not fit its algorithm.
  return new TokenError('key', String(error));
}

export interface TokenClaims {
  sub: string;
  rooms?: Record<string, string[]>;
  info?: unknown;
  iss?: string;
  aud?: string;
}

/** Signs a token with HS256, for the demo page and `roomcast token`. The gateway itself issues no tokens. */
export async function signToken(secret: Uint8Array, claims: TokenClaims, ttlSeconds: number): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  return new SignJWT({ ...claims })
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuedAt(now)
    .setExpirationTime(now + ttlSeconds)
    .sign(secret);
}
