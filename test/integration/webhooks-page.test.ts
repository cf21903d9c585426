/**
 * docs/webhooks.md: the receiver of the page runs as it is written there, with the commands of the page, and prints what the page
 * shows. Only the ports are others: free ones.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { eventTypes } from '../../gateway/backplane/outbox.ts';
import { onCleanup } from '../support/cleanup.ts';
import { connectWelcomed } from '../support/client.ts';
import { freePort } from '../support/free-port.ts';
import { endWithThisProcess } from '../support/lifeline.ts';
import { until } from '../support/until.ts';
import { folder } from './files.ts';

const repository = fileURLToPath(new URL('../../', import.meta.url));
const page = readFileSync(join(repository, 'docs/webhooks.md'), 'utf8');
const blocks = [...page.matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(([, language = '', text = '']) => ({
  language,
  text,
}));
const [secret, receiver, start, shown] = blocks;

test('the receiver of the page hears of a client of the demo page, in the words of the page', async () => {
  const directory = folder();
  for (const name of ['package.json', 'dist', 'deploy', 'node_modules']) {
    symlinkSync(join(repository, name), join(directory, name));
  }
  const port = await freePort();
  execFileSync('bash', ['-euc', secret?.text ?? ''], { cwd: directory });
  writeFileSync(join(directory, 'receiver.mjs'), (receiver?.text ?? '').replace('9000', `${port}`));
  // Without the build before the start, which has been done.
  const env = { PATH: process.env.PATH, npm_config_ignore_scripts: 'true', GATEWAY_PORT: '0', GATEWAY_ADMIN_PORT: '0' };
  const commands = (start?.text ?? '').replace('9000', `${port}`);
  const shell = spawn('bash', ['-euc', commands], { cwd: directory, env, detached: true });
  endWithThisProcess(shell);
  onCleanup(async () => {
    const ended = once(shell, 'close');
    process.kill(-(shell.pid ?? Number.NaN), 'SIGKILL');
    await ended;
  });
  let output = '';
  for (const stream of [shell.stdout, shell.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  const listening = () => /"port":(\d+)/.exec(output)?.[1];
  const publicPort = await until(listening, 15_000, 'the node of the page listens').catch((error: Error) => {
    throw new Error(output, { cause: error });
  });
  const html = await (await fetch(`http://127.0.0.1:${publicPort}/`)).text();
  const token = /roomcast\.token\.([\w.-]+)/.exec(html)?.[1] ?? '';
  const client = await connectWelcomed(`ws://127.0.0.1:${publicPort}/ws`, token);
  await client.subscribe('demo:lobby');
  const told = () => output.split('\n').filter((line) => /^(room|member)\./.test(line));
  await until(() => told().length === 2, 5_000, 'the client is told');
  await client.close();
  await until(() => told().length === 4, 10_000, 'the end is told');
  const { user } = client.frames.find((frame) => frame.type === 'welcome') as { user: string };
  expect(told()).toEqual(
    (shown?.text ?? '')
      .trim()
      .replaceAll(/guest-\w+/g, user)
      .split('\n'),
  );
});

test('the page has a row for each type of event, and JSON of the form that is sent', () => {
  const rows = [...page.matchAll(/^\| `([a-z]+\.[a-z]+)` \|/gm)].map(([, type]) => type);
  expect(rows).toEqual([...eventTypes]);
  const example = JSON.parse(blocks.find(({ language }) => language === 'json')?.text ?? '');
  for (const event of example.events) expect(Object.keys(event).slice(-2)).toEqual(['at', 'id']);
});
