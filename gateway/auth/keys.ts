/**
 * The keys that tokens are verified with, as the operator or the issuer's key set gives them, and the algorithms they can
 * do.
 *
 * The algorithm of a token is never believed: it must be one of those listed here for the key (RFC 8725 section 3.1).
 * Misuse is a TypeError with a sentence for the operator; it never holds key material.
 */
import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto';

export const secretAlgorithms = ['HS256'];
const rsaAlgorithms = ['RS256', 'PS256', 'RS384', 'PS384', 'RS512', 'PS512'];
const curveAlgorithms: Record<string, string> = { prime256v1: 'ES256', secp384r1: 'ES384', secp521r1: 'ES512' };

/** What a JSON Web Key Set may be used for; the key's own type and `alg` narrow it. */
export const publicAlgorithms = [...rsaAlgorithms, ...Object.values(curveAlgorithms), 'EdDSA', 'Ed25519'];

/** Reads a public key from PEM (SPKI, PKCS #1, certificate) or JWK text. */
export function readPublicKey(text: string): KeyObject {
  return checked(text.trimStart().startsWith('{') ? fromJwk(parseJwk(text)) : fromPem(text));
}

/** A public key of a set, with nothing but what decides on its use (RFC 7517 section 4). */
export interface PublicJwk extends JsonWebKey {
  kid?: string;
  alg?: string;
  use?: string;
  key_ops?: string[];
}

/** Reads one key of a JSON Web Key Set. Two that are equal become equal, however they were written. */
export function readSetKey(value: unknown): PublicJwk {
  if (typeof value !== 'object' || value === null) throw new TypeError('is no object');
  // Some issuers write every member that there is; null is the same as none.
  const jwk = Object.fromEntries(Object.entries(value).filter(([, member]) => member !== null));
  const { kid, alg, use, key_ops } = jwk;
  if (kid !== undefined && typeof kid !== 'string') throw new TypeError('has a kid that is no text');
  if (use !== undefined && use !== 'sig') throw new TypeError('has a use other than "sig"');
  if (key_ops !== undefined && !(Array.isArray(key_ops) && key_ops.includes('verify'))) {
    throw new TypeError('has key_ops without "verify"');
  }
  const key = checked(fromJwk(jwk));
  const possible = algorithmsOf(key);
  if (alg !== undefined && !possible.includes(alg)) throw new TypeError(`has an alg other than ${possible.join(', ')}`);
  const about = Object.entries({ kid, alg, use, key_ops }).filter(([, member]) => member !== undefined);
  return { ...key.export({ format: 'jwk' }), ...Object.fromEntries(about) };
}

function checked(key: KeyObject): KeyObject {
  if (algorithmsOf(key).length === 0) throw new TypeError('must be an RSA, P-256, P-384, P-521 or Ed25519 key');
  if (key.asymmetricKeyType === 'rsa' && (key.asymmetricKeyDetails?.modulusLength ?? 0) < 2048) {
    throw new TypeError('must have at least 2048 bits (RFC 7518 section 3.3)');
  }
  return key;
}

/** The JWS algorithms (RFC 7518, RFC 8037) that a public key can verify. */
export function algorithmsOf(key: KeyObject): string[] {
  if (key.asymmetricKeyType === 'rsa') return rsaAlgorithms;
  if (key.asymmetricKeyType === 'ed25519') return ['EdDSA', 'Ed25519'];
  const algorithm = curveAlgorithms[key.asymmetricKeyDetails?.namedCurve ?? ''];
  return algorithm === undefined ? [] : [algorithm];
}

function fromPem(text: string): KeyObject {
  if (text.includes('PRIVATE KEY')) throw new TypeError('is a private key; give the gateway only the public one');
  try {
    return createPublicKey(text.replaceAll('\\n', '\n'));
  } catch {
    throw new TypeError('is neither a PEM nor a JWK public key');
  }
}

function parseJwk(text: string): JsonWebKey {
  try {
    return JSON.parse(text) as JsonWebKey;
  } catch {
    throw new TypeError('begins like a JWK but is not JSON');
  }
}

function fromJwk(jwk: JsonWebKey): KeyObject {
  if (jwk.d !== undefined || jwk.k !== undefined) {
    throw new TypeError('holds a private or secret key; only the public one belongs here');
  }
  try {
    return createPublicKey({ key: jwk, format: 'jwk' });
  } catch {
    throw new TypeError('is not a JWK public key (RFC 7517)');
  }
}
