/**
 * `npm start` as an installation for production has it: the development dependencies, which hold the compiler, are left out.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { onCleanup } from '../support/cleanup.ts';
import { testSecret } from '../support/token.ts';
import { until, within } from '../support/until.ts';
import { folder } from './files.ts';

const project = fileURLToPath(new URL('../..', import.meta.url));
const deadlineMs = 20_000;

/** A copy of the project without its dependencies; what was built comes by a link, and finds them where it really is. */
function installation({ built }: { built: boolean }): string {
  const path = folder();
  cpSync(join(project, 'package.json'), join(path, 'package.json'));
  mkdirSync(join(path, 'gateway'));
  cpSync(join(project, 'gateway/cli'), join(path, 'gateway/cli'), { recursive: true });
  if (built) symlinkSync(join(project, 'dist'), join(path, 'dist'));
  return path;
}

/** Starts a script of package.json as in production. */
function npm(cwd: string, script: string) {
  const ports = { GATEWAY_HOST: '127.0.0.1', GATEWAY_PORT: '0', GATEWAY_ADMIN_PORT: '0' };
  // A group of its own: npm runs a shell, and that the program.
  const child = spawn('npm', script.split(' '), {
    cwd,
    env: { PATH: process.env.PATH, NODE_ENV: 'production', GATEWAY_JWT_SECRET: testSecret, ...ports },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const closed = once(child, 'close').then(([code]: number[]) => code);
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      printed += chunk;
    });
  }
  onCleanup(async () => {
    if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    await closed;
  });
  return { printed: () => printed, ended: () => within(closed, deadlineMs, `npm ${script} ends`) };
}

test.each(['start', 'run build'])('without the compiler `npm %s` says what to install', async (script) => {
  const { ended, printed } = npm(installation({ built: false }), script);
  expect(await ended()).toBe(1);
  expect(printed()).toContain('TypeScript is not installed, and the build needs it');
  expect(printed()).toContain('npm ci --include=dev');
});

test('without the compiler `npm start` starts what was built before', async () => {
  const { printed } = npm(installation({ built: true }), 'start');
  await until(() => /"msg":"listening"/.test(printed()), deadlineMs, 'the node listens');
});
