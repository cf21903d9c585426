/**
 * The shell commands of README.md and docs/ as they are written there, so that what an operator pastes is what is tested.
 *
 * Owns only how they are found. Runs nothing.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { repository } from './stack.ts';

/** The one block of shell commands on the page in which `part` stands. */
export async function documented(page: string, part: string): Promise<string> {
  const text = await readFile(join(repository, page), 'utf8');
  const blocks = [...text.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block = '']) => block);
  const [found, another] = blocks.filter((block) => block.includes(part));
  if (found === undefined || another !== undefined) throw new Error(`${page} has no single block with "${part}"`);
  return found;
}
