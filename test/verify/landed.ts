/**
 * The last version, built from the history of the repository: during every deploy its nodes run beside those of this one.
 *
 * Owns its commit and the folder of its build. It uses the dependencies of this checkout.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { onCleanup } from '../support/cleanup.ts';
import { succeeds } from '../support/command.ts';

/** The commit of the last release. It moves on with each release. */
export const landedCommit = '5f3452e';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../../', import.meta.url));
const askTimeoutMs = 10_000;
const buildTimeoutMs = 120_000;

/** False in a clone without history, and in a copy without git. */
export function isLandedHere(): Promise<boolean> {
  return succeeds('git', ['-C', root, 'cat-file', '-e', `${landedCommit}^{commit}`], askTimeoutMs);
}

/** Builds it as `npm run build` did there. Returns the program, as for spawnNode. */
export async function buildLanded(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'roomcast-landed-'));
  onCleanup(() => rmSync(folder, { recursive: true, force: true }));
  const archive = join(folder, 'landed.tar');
  await run('git', ['-C', root, 'archive', '--output', archive, landedCommit]);
  await run('tar', ['-x', '-f', archive, '-C', folder]);
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  await run('npm', ['run', 'build'], { cwd: folder, timeout: buildTimeoutMs, killSignal: 'SIGKILL' });
  return join(folder, 'dist/gateway/main.js');
}
