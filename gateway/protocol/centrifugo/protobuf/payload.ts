/**
 * Payloads: bytes in Protobuf, JSON text everywhere else. Pure functions.
 *
 * Bytes that are JSON text stay as they are. Others are the bytes of a binary message, `{"$bytes":…}` in JSON (shared/bytes.ts).
 */
import { isUtf8 } from 'node:buffer';
import { withBytes } from '../../../../shared/bytes.ts';

/** What may be an object with the one key `$bytes`, perhaps written with escapes. */
const maybeBytes = /^\{\s*"(?:\$|\\u)/;

/** `json`: valid JSON text. */
export function bytesOf(json: string): string | Uint8Array {
  if (!maybeBytes.test(json)) return json;
  const value: unknown = JSON.parse(json);
  const bytes = Object.keys(value as object).length === 1 ? withBytes(value, decodeBase64) : value;
  return bytes instanceof Uint8Array ? bytes : json;
}

function decodeBase64(text: string): Uint8Array | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

export function jsonOf(bytes: Buffer): string {
  if (isUtf8(bytes)) {
    const text = bytes.toString();
    if (isJson(text)) return text;
  }
  return `{"$bytes":"${bytes.toString('base64')}"}`;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
