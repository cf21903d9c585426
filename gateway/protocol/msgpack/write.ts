/**
 * Writes frames as MessagePack, from their JSON text in the native dialect. Pure functions.
 *
 * JSON text may hold integers that no double holds. They become 64-bit integers with all their digits; those beyond 64 bits,
 * like fractions, become the nearest double.
 */
import { randomBytes } from 'node:crypto';
import { withBytes } from '../../../shared/bytes.ts';
import { MsgpackEncoder } from '../../../shared/msgpack.ts';
import { endOfString } from '../roomcast/object-text.ts';

/** More than any frame is nested: `info` of a token has at most 512 bytes. */
const maxDepth = 1_000;
const encoder = new MsgpackEncoder({ maxDepth });
/** Writes bigints, but numbers beyond 32 bits as doubles. */
const bigEncoder = new MsgpackEncoder({ maxDepth, useBigInt64: true });

/** The least number of digits of an integer beyond 2^53. */
const maybeLong = /\d{16}/;
const numbers = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
/** 2^64 has 20 digits. Longer ones would only cost time. */
const upTo64Bits = /^-?\d{16,20}$/;
/** The key of an object that stands for a long integer while JSON.parse sees it. Random, so that no client can send it. */
const longKey = randomBytes(16).toString('hex');
const surrogateEscape = /\\u[dD]/;
const least64 = -(2n ** 63n);
const most64 = 2n ** 64n - 1n;

/** `text`: valid JSON. Throws a SyntaxError if it is not. */
export function pack(text: string): Uint8Array {
  const isLong = maybeLong.test(text);
  const parsed: unknown = JSON.parse(isLong ? markLongIntegers(text) : text);
  const whole = surrogateEscape.test(text) ? wellFormed(parsed) : parsed;
  // In JSON text, `$` can also be written as an escape.
  const value = text.includes('$') || text.includes('\\u') ? withBytes(whole, decodeBase64) : whole;
  return isLong ? bigEncoder.encode(withIntegers(value)) : encoder.encode(value);
}

/** UTF-8 cannot hold one half of a surrogate pair: U+FFFD takes its place, in strings and in keys. */
function wellFormed(value: unknown): unknown {
  if (typeof value === 'string') return value.toWellFormed();
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(wellFormed);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key.toWellFormed(), wellFormed(inner)]));
}

function decodeBase64(text: string): Uint8Array | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

/** Puts each long integer outside of strings into an object of its own. */
function markLongIntegers(text: string): string {
  let marked = '';
  let from = 0;
  for (;;) {
    const quote = text.indexOf('"', from);
    const between = text.slice(from, quote === -1 ? text.length : quote);
    marked += between.replace(numbers, (token) => (isLongInteger(token) ? `{"${longKey}":"${token}"}` : token));
    if (quote === -1) return marked;
    from = endOfString(text, quote) + 1;
    marked += text.slice(quote, from);
  }
}

function isLongInteger(token: string): boolean {
  return upTo64Bits.test(token) && !Number.isSafeInteger(Number(token));
}

/** Makes bigints of all integers beyond 32 bits, in place as far as possible. Returns the value to use. */
function withIntegers(value: unknown): unknown {
  if (typeof value === 'number') {
    return Number.isSafeInteger(value) && Math.abs(value) > 0x7fff_ffff ? BigInt(value) : value;
  }
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  const container = value as Record<string, unknown>;
  const digits = container[longKey];
  if (typeof digits === 'string') {
    const integer = BigInt(digits);
    return integer >= least64 && integer <= most64 ? integer : Number(digits);
  }
  for (const key of Object.keys(container)) container[key] = withIntegers(container[key]);
  return value;
}
