/** Lua scripts: their text, and the digest by which EVALSHA runs it. The text is sent once for each connection. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

export interface Script {
  text: string;
  sha: string;
}

/** Concatenates files of this folder. */
export function readScript(...files: string[]): Script {
  const text = files.map((file) => readFileSync(new URL(`./${file}`, import.meta.url), 'utf8')).join('');
  return { text, sha: createHash('sha1').update(text).digest('hex') };
}
