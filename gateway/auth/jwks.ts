/**
 * The issuer's JSON Web Key Set (RFC 7517 section 5), fetched over HTTP and kept.
 *
 * Owns when a fetch happens. A key set once read stays good through any outage of the endpoint; tokens whose key it lacks
 * cause at most one fetch per cooldown, shared by all who wait; a fetch is bounded in time and size and follows no
 * redirect. It knows nothing of tokens: gateway/auth/authenticator.ts asks it for the set and says when a key was missing.
 *
 * Why not jose's createRemoteJWKSet: docs/decisions/011-a-token-of-an-unknown-key.md.
 */
import { unescape as percentDecoded } from 'node:querystring';
import { type Logger, truncate } from '../telemetry/log.ts';
import { type PublicJwk, readSetKey } from './keys.ts';

export interface JwksTimes {
  /** Longest time of one fetch. */
  fetchTimeoutMs: number;
  /** Least time between two fetches that tokens ask for. */
  cooldownMs: number;
  /** The same while no set was ever read: the gateway can serve nobody then. */
  firstCooldownMs: number;
  /** Time between two fetches that nobody asks for. */
  refreshMs: number;
}

const jwksTimes: JwksTimes = {
  fetchTimeoutMs: 5_000,
  cooldownMs: 30_000,
  firstCooldownMs: 1_000,
  refreshMs: 600_000,
};

const maxBodyBytes = 1_048_576;
const maxKeys = 100;
/** Of the keys that are left out, so many are named in the log. */
const maxNamed = 10;

export interface KeySet {
  keys: PublicJwk[];
  /** When the fetch that brought it began, by performance.now(). */
  askedAt: number;
}

export class Jwks {
  readonly #endpoint: Endpoint;
  readonly #log: Logger;
  readonly #times: JwksTimes;
  readonly #timer: NodeJS.Timeout;
  #set: KeySet | undefined;
  /** What the log was told of the set. */
  #told = '';
  #fetching: Promise<void> | undefined;
  #lastFetchAt = Number.NEGATIVE_INFINITY;

  constructor(url: string, log: Logger, times: JwksTimes = jwksTimes) {
    this.#endpoint = endpointOf(url);
    this.#log = log;
    this.#times = times;
    this.#timer = setInterval(() => void this.#fetch(), times.refreshMs).unref();
    void this.#fetch();
  }

  /** Of the newest set. The same value as before a fetch that brought the same keys. */
  get keys(): PublicJwk[] | undefined {
    return this.#set?.keys;
  }

