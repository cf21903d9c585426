/**
 * How JSON says bytes: `{"$bytes": "<base64>"}` (docs/protocol.md). Pure functions; they run in browsers.
 *
 * The rule is about objects with exactly one key. `$bytes` with base64 text (RFC 4648 section 4, padded, canonical) is bytes.
 * A map that really has the key `$bytes` gets one more `$` in JSON, and so does one with the key `$$bytes`, and so on.
 */

/** Returns undefined if the text is not canonical base64. */
export type DecodeBase64 = (text: string) => Uint8Array | undefined;

const bytesKey = '$bytes';
const escapedKey = /^\$+bytes$/;

/** The key of a map in JSON. `size`: how many keys the map has. */
export function jsonKey(key: string, size: number): string {
  return size === 1 && escapedKey.test(key) ? `$${key}` : key;
}

/** Replaces what stands for bytes in a parsed JSON value, in place as far as possible. Returns the value to use. */
export function withBytes(value: unknown, decode: DecodeBase64): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const container = value as Record<string, unknown>;
  const keys = Object.keys(container);
  const [key] = keys;
  if (key !== undefined && jsonKey(key, keys.length) !== key && !Array.isArray(value)) {
    const inner = container[key];
    if (key !== bytesKey) return { [key.slice(1)]: withBytes(inner, decode) };
    const bytes = typeof inner === 'string' ? decode(inner) : undefined;
    if (bytes !== undefined) return bytes;
  }
  for (const name of keys) {
    const before = container[name];
    const after = withBytes(before, decode);
    // An own `__proto__`, as JSON.parse makes it, stays one: it is assigned only where it is there already.
    if (after !== before) container[name] = after;
  }
  return value;
}
