/**
 * Programs of the machine that tests need: checks whether one runs, and installs one where that is allowed.
 *
 * Owns the time bounds of these commands. It never asks for a password, and prints the command before it installs.
 * Long-lived processes (Redis, HAProxy, a node) have separate files.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';

const run = promisify(execFile);
const installTimeoutMs = 300_000;

/** True when the command exists and exits with 0 in time. */
export async function succeeds(command: string, args: string[], timeoutMs: number): Promise<boolean> {
  return run(command, args, { timeout: timeoutMs, killSignal: 'SIGKILL' }).then(
    () => true,
    () => false,
  );
}

/** Installs a package by apt as root on Debian or Ubuntu; false where that is not possible or did not work. */
export async function installPackage(name: string): Promise<boolean> {
  if (process.getuid?.() !== 0 || !existsSync('/etc/debian_version')) return false;
  const command = `apt-get update && apt-get install -y --no-install-recommends ${name}`;
  process.stdout.write(`installing ${name}: ${command}\n`);
  try {
    await run('sh', ['-c', command], {
      timeout: installTimeoutMs,
      killSignal: 'SIGKILL',
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
    return true;
  } catch (error) {
    process.stderr.write(`installing ${name} failed: ${error instanceof Error ? error.message : String(error)}\n`);
    return false;
  }
}
