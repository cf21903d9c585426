/**
 * The issuer's JSON Web Key Set (RFC 7517 section 5), fetched over HTTP and kept.
 *
 * Owns when a fetch happens. A key set once read stays good through any outage of the endpoint; a key id that is not in
 * it causes at most one fetch per cooldown, shared by all who wait; a fetch is bounded in time and size and follows no
 * redirect. It knows nothing of tokens: gateway/auth.ts asks it for the set and says when a key was missing.
 */
import type { Logger } from './log.ts';

export interface JwksTimes {
  /** Longest time of one fetch. */
  fetchTimeoutMs: number;
  /** Least time between two fetches that unknown key ids ask for. */
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

export interface JsonWebKeySet {
  keys: { kty?: string; kid?: string; [field: string]: unknown }[];
}

export class Jwks {
  readonly #url: string;
  readonly #log: Logger;
  readonly #times: JwksTimes;
  readonly #timer: NodeJS.Timeout;
  #set: JsonWebKeySet | undefined;
  #fetching: Promise<void> | undefined;
  #lastFetchAt = Number.NEGATIVE_INFINITY;

  constructor(url: string, log: Logger, times: JwksTimes = jwksTimes) {
    this.#url = url;
    this.#log = log;
    this.#times = times;
    this.#timer = setInterval(() => void this.#fetch(), times.refreshMs).unref();
    void this.#fetch();
  }

  /** The newest set, or undefined when none could be read yet. Waits for a fetch only in that case. */
  async current(): Promise<JsonWebKeySet | undefined> {
    if (this.#set === undefined) await this.#fetchUnlessCooling(this.#times.firstCooldownMs);
    return this.#set;
  }

  /** A key id was not in the set: fetches it again, unless that was done within the cooldown, and returns the newest. */
  async renewed(): Promise<JsonWebKeySet | undefined> {
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
    this.#fetching ??= fetchSet(this.#url, this.#times.fetchTimeoutMs)
      .then((set) => {
        this.#set = set;
      })
      .catch((error: Error) => {
        const known = this.#set?.keys.length ?? 0;
        this.#log.warn(
          { host: new URL(this.#url).host, error: error.message, known },
          'jwks fetch failed; known keys stay in use',
        );
      })
      .finally(() => {
        this.#fetching = undefined;
        this.#lastFetchAt = performance.now();
      });
    return this.#fetching;
  }
}

async function fetchSet(url: string, timeoutMs: number): Promise<JsonWebKeySet> {
  const response = await fetch(url, {
    redirect: 'error',
    signal: AbortSignal.timeout(timeoutMs),
    headers: { accept: 'application/jwk-set+json, application/json' },
  });
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new Error(`the endpoint answered HTTP ${response.status}`);
  }
  const set: unknown = JSON.parse(await readBounded(response));
  if (!isKeySet(set)) throw new Error(`the endpoint did not answer a JSON Web Key Set of at most ${maxKeys} keys`);
  return set;
}

async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > maxBodyBytes) throw new Error(`the endpoint answered more than ${maxBodyBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function isKeySet(value: unknown): value is JsonWebKeySet {
  const keys = (value as Partial<JsonWebKeySet> | null)?.keys;
  return Array.isArray(keys) && keys.length <= maxKeys && keys.every((key) => typeof key === 'object' && key !== null);
}
