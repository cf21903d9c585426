/** The body of a call: one JSON object, whose `data` is kept as it was sent. A pure function. */
import { maxDepth, scanObject } from '../../protocol/roomcast/object-text.ts';
import { Problem } from '../problem.ts';

export interface Body {
  fields: Record<string, unknown>;
  /** The text of `data`, byte for byte as it was sent; undefined without one. */
  data: string | undefined;
}

/** Throws a Problem. */
export function readBody(text: string): Body {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Problem('bad_request', 'The body is not JSON; send one JSON object.');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Problem('bad_request', 'The body is not a JSON object; send one, in braces.');
  }
  const fields = value as Record<string, unknown>;
  const scan = scanObject(text);
  if (scan === undefined) throw new Problem('bad_request', `The body is nested more than ${maxDepth} levels deep.`);
  if (scan.keys !== Object.keys(fields).length) {
    throw new Problem('bad_request', 'The body has a top-level key twice; send each once.');
  }
  return { fields, data: scan.data };
}