  /** The newest set, or undefined when none could be read yet. Waits for a fetch only in that case. */
  async current(): Promise<KeySet | undefined> {
    if (this.#set === undefined) await this.#fetchUnlessCooling(this.#times.firstCooldownMs);
    return this.#set;
  }

  /** A key was not in the set: fetches it again, unless that was done within the cooldown, and returns the newest. */
  async renewed(): Promise<KeySet | undefined> {
    await this.#fetchUnlessCooling(this.#times.cooldownMs);
    return this.#set;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #fetchUnlessCooling(cooldownMs: number): Promise<void> {
    if (this.#fetching !== undefined) return this.#fetching;
    return performance.now() - this.#lastFetchAt < cooldownMs ? Promise.resolve() : this.#fetch();
  }

  /** Never rejects: a fetch that fails is logged, and what was known stays. */
  #fetch(): Promise<void> {
    const askedAt = performance.now();
    this.#fetching ??= fetchKeys(this.#endpoint, this.#times.fetchTimeoutMs)
      .then(({ keys, leftOut }) => {
        const known = this.#set?.keys;
        this.#set = { keys: JSON.stringify(known) === JSON.stringify(keys) ? (known ?? keys) : keys, askedAt };
        this.#tell(keys, leftOut);
      })
      .catch((cause: unknown) => {
        const error = reasonOf(cause, this.#times.fetchTimeoutMs);
        this.#told = '';
        const fields = { host: this.#endpoint.host, error, known: this.#set?.keys.length ?? 0 };
        this.#log.warn(fields, 'jwks fetch failed; known keys stay in use');
      })
      .finally(() => {
        this.#fetching = undefined;
        this.#lastFetchAt = performance.now();
      });
    return this.#fetching;
  }

  /** A line for each set that differs from the one before, and for the first after a failure. */
  #tell(keys: PublicJwk[], leftOut: string[]): void {
    const kids = truncate(keys.map(({ kid }) => kid ?? 'without kid').join(', '));
    const named = leftOut.slice(0, maxNamed).map(truncate);
    const fields = { host: this.#endpoint.host, kids, ...(named.length === 0 ? {} : { leftOut: named }) };
    const text = JSON.stringify(fields);
    if (text === this.#told) return;
    this.#told = text;
    this.#log[named.length === 0 ? 'info' : 'warn'](fields, 'jwks read');
  }
}

interface Endpoint {
  url: string;
  host: string;
  headers: Record<string, string>;
}

/** User and password of a URL go into a header (RFC 7617): fetch takes no URL that holds them, and would print them. */
function endpointOf(text: string): Endpoint {
  const url = new URL(text);
  const headers: Record<string, string> = { accept: 'application/jwk-set+json, application/json' };
  if (url.username !== '' || url.password !== '') {
    const credentials = `${percentDecoded(url.username)}:${percentDecoded(url.password)}`;
    headers.authorization = `Basic ${Buffer.from(credentials).toString('base64')}`;
  }
  url.username = '';
  url.password = '';
  return { url: url.href, host: url.host, headers };
}

interface Keys {
  keys: PublicJwk[];
  /** A sentence for each key that was meant for us and cannot be used. */
  leftOut: string[];
}

async function fetchKeys({ url, headers }: Endpoint, timeoutMs: number): Promise<Keys> {
  const response = await fetch(url, { redirect: 'manual', signal: AbortSignal.timeout(timeoutMs), headers });
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new Error(statusProblem(response, url));
  }
  const body = await readBounded(response);
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch (error) {
    throw new Error(`the endpoint did not answer JSON: ${(error as Error).message}`);
  }
  const list = (json as { keys?: unknown } | null)?.keys;
  if (!Array.isArray(list)) throw new Error('the endpoint did not answer a JSON Web Key Set (RFC 7517 section 5)');
  if (list.length > maxKeys) throw new Error(`the endpoint answered ${list.length} keys, more than ${maxKeys}`);
  return readKeys(list);
}

function statusProblem({ status, headers }: Response, url: string): string {
  const location = headers.get('location');
  if (location === null || !URL.canParse(location, url)) return `the endpoint answered HTTP ${status}`;
  // Without query and password, which may be secrets.
  const { origin, pathname } = new URL(location, url);
  return (
    `the endpoint redirects (HTTP ${status}) to ${truncate(origin + pathname)}, which is not followed: ` +
    'let GATEWAY_JWT_JWKS_URL name the place of the keys itself'
  );
}

/** As text without a byte order mark. */
async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > maxBodyBytes) throw new Error(`the endpoint answered more than ${maxBodyBytes} bytes`);
    chunks.push(chunk);
  }
  return new TextDecoder().decode(Buffer.concat(chunks));
}

/** A key that cannot be used must not cost the others, unless there are no others: then the set before is the better one. */
function readKeys(list: unknown[]): Keys {
  const keys = new Map<string, PublicJwk>();
  const leftOut: string[] = [];
  for (const [index, value] of list.entries()) {
    const { kid, use } = Object(value);
    if (use === 'enc') continue;
    const name = `key ${index + 1}${typeof kid === 'string' ? `, kid ${JSON.stringify(truncate(kid))},` : ''}`;
    try {
      const key = readSetKey(value);
      const text = JSON.stringify(key);
      if (keys.has(text)) leftOut.push(`${name} is there twice`);
      keys.set(text, key);
    } catch (error) {
      leftOut.push(`${name} ${(error as TypeError).message}`);
    }
  }
  if (keys.size === 0 && leftOut.length > 0) {
    throw new Error(`none of the ${list.length} keys can be used: ${leftOut.slice(0, maxNamed).join('; ')}`);
  }
  return { keys: [...keys.values()], leftOut };
}

/** What OpenSSL says of a certificate that nobody here vouches for. */
const untrusted = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);
const maxCauses = 4;

/** What went wrong, down to the first cause: fetch itself says only that it failed. */
function reasonOf(error: unknown, timeoutMs: number): string {
  if ((error as Error).name === 'TimeoutError') return `the endpoint gave no whole answer within ${timeoutMs} ms`;
  const texts: string[] = [];
  let hint = '';
  for (let each = error; each instanceof Error && texts.length < maxCauses; each = deeper(each)) {
    const { message, code = '' } = each as NodeJS.ErrnoException;
    texts.push(message.includes(code) ? message.trim() : `${message.trim()} (${code})`.trim());
    if (untrusted.has(code)) hint = '; NODE_EXTRA_CA_CERTS names a file with the certificate of a private CA';
  }
  return texts.join(': ') + hint;
}

/** A host with several addresses fails with one error for each. */
function deeper(error: Error): unknown {
  return error.cause ?? (error instanceof AggregateError ? error.errors[0] : undefined);
}
