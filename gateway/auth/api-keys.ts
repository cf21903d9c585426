/**
 * The keys of the HTTP API: reads them from the setting, and tells whether a request has one of them.
 *
 * A key is compared with all of them, each filled up to the same length, so a comparison takes the same time however much of
 * it is right, and however long the right ones are. A bad key is a TypeError with a sentence for the operator, without the key.
 */
import { timingSafeEqual } from 'node:crypto';

/** A key is guessed over the network only, never offline as the secret of tokens: 16 characters are enough if random. */
const fewestCharacters = 16;
const mostCharacters = 512;
const mostKeys = 32;
/** What a header can hold, without white space; a comma separates keys. */
const grammar = /^[\x21-\x2b\x2d-\x7e]+$/;
/** `apikey` is what backend libraries of Centrifugo may say. */
const bearer = /^(?:bearer|apikey) +([^ ]+)$/i;

export class ApiKeys {
  readonly #keys: readonly Buffer[];
  readonly #asked = Buffer.alloc(mostCharacters);

  constructor(keys: readonly string[]) {
    this.#keys = keys.map((key) => Buffer.alloc(mostCharacters, 0).fill(key, 0, key.length, 'latin1'));
  }

  /** A request with these headers has one of the keys: `authorization: Bearer …` or `x-api-key: …`. */
  admits(headers: ReadonlyMap<string, readonly string[]>): boolean {
    const sent = bearer.exec(headers.get('authorization')?.[0] ?? '')?.[1];
    if (sent !== undefined && this.has(sent)) return true;
    const other = headers.get('x-api-key')?.[0];
    return other !== undefined && this.has(other);
  }

  has(key: string): boolean {
    if (!grammar.test(key) || key.length > mostCharacters) return false;
    this.#asked.fill(0, this.#asked.write(key, 'latin1'));
    let found = false;
    for (const each of this.#keys) if (timingSafeEqual(each, this.#asked)) found = true;
    return found;
  }
}

/** Reads the comma list of the setting. Several keys let a new one be taken into use before the old one goes. */
export function readApiKeys(text: string): ApiKeys {
  const keys = text
    .split(',')
    .map((key) => key.trim())
    .filter(Boolean);
  if (keys.length === 0) throw new TypeError('must name a key');
  if (keys.length > mostKeys) throw new TypeError(`must have at most ${mostKeys} keys`);
  if (keys.some((key) => !grammar.test(key))) {
    throw new TypeError('has a key with white space, or with a character that is not ASCII; try: openssl rand -hex 32');
  }
  if (keys.some(({ length }) => length < fewestCharacters || length > mostCharacters)) {
    throw new TypeError(
      `needs keys of ${fewestCharacters} to ${mostCharacters} characters each; try: openssl rand -hex 32`,
    );
  }
  return new ApiKeys(keys);
}
