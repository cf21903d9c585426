/**
 * Signs what the gateway sends to the operator's backend, as Standard Webhooks says
 * (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
 *
 * The signature covers an id, the time and the body: a receiver knows who sent it, and can refuse what is changed or old. The
 * secret itself is never sent. Pure functions; a bad secret is a TypeError with a sentence for the operator, without it.
 */
import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';

const secretPrefix = 'whsec_';
/** Of the key, by the specification. */
const fewestBytes = 24;
const mostBytes = 64;

/** Reads a secret: base64 of 24 to 64 bytes, with the prefix of the specification or without. */
export function readSigningSecret(text: string): KeyObject {
  const encoded = text.startsWith(secretPrefix) ? text.slice(secretPrefix.length) : text;
  const key = Buffer.from(encoded, 'base64');
  const isBase64 = key.toString('base64').replace(/=+$/, '') === encoded.replace(/=+$/, '');
  if (!isBase64 || key.length < fewestBytes || key.length > mostBytes) {
    throw new TypeError(
      `must be ${secretPrefix} and then ${fewestBytes} to ${mostBytes} bytes in base64; ` +
        'try: echo "whsec_$(openssl rand -base64 32)"',
    );
  }
  return createSecretKey(key);
}

/** The headers of a message. `id` is unique to it; `at`: Unix ms. */
export function signatureHeaders(secret: KeyObject, id: string, at: number, body: string): Record<string, string> {
  const timestamp = String(Math.floor(at / 1000));
  const signature = createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64');
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${signature}` };
}
