/**
 * The first minutes: the program with nothing set. Its token, its example and its page must work as printed.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { onCleanup } from '../support/cleanup.ts';
import { connect, errorOf } from '../support/client.ts';
import { startNode } from '../support/node.ts';
import { until } from '../support/until.ts';
import { writeFile } from './files.ts';
import { carrying } from './people.ts';
import { run } from './program.ts';

const folder = fileURLToPath(new URL('../..', import.meta.url));
const program = run({ GATEWAY_PORT: '0', GATEWAY_ADMIN_PORT: '0' });
const text = await until(
  () => (/Demo page/.test(program.output()) && /'\s*$/.test(program.output()) ? program.output() : ''),
  10_000,
  'the banner',
);
const page = /http:\/\/127\.0\.0\.1:(\d+)\//.exec(text);
const url = `ws://127.0.0.1:${page?.[1]}/ws`;
const token = /Token:\s+(\S+)/.exec(text)?.[1] ?? '';

test('the printed token opens the demo rooms, and no others', async () => {
  const client = await connect(url, { token });
  await client.next('welcome');
  await client.subscribe('demo:lobby');
  await client.publish('demo:lobby', 'hello');
  expect(await client.next(carrying('demo:lobby', 'hello'))).toMatchObject({ from: 'demo' });
  expect(errorOf(await client.request({ type: 'subscribe', room: 'other' })).code).toBe('forbidden');
});

test('the demo rooms keep a history and show who is there', async () => {
  const client = await connect(url, { token });
  await client.next('welcome');
  const { epoch, offset = 0 } = await client.subscribe('demo:kept');
  expect(await client.publish('demo:kept', 'hello')).toMatchObject({ epoch, offset: offset + 1 });
  const kept = await client.request({ type: 'history', room: 'demo:kept' });
  expect(kept).toMatchObject({ messages: [{ data: 'hello' }] });
  expect(await client.request({ type: 'presence', room: 'demo:kept' })).toMatchObject({ users: 1 });
});

test('the printed example works when pasted into a shell', async () => {
  const example = text.slice(text.indexOf('node --input-type'));
  expect(example).toMatch(/^node /);
  // It listens until it is stopped; `timeout` is what a person does with Ctrl+C.
  const shell = promisify(execFile)('timeout', ['--preserve-status', '3', 'bash', '-c', example], { cwd: folder });
  const { stdout } = await shell.catch((error: { stdout: string }) => error);
  expect(stdout).toContain('"welcome"');
  expect(stdout).toContain('"data":"hello"');
});

test('each tab of the demo page gets a token of a user of its own that works with the page’s Origin', async () => {
  const load = async () => (await fetch(new URL('demo/token', page?.[0]))).text();
  const tabs = await Promise.all(
    [await load(), await load()].map((each) =>
      connect(url, {
        protocols: ['roomcast.v1.json', `roomcast.token.${each}`],
        headers: { origin: (page?.[0] ?? '').replace(/\/$/, '') },
      }),
    ),
  );
  const [one, other] = tabs;
  const users = await Promise.all(tabs.map(async (tab) => (await tab.next('welcome')).user));
  expect(new Set(users).size).toBe(2);
  for (const tab of tabs) await tab.subscribe('demo:lobby');
  await one?.publish('demo:lobby', 'from the other tab');
  expect(await other?.next(carrying('demo:lobby', 'from the other tab'))).toMatchObject({ from: users[0] });
});

test('the demo page loads only what the node itself serves, each file of its type, under a strict policy', async () => {
  const index = await fetch(page?.[0] ?? '');
  expect(index.headers.get('content-type')).toBe('text/html; charset=utf-8');
  expect(index.headers.get('content-security-policy')).toMatch(
    /^default-src 'none'; script-src 'self'; style-src 'self'/,
  );
  const html = await index.text();
  expect(html).not.toMatch(/<script>|<style|style=|onclick/);
  const parts = [...html.matchAll(/(?:src|href)="([^"#]+)"/g)].map(([, path = '']) => path);
  expect(parts).toContain('/demo/icon.svg');
  const types = { js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml' };
  for (const path of parts) {
    const response = await fetch(new URL(path, page?.[0]));
    const type = types[path.split('.').at(-1) as keyof typeof types];
    expect([path, response.status, response.headers.get('content-type')]).toEqual([
      path,
      200,
      `${type}; charset=utf-8`,
    ]);
  }
  expect((await fetch(page?.[0] ?? '', { method: 'POST' })).status).toBe(405);
});

test('a tab that is loaded again stays the guest that it was, and nobody else', async () => {
  const userOf = async (query: string) => {
    const token = await (await fetch(new URL(`demo/token${query}`, page?.[0]))).text();
    return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()).sub;
  };
  expect(await userOf('?user=guest-0a1b2c')).toBe('guest-0a1b2c');
  for (const query of ['', '?user=admin', '?user=guest-', '?user=guest-0a1b2c3']) {
    expect(await userOf(query)).toMatch(/^guest-[0-9a-f]{6}$/);
    expect(await userOf(query)).not.toBe('guest-0a1b2c');
  }
});

test('the demo page can ask for a drain: every client is asked to move, and the node takes it again', async () => {
  const drain = new URL('demo/drain', page?.[0]);
  const client = await connect(url, { token });
  await client.next('welcome');
  for (const origin of ['http://elsewhere.example', 'null']) {
    expect((await fetch(drain, { method: 'POST', headers: { origin } })).status).toBe(403);
  }
  expect((await fetch(drain, { method: 'POST' })).status).toBe(403);
  expect((await fetch(drain)).status).toBe(405);
  expect((await fetch(drain, { method: 'POST', headers: { origin: drain.origin } })).status).toBe(202);
  expect(await client.next('reconnect')).toMatchObject({ reason: 'draining' });
  const moved = await connect(url, { token });
  await moved.next('welcome');
  expect(await client.closed).toMatchObject({ code: 4001 });
  expect(await moved.publish('demo:lobby', 'still here')).toMatchObject({ type: 'ok' });
});

test('with a key of your own there is no demo: no page, no token, no drain', async () => {
  const node = await startNode();
  for (const path of ['', 'client.js', 'demo/demo.js', 'demo/token', 'demo/drain']) {
    const address = `http://127.0.0.1:${node.port}/${path}`;
    expect((await fetch(address)).status).toBe(404);
    expect((await fetch(address, { method: 'POST', headers: { origin: new URL(address).origin } })).status).toBe(404);
  }
});

test('the client library is served in one file, which connects with the token', async () => {
  const response = await fetch(new URL('client.js', page?.[0]));
  expect(response.headers.get('content-type')).toMatch(/^text\/javascript/);
  const file = writeFile('client.mjs', await response.text());
  const library = (await import(file)) as typeof import('../../shared/client/client.ts');
  const client = library.connect(url, { token, WebSocket });
  onCleanup(() => client.close());
  const room = client.room('demo:library');
  await room.subscribe();
  expect(await room.publish('hello')).toMatchObject({ offset: 1 });
});

test('every run makes a secret of its own', async () => {
  const again = run({ GATEWAY_PORT: '0', GATEWAY_ADMIN_PORT: '0' });
  const port = await until(() => /http:\/\/127\.0\.0\.1:(\d+)\//.exec(again.output())?.[1], 10_000, 'another run');
  const client = await connect(`ws://127.0.0.1:${port}/ws`, { token });
  expect(await client.closed).toMatchObject({ code: 4501 });
});
