/**
 * Lua scripts: how their files become one text, and the name by which Redis runs it (EVALSHA), so that the text is sent
 * once a connection.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

export interface Script {
  text: string;
  sha: string;
}

/** Joins files of this folder, one behind the other. */
export function readScript(...files: string[]): Script {
  const text = files.map((file) => readFileSync(new URL(`./${file}`, import.meta.url), 'utf8')).join('');
  return { text, sha: createHash('sha1').update(text).digest('hex') };
}
