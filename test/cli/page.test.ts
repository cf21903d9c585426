/**
 * docs/cli.md: the help of every command is what it prints, and all of its shell commands work as they are written, one after
 * the other. Those for the image are run by test/compose.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { folder } from '../integration/files.ts';
import { outcomeOf } from '../integration/program.ts';
import { onCleanup } from '../support/cleanup.ts';
import { freePort } from '../support/free-port.ts';
import { endWithThisProcess } from '../support/lifeline.ts';
import { within } from '../support/until.ts';

const page = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8');
const command = fileURLToPath(new URL('../../gateway/cli/roomcast.mjs', import.meta.url));

test('the page has a section for each command, with its help as it is printed', async () => {
  const { stdout } = await outcomeOf(['--help']);
  const list = stdout.slice(stdout.indexOf('\nCommands:'));
  const commands = [...list.matchAll(/^ {2}([a-z-]+) /gm)]
    .map(([, name = '']) => name)
    .filter((name) => name !== 'help');
  const sections = [...page.matchAll(/^## (.*)$/gm)].map(([, name = '']) => name);
  expect(sections.sort()).toEqual(commands.sort());
  const shown = [...page.matchAll(/^```console\n\$ npx roomcast (.*)\n((?:.*\n)*?)```/gm)];
  const helps = await Promise.all(
    shown.map(async ([, args = '']) => (await outcomeOf(args.split(' '))).stdout.trimEnd()),
  );
  expect(shown.map(([, , text = '']) => text.trimEnd())).toEqual(helps);
  expect(shown).toHaveLength(commands.length + 1);
});

test('the examples of each help are taken by the command', async () => {
  // Their options are: what they name is not there. Exit code 2 would be wrong use.
  const examples = [
    ...page.matchAll(
      /^ {2}roomcast ((?:token|publish|rooms|members|connections|disconnect|nodes|load|plan|check-config|healthcheck) ?.*)$/gm,
    ),
  ];
  expect(examples.length).toBeGreaterThan(8);
  const environment = {
    ROOMCAST_URL: `ws://127.0.0.1:${await freePort()}/ws`,
    ROOMCAST_TOKEN: 'a.b.c',
    ROOMCAST_API: `http://127.0.0.1:${await freePort()}`,
    ROOMCAST_KEY: 'a-key',
    GATEWAY_ADMIN_PORT: `${await freePort()}`,
  };
  for (const [, args = ''] of examples.filter(([line]) => !/wss:|--api/.test(line))) {
    const shell = spawn('sh', ['-c', `"${command}" ${args}`], {
      env: { PATH: process.env.PATH, ...environment },
      stdio: 'ignore',
    });
    endWithThisProcess(shell);
    const [code] = await within(once(shell, 'close'), 15_000, args);
    expect([0, 1], args).toContain(code);
  }
}, 120_000);

test('the shell commands of the page work as they are written', async () => {
  const blocks = [...page.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block = '']) => block);
  const script = blocks.filter((block) => !block.includes('docker-compose')).join('\n');
  const place = folder();
  // What npx does, without the time that npm takes.
  writeFileSync(join(place, 'npx'), `#!/bin/sh\nshift\nexec "${command}" "$@"\n`);
  chmodSync(join(place, 'npx'), 0o755);
  const [port, adminPort] = [await freePort(), await freePort()];
  const shell = spawn('bash', ['-euc', script], {
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
  // The node that it starts is in its group.
  onCleanup(() => process.kill(-(shell.pid ?? Number.NaN), 'SIGKILL'));
  let [output, errors] = ['', ''];
  shell.stdout.on('data', (chunk) => {
    output += chunk;
  });
  shell.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const [code] = await within(once(shell, 'exit'), 110_000, 'the commands end');
  expect(code, errors).toBe(0);
  expect(output).toContain(`http://127.0.0.1:${adminPort}/healthz answers`);
  expect(output).toMatch(/^published to chat:lobby, offset 1 of epoch /m);
  expect(output).toMatch(/^was already published to chat:lobby, offset 2 of epoch /m);
  expect(output).toMatch(/Z 4 alice "two"$/m);
  expect(output).toMatch(/^disconnected 0 connections of mallory; blocked for 3600 s$/m);
  expect(output).toMatch(/^NODE +VERSION .*\n.* serving /m);
  expect(output).toMatch(/^lost +0$/m);
}, 120_000);
