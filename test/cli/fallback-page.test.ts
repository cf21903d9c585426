/**
 * docs/http-fallback.md: every shell command of the page runs as it is written there, and what comes has the fields that the
 * page shows. Only the ports are others: free ones.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { folder } from '../integration/files.ts';
import { onCleanup } from '../support/cleanup.ts';
import { endWithThisProcess } from '../support/lifeline.ts';
import { until } from '../support/until.ts';

const repository = fileURLToPath(new URL('../../', import.meta.url));
const page = readFileSync(join(repository, 'docs/http-fallback.md'), 'utf8');
const blocks = (language: string) =>
  [...page.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map(([, text = '']) => text);

interface Shell {
  process: ChildProcess;
  /** Its standard output. */
  text: string;
  errors: string;
}

/** Runs a script in the folder of the page, in a process group of its own. */
function run(directory: string, script: string, env: NodeJS.ProcessEnv = {}): Shell {
  const child = spawn('bash', ['-euo', 'pipefail', '-c', script], {
    ...{ cwd: directory, detached: true, stdio: ['ignore', 'pipe', 'pipe'] },
    env: { PATH: process.env.PATH, ...env },
  });
  endWithThisProcess(child);
  onCleanup(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'close');
    process.kill(-(child.pid ?? Number.NaN), 'SIGKILL');
    await ended;
  });
  const shell: Shell = { process: child, text: '', errors: '' };
  child.stdout?.on('data', (chunk) => {
    shell.text += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    shell.errors += chunk;
  });
  return shell;
}

test('the stream, the position, the poll and the publish of the page work together', { timeout: 60_000 }, async () => {
  const [start = '', variables = '', events = '', position = '', poll = '', publish = '', ...others] = blocks('sh');
  expect(others).toEqual([]);
  const directory = folder();
  for (const name of ['package.json', 'dist', 'gateway', 'node_modules']) {
    symlinkSync(join(repository, name), join(directory, name));
  }
  // Without the build before the start, which has been done.
  const node = run(directory, start, {
    ...{ npm_config_ignore_scripts: 'true', GATEWAY_PORT: '0', GATEWAY_ADMIN_PORT: '0' },
  });
  const portOf = () => /"port":(\d+)/.exec(node.text)?.[1] ?? '';
  const port = await until(portOf, 15_000, 'the node of the page listens').catch((error: Error) => {
    throw new Error(`${error.message}\n${node.text}\n${node.errors}`);
  });
  const command = start.replace(/.*npm start\n$/m, '');
  expect(command).not.toBe(start);
  // `npx` would look for the package of this folder; what it would run is the same program.
  const setup = variables.replace('npx roomcast', 'node gateway/cli/roomcast.mjs');
  expect(setup).not.toBe(variables);
  const shell = (...parts: string[]) => run(directory, [setup, ...parts].join('\n').replaceAll('8080', port));

  const stream = shell(events);
  await until(() => stream.text.includes('event: ok'), 15_000, 'the stream begins');
  const waiting = shell(position, 'echo "at $POSITION"', poll);
  await until(() => /at \S+:\d+\n/.test(waiting.text), 15_000, 'the position is known');
  const published = shell(publish);
  await until(() => published.text.includes('"offset":1'), 15_000, 'the publish is answered');
  await until(() => waiting.process.exitCode === 0, 15_000, 'the poll is answered');
  const [shown = ''] = blocks('json');
  const answer = JSON.parse(waiting.text.slice(waiting.text.indexOf('{"epoch"')));
  const example = JSON.parse(shown);
  expect(Object.keys(answer)).toEqual(Object.keys(example));
  expect(answer).toMatchObject({ offset: 1, recovered: true, messages: [{ data: example.messages[0].data }] });
  expect(Object.keys(answer.messages[0])).toEqual(expect.arrayContaining(Object.keys(example.messages[0])));
  await until(() => stream.text.includes('event: message'), 15_000, 'the stream has it too');
  expect(stream.text).toMatch(/^retry: \d+\nid: \S+:0\nevent: ok\ndata: \{.*\}\n\nid: \S+:1\nevent: message\ndata: /m);
});
