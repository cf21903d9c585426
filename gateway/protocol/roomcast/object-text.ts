/**
 * The text of a JSON object: cuts out the value of `data`, without serializing it again, so that members get it byte for
 * byte as it was sent. Pure functions, for frames and for the bodies of the HTTP API.
 */

/** Nested objects and arrays, including the object itself. */
export const maxDepth = 64;

export interface Scan {
  /** Number of top-level keys in the text, duplicates included. */
  keys: number;
  /** The JSON text of the value of the key. */
  data: string | undefined;
}

/** Scans the text of an object, which must be valid JSON, for `key`. Returns undefined if it is nested too deep. */
export function scanObject(text: string, key = 'data'): Scan | undefined {
  let depth = 0;
  let keys = 0;
  let keyNext = false;
  let dataNext = false;
  let dataFrom = -1;
  let data: string | undefined;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case quote: {
        const end = endOfString(text, at);
        if (keyNext) {
          keys++;
          keyNext = false;
          dataNext = isKey(text.slice(at, end + 1), key);
        }
        at = end;
        break;
      }
      case openBrace:
      case openBracket:
        depth++;
        if (depth > maxDepth) return undefined;
        if (depth === 1) keyNext = true;
        break;
      case colon:
        if (depth === 1 && dataNext) dataFrom = at + 1;
        break;
      case comma:
      case closeBrace:
      case closeBracket:
        if (depth === 1) {
          if (dataFrom !== -1) data = text.slice(dataFrom, at).trim();
          dataFrom = -1;
          dataNext = false;
          keyNext = true;
        }
        if (text.charCodeAt(at) !== comma) depth--;
        break;
    }
  }
  return { keys, data };
}

const quote = 0x22;
const comma = 0x2c;
const colon = 0x3a;
const openBracket = 0x5b;
const backslash = 0x5c;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;

/** A key may contain escapes: "\u0064ata" is data. */
function isKey(token: string, key: string): boolean {
  if (token.includes('\\')) return JSON.parse(token) === key;
  return token.length === key.length + 2 && token.startsWith(key, 1);
}

/** Index of the closing quote of the string that begins at `from`. */
export function endOfString(text: string, from: number): number {
  let at = text.indexOf('"', from + 1);
  while (isEscaped(text, at)) at = text.indexOf('"', at + 1);
  return at;
}

function isEscaped(text: string, at: number): boolean {
  let backslashes = 0;
  while (text.charCodeAt(at - 1 - backslashes) === backslash) backslashes++;
  return backslashes % 2 === 1;
}
