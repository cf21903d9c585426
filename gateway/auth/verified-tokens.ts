/**
 * Tokens that were verified lately, so that a client that comes back costs no second verification.
 *
 * A token is known by its SHA-256; it is kept nowhere itself. It is known until it expires, and until the keys change. Whether
 * its user is blocked is asked each time (gateway/connection/session.ts). It knows neither keys nor claims.
 */
import { createHash } from 'node:crypto';
import QuickLRU from 'quick-lru';

/** So many at least, twice as many at most: 150 to 400 bytes each. */
const maxRemembered = 10_000;
/** Longer tokens hold long claims, and are verified each time. */
const maxRememberedCharacters = 1_500;
export class VerifiedTokens<Verified extends { expiresAt: number }> {
  readonly #verify: (token: string) => Verified | Promise<Verified>;
  readonly #keys: () => unknown;
  readonly #remembered = new QuickLRU<string, Verified>({ maxSize: maxRemembered });
  /** By hash: many clients may come at once with one token. */
  readonly #underWay = new Map<string, Promise<Verified>>();
  /** By which those that are remembered were verified. */
  #rememberedKeys: unknown;

  /** `verify` throws or rejects if the token is bad. `keys`: another value each time the keys have changed. */
  constructor(verify: (token: string) => Verified | Promise<Verified>, keys: () => unknown) {
    this.#verify = verify;
    this.#keys = keys;
  }

  /** Throws or rejects as `verify` does. */
  of(token: string): Verified | Promise<Verified> {
    if (token.length > maxRememberedCharacters) return this.#verify(token);
    const keys = this.#keys();
    if (keys !== this.#rememberedKeys) {
      this.#remembered.clear();
      this.#rememberedKeys = keys;
    }
    const hash = createHash('sha256').update(token).digest('binary');
    const known = this.#remembered.get(hash);
    if (known !== undefined && Date.now() < known.expiresAt) return known;
    return this.#underWay.get(hash) ?? this.#verifyNew(token, hash, keys);
  }

  #verifyNew(token: string, hash: string, keys: unknown): Verified | Promise<Verified> {
    const remember = (verified: Verified) => {
      // Keys that came meanwhile may not hold the one that has verified it.
      if (keys === this.#keys()) this.#remembered.set(hash, verified);
      return verified;
    };
    const result = this.#verify(token);
    if (!(result instanceof Promise)) return remember(result);
    const underWay = result.then(remember).finally(() => this.#underWay.delete(hash));
    this.#underWay.set(hash, underWay);
    return underWay;
  }
}
