/**
 * Where a field of a message lies: in a header, or in the JSON of its body. Pure functions.
 *
 * A path is a small part of JSONPath (RFC 9535 section 2.3.5.1, singular queries): `$`, then names, as `.name` or `["name"]`. What
 * it leads to is cut out of the text and not written again: numbers keep all of their digits.
 */
import { scanObject } from '../protocol/roomcast/object-text.ts';

/** `path`: the names behind `$`; empty for the whole body. */
export type Place = { header: string } | { path: readonly string[] };

/** Names of one path. */
const maxNames = 16;
const maxHeaderCharacters = 200;
const form = 'must be {"header": "name"} or {"path": "$.name"}';

/** Reads what GATEWAY_INPUTS_FILE says. Throws a TypeError; its message continues the name of the field. */
export function readPlace(value: unknown): Place {
  if (typeof value !== 'object' || value === null || Object.keys(value).length !== 1) throw new TypeError(form);
  if ('path' in value) return { path: readPath(value.path) };
  const header = 'header' in value ? value.header : undefined;
  if (typeof header !== 'string' || header === '' || header.length > maxHeaderCharacters) throw new TypeError(form);
  return { header };
}

/** Throws a TypeError like `readPlace`. */
export function readPath(text: unknown): string[] {
  const names: string[] = [];
  if (typeof text !== 'string' || !text.startsWith('$')) throw new TypeError(pathForm);
  // The last alternative is what is not understood; without it the rest would be skipped.
  for (const [, dotted, double, single, wrong] of text.slice(1).matchAll(segment)) {
    const name = dotted ?? double ?? single;
    if (wrong !== undefined || name === undefined) throw new TypeError(pathForm);
    names.push(name);
  }
  if (names.length > maxNames) throw new TypeError(`has a path of more than ${maxNames} names`);
  return names;
}

const segment = /\.([\p{L}_][\p{L}\p{N}_-]*)|\["([^"\\]+)"\]|\['([^'\\]+)'\]|(.+)/gsu;
const pathForm = 'must have a path like "$.order.id" or "$[\'two words\']": names only, no index and no wildcard';

/** The JSON text at the path; undefined if nothing is there. `text`: JSON, not nested too deep. */
export function textAt(text: string, path: readonly string[]): string | undefined {
  let found: string | undefined = text;
  for (const name of path) {
    if (found === undefined || !found.startsWith('{')) return undefined;
    found = scanObject(found, name)?.data;
  }
  return found;
}

/** What a string or a number says, as text. Undefined for anything else. `text`: JSON. */
export function wordOf(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  if (text.startsWith('"')) return JSON.parse(text) as string;
  return /^-?\d/.test(text) ? text : undefined;
}
