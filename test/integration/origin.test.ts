/**
 * Foreign web pages (cross-site WebSocket hijacking): which Origin may open a connection (RFC 6455 section 10.2).
 *
 * The answer comes before the upgrade. Clients that are no browsers send no Origin and are not bound by it.
 */
import { describe, expect, test } from 'vitest';
import { startNode, type TestNode } from '../support/node.ts';
import { handshake, RawSocket } from '../support/raw-socket.ts';
import { metric } from './admin.ts';
import { tokenOf } from './people.ts';

const own = await startNode();
const listed = await startNode({ ALLOWED_ORIGINS: 'https://app.example, http://localhost:3000' });
const open = await startNode({ ALLOWED_ORIGINS: '*' });

async function answer(node: TestNode, origin: string | string[] | null, more: Record<string, string> = {}) {
  const socket = await RawSocket.connect(node.port);
  await socket.write(handshake({ headers: { Host: `127.0.0.1:${node.port}`, Origin: origin, ...more } }));
  return (await socket.response()).status;
}

describe('with no origins configured', () => {
  const host = `127.0.0.1:${own.port}`;

  test.each([
    ['none', null],
    ['the same under http', `http://${host}`],
    ['the same under https', `https://${host}`],
  ])('%s is allowed', async (_what, origin) => {
    expect(await answer(own, origin)).toBe(101);
  });

  test.each([
    ['foreign', 'https://evil.example'],
    ['null', 'null'],
    ['empty', ''],
    ['no URL', 'evil'],
    ['another port', `http://127.0.0.1:${own.port === 80 ? 81 : 80}`],
    ['no port', 'http://127.0.0.1'],
    ['the host as a prefix', `http://${host}.evil.example`],
    ['the host as a user name', `http://${host}@evil.example`],
    ['a list', `http://${host}, https://evil.example`],
    ['two lines', [`http://${host}`, 'https://evil.example']],
  ])('%s is refused with 403', async (_what, origin) => {
    expect(await answer(own, origin)).toBe(403);
  });

  test('a good token or cookie does not make a foreign origin good, and each refusal is counted', async () => {
    const before = await metric(own, 'gateway_handshakes_rejected_total{reason="origin"}');
    const Authorization = `Bearer ${await tokenOf('user')}`;
    expect(await answer(own, 'https://evil.example', { Authorization })).toBe(403);
    expect(await metric(own, 'gateway_handshakes_rejected_total{reason="origin"}')).toBe(before + 1);
  });

  test('the Host of the request decides, so a page of the own host behind a proxy is allowed', async () => {
    expect(await answer(own, 'https://chat.example', { Host: 'chat.example' })).toBe(101);
    expect(await answer(own, 'https://chat.example', { Host: 'CHAT.example:443' })).toBe(101);
    expect(await answer(own, 'https://chat.example', { Host: 'chat.example:8443' })).toBe(403);
    expect(await answer(own, 'https://chat.example.', { Host: 'chat.example' })).toBe(403);
  });
});

describe('with a list of origins', () => {
  test.each([null, 'https://app.example', 'http://localhost:3000'])('%s is allowed', async (origin) => {
    expect(await answer(listed, origin)).toBe(101);
  });

  test.each([
    'http://app.example',
    'https://app.example:443',
    'https://app.example.',
    'https://app.example/',
    'https://APP.example',
    'https://app.example.evil.example',
    'https://evil-app.example',
    'https://sub.app.example',
    'http://localhost:3001',
    `http://127.0.0.1:${listed.port}`,
    'null',
  ])('%s is refused with 403', async (origin) => {
    expect(await answer(listed, origin)).toBe(403);
  });
});

test('an entry that is written in another way than browsers do, and a wildcard, let their pages in', async () => {
  const node = await startNode({ ALLOWED_ORIGINS: 'https://App.example:443/, https://*.example.org' });
  for (const origin of ['https://app.example', 'https://chat.example.org', 'https://a.b.example.org']) {
    expect(await answer(node, origin), origin).toBe(101);
  }
  for (const origin of ['https://example.org', 'https://example.org.evil.example', 'http://chat.example.org']) {
    expect(await answer(node, origin), origin).toBe(403);
  }
});

test('with * any origin is allowed, but not two', async () => {
  expect(await answer(open, 'https://anything.example')).toBe(101);
  expect(await answer(open, ['https://one.example', 'https://two.example'])).toBe(403);
});
