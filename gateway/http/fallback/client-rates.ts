/**
 * A rate for clients whose requests have no connection in common: of each user of this node, and of each address of clients
 * without a token.
 */
import QuickLRU from 'quick-lru';
import { TokenBucket } from '../../connection/limits.ts';
import { addressBlock } from '../client-address.ts';

/** Clients whose rate is remembered: of so many at least, of twice as many at most. Forgotten ones start anew. */
const maxRemembered = 10_000;

export class ClientRates {
  readonly #rate: number;
  readonly #burst: number;
  readonly #buckets = new QuickLRU<string, TokenBucket>({ maxSize: maxRemembered });

  /** `rate` a second, 0 is no limit; `burst` at once. */
  constructor(rate: number, burst: number) {
    this.#rate = rate;
    this.#burst = burst;
  }

  /** Counts a request and returns 0, or returns the ms until this client may send one. `user`: null without a token. */
  take(user: string | null, address: string): number {
    if (this.#rate === 0) return 0;
    const now = performance.now();
    const client = user === null ? `address ${addressBlock(address)}` : `user ${user}`;
    const bucket = this.#buckets.get(client) ?? new TokenBucket(this.#rate, this.#burst, now);
    this.#buckets.set(client, bucket);
    return bucket.take(now);
  }
}
