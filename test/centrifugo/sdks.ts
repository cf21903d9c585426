/**
 * The SDKs of Centrifugo that are tested, each of one version: how its program starts. Those for Python and Go come from their
 * registries into a folder that is removed afterwards.
 */
import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { onCleanup } from '../support/cleanup.ts';
import { succeeds } from '../support/command.ts';

const run = promisify(execFile);
const pythonSdk = 'centrifuge-python==0.7.0';
const goSdk = 'github.com/centrifugal/centrifuge-go@v0.12.1';
const installMs = 240_000;
const programs = (name: string) => fileURLToPath(new URL(`sdk/${name}`, import.meta.url));

/** The command of its program, or why it cannot be tested here. */
export type Sdk = { command: readonly string[] } | { missing: string };

export const sdks: Record<string, () => Promise<Sdk>> = {
  'centrifuge-js': async () => ({ command: [process.execPath, programs('client.mjs')] }),
  'centrifuge-python': preparePython,
  'centrifuge-go': prepareGo,
};

async function preparePython(): Promise<Sdk> {
  const installed = await python(pythonSdk);
  return 'missing' in installed ? installed : { command: [installed.python, programs('client.py')] };
}

/** A Python of its own with this package. */
export async function python(name: string): Promise<{ python: string } | { missing: string }> {
  if (!(await succeeds('python3', ['-c', 'import ensurepip, venv'], 10_000))) {
    return { missing: 'python3 with venv is not on this machine' };
  }
  const folder = await temporaryFolder();
  await run('python3', ['-m', 'venv', folder], { timeout: installMs });
  const install = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', name];
  const python = join(folder, 'bin', 'python');
  return (await succeeds(python, install, installMs)) ? { python } : { missing: `pip cannot install ${name}` };
}

async function prepareGo(): Promise<Sdk> {
  if (!(await succeeds('go', ['version'], 10_000))) return { missing: 'go is not on this machine' };
  const folder = await temporaryFolder();
  const inFolder = { cwd: folder, timeout: installMs };
  await writeFile(join(folder, 'go.mod'), 'module member\n\ngo 1.21\n');
  await copyFile(programs('client.go'), join(folder, 'main.go'));
  const fetched = await run('go', ['get', goSdk], inFolder).then(
    () => true,
    () => false,
  );
  if (!fetched) return { missing: `go cannot get ${goSdk}` };
  await run('go', ['build', '-o', 'member', '.'], inFolder);
  return { command: [join(folder, 'member')] };
}

async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'roomcast-sdk-'));
  onCleanup(() => rm(folder, { recursive: true }));
  return folder;
}
