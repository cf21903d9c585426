/**
 * The keys that verify tokens, from the operator or the issuer's key set, and the algorithms of each key.
 *
 * The `alg` of a token must be one that is listed here for the key (RFC 8725 section 3.1). A bad key is a TypeError with a
 * sentence for the operator, without key material.
 */
import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto';

export const secretAlgorithms = ['HS256'];
const rsaAlgorithms = ['RS256', 'PS256', 'RS384', 'PS384', 'RS512', 'PS512'];
const curveAlgorithms: Record<string, string> = { prime256v1: 'ES256', secp384r1: 'ES384', secp521r1: 'ES512' };

/** Algorithms allowed with a JSON Web Key Set; the type and the `alg` of each key narrow them. */
export const publicAlgorithms = [...rsaAlgorithms, ...Object.values(curveAlgorithms), 'EdDSA', 'Ed25519'];

/** Reads a public key from PEM (SPKI, PKCS #1, certificate) or JWK text. */
export function readPublicKey(text: string): KeyObject {
  return checked(text.trimStart().startsWith('{') ? fromJwk(parseJwk(text)) : fromPem(text));
}

/** A public key of a set, with only the members that decide its use (RFC 7517 section 4). */
export interface PublicJwk extends JsonWebKey {
  kid?: string;
  alg?: string;
  use?: string;
  key_ops?: string[];
}

/** Reads one key of a JSON Web Key Set, in a canonical form: equal keys give equal results. */
export function readSetKey(value: unknown): PublicJwk {
  if (typeof value !== 'object' || value === null) throw new TypeError('is no object');
  // Some issuers write absent members as null.
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

/** The JWS algorithms (RFC 7518, RFC 8037) that the public key can verify. */
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
