/**
 * The key that tokens are verified with, as the operator gave it, and the algorithms it can do.
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
  const key = text.trimStart().startsWith('{') ? fromJwk(text) : fromPem(text);
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

function fromJwk(text: string): KeyObject {
  let jwk: JsonWebKey;
  try {
    jwk = JSON.parse(text) as JsonWebKey;
  } catch {
    throw new TypeError('begins like a JWK but is not JSON');
  }
  if (jwk.d !== undefined || jwk.k !== undefined) {
    throw new TypeError('holds a private or secret key; give the gateway only the public one');
  }
  try {
    return createPublicKey({ key: jwk, format: 'jwk' });
  } catch {
    throw new TypeError('is not a JWK public key (RFC 7517)');
  }
}
