/** docs/auth-callback.md: its backend and its shell commands work as they are written, one after the other. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { folder } from '../integration/files.ts';
import { onCleanup } from '../support/cleanup.ts';
import { freePort } from '../support/free-port.ts';
import { endWithThisProcess } from '../support/lifeline.ts';
import { within } from '../support/until.ts';

const page = readFileSync(new URL('../../docs/auth-callback.md', import.meta.url), 'utf8');
const command = fileURLToPath(new URL('../../gateway/cli/roomcast.mjs', import.meta.url));
const blocks = (language: string) =>
  [...page.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map(([, block = '']) => block);

test('the backend of the page lets Alice publish, and not Bob', async () => {
  const place = folder();
  const [port, adminPort, backendPort] = [await freePort(), await freePort(), await freePort()];
  const onPort = (text: string) => text.replaceAll('8090', `${backendPort}`);
  writeFileSync(join(place, 'backend.mjs'), onPort(blocks('js').join('\n')));
  // What npx does, without the time that npm takes.
  writeFileSync(join(place, 'npx'), `#!/bin/sh\nshift\nexec "${command}" "$@"\n`);
  chmodSync(join(place, 'npx'), 0o755);
  const shell = spawn('bash', ['-uc', onPort(blocks('sh').join('\n'))], {
    cwd: place,
    env: {
      PATH: `${place}:${process.env.PATH}`,
      GATEWAY_PORT: `${port}`,
      GATEWAY_ADMIN_PORT: `${adminPort}`,
      ROOMCAST_URL: `ws://127.0.0.1:${port}/ws`,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  endWithThisProcess(shell);
  onCleanup(() => process.kill(-(shell.pid ?? Number.NaN), 'SIGKILL'));
  let output = '';
  for (const stream of [shell.stdout, shell.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  const [code] = await within(once(shell, 'exit'), 40_000, 'the last command').catch((error) => {
    throw new Error(`${error}:\n${output}`);
  });
  expect(code, output).toBe(1);
  expect(output).toContain('publish alice doc:2 true');
  expect(output).toContain('publish bob doc:2 false');
  expect(output).toContain('forbidden');
}, 60_000);
