/**
 * Signatures of Standard Webhooks (https://github.com/standard-webhooks/standard-webhooks, symmetric: `v1`), by which the
 * operator's backend knows that it is the gateway who asks. Pure functions.
 *
 * A signature covers an id, the time and the body, so what was recorded can be neither changed nor used later, and the secret is
 * never sent. A secret is `whsec_` and the base64 of 24 to 64 bytes. Several, as a comma list, sign each request once each: a
 * receiver that knows any of them accepts it, so a new secret can be taken into use before the old one goes.
 */
import { createHmac } from 'node:crypto';

const prefix = 'whsec_';
const grammar = /^whsec_((?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)$/;
const fewestBytes = 24;
const mostBytes = 64;
const mostSecrets = 4;

/** Reads the setting. Throws a TypeError with a sentence for the operator, without the secret. */
export function readSecrets(text: string): Buffer[] {
  const secrets = text
    .split(',')
    .map((secret) => secret.trim())
    .filter(Boolean);
  if (secrets.length === 0) throw new TypeError('must name a secret');
  if (secrets.length > mostSecrets) throw new TypeError(`must have at most ${mostSecrets} secrets`);
  return secrets.map((secret) => {
    const bytes = Buffer.from(grammar.exec(secret)?.[1] ?? '', 'base64');
    if (bytes.length >= fewestBytes && bytes.length <= mostBytes) return bytes;
    const form = `${prefix} and the base64 of ${fewestBytes} to ${mostBytes} bytes`;
    throw new TypeError(`must be ${form}; try: echo "${prefix}$(openssl rand -base64 32)"`);
  });
}

/** The headers of one request. `seconds`: the time of this request, Unix time. */
export function signedHeaders(secrets: readonly Buffer[], id: string, seconds: number, body: string) {
  const content = `${id}.${seconds}.${body}`;
  const signatures = secrets.map((secret) => `v1,${createHmac('sha256', secret).update(content).digest('base64')}`);
  return { 'webhook-id': id, 'webhook-timestamp': String(seconds), 'webhook-signature': signatures.join(' ') };
}
