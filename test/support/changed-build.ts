/**
 * Copies of the built program with deliberate faults, so that a test can show that it would notice them.
 *
 * Only the copy is changed; the program itself has no switch for a fault. A place that is not found, or found twice, is an
 * error: the program has changed, and the change here must follow.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onCleanup } from './cleanup.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** A place in a file of the built folder, and its replacement. */
export interface Change {
  file: string;
  place: string;
  change: string;
}

/** Changes files of dist/gateway. Returns the program, as for spawnNode. It is deleted with the test. */
export function changedBuild(...changes: Change[]): string {
  return join(changedCopy('dist/gateway', changes), 'main.js');
}

/** Changes files of dist/shared/client. Returns what `roomcast/client` is there. It is deleted with the test. */
export function changedLibrary(...changes: Change[]): string {
  return join(changedCopy('dist/shared/client', changes), 'client.js');
}

function changedCopy(built: string, changes: readonly Change[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'roomcast-changed-'));
  onCleanup(() => rmSync(folder, { recursive: true, force: true }));
  cpSync(join(root, 'dist'), join(folder, 'dist'), { recursive: true });
  // Source maps point to these.
  cpSync(join(root, 'shared'), join(folder, 'shared'), { recursive: true });
  cpSync(join(root, 'package.json'), join(folder, 'package.json'));
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  for (const change of changes) apply(folder, built, change);
  return join(folder, built);
}

function apply(folder: string, built: string, { file, place, change }: Change): void {
  const path = join(folder, built, file);
  const [before, after, ...more] = readFileSync(path, 'utf8').split(place);
  if (after === undefined || more.length > 0) {
    throw new Error(`${built}/${file} must hold this once, to be changed there: ${place}`);
  }
  writeFileSync(path, `${before}${change}${after}`);
}
