/**
 * Requests that never come to their end, over HTTP: each is answered or cut within its time, and others are served meanwhile.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { beforeAll, expect, test } from 'vitest';
import { apiKey, post } from '../integration/api.ts';
import { roomsFile } from '../integration/files.ts';
import { randomRoom, tokenOf } from '../integration/people.ts';
import { onCleanup } from '../support/cleanup.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { type Headers, httpRequest, RawSocket, valuesOf } from '../support/raw-socket.ts';

let node: SpawnedNode;
beforeAll(async () => {
  node = await spawnNode({ API_KEY: apiKey, ROOMS_FILE: roomsFile({ match: 'open:*', history: {} }) });
});

const headers = { Host: 'localhost', Authorization: `Bearer ${apiKey}`, 'Content-Type': 'application/json' };

/** Sends a POST and no more of its body than this. */
async function begin(port: number, path: string, more: Headers, body: string): Promise<RawSocket> {
  const socket = await RawSocket.connect(port);
  await socket.write(httpRequest({ method: 'POST', path, headers: { ...headers, ...more }, body }));
  return socket;
}

test('a body that does not come is 408 after 10 s, and others are served meanwhile', async () => {
  const room = randomRoom();
  const kinds: [sent: string, Headers][] = [
    [' ', { 'Content-Length': '100' }],
    ['', { 'Content-Length': '100' }],
    ['', { 'Content-Length': null, 'Transfer-Encoding': 'chunked' }],
    [' '.repeat(9), { 'Content-Length': '10' }],
  ];
  const slow = kinds.map(async ([sent, length], second) => {
    // The library, which must not be faster, cuts every 4 s what is older than 8 s: begun one after the other, some would be.
    await delay(second * 1_000);
    const socket = await begin(node.adminPort, '/api/broadcast', length, sent);
    const began = performance.now();
    const answer = await socket.response(13_000);
    expect(answer.status).toBe(408);
    expect(valuesOf(answer, 'content-type')).toEqual(['application/problem+json']);
    expect(performance.now() - began).toBeGreaterThan(9_000);
    await socket.ended();
  });
  expect((await post(node, room, { data: 'still served' })).status).toBe(200);
  await Promise.all(slow);
}, 25_000);

test('a message whose body does not come is 408, before the library cuts the connection', async () => {
  const Authorization = `Bearer ${await tokenOf('user')}`;
  const socket = await begin(node.port, '/rooms/open:a/messages', { Authorization, 'Content-Length': '10' }, '{');
  expect((await socket.response(14_000)).status).toBe(408);
}, 20_000);

test('a head that does not come to its end is cut within 13 s, as an idle connection is', async () => {
  const slow = await RawSocket.connect(node.adminPort);
  await slow.write(Buffer.from('GET /healthz HTTP/1.1\r\nHost: localhost\r\n'));
  const drip = setInterval(() => void slow.write(Buffer.from('A: b\r\n')).catch(() => undefined), 500);
  onCleanup(() => clearInterval(drip));
  const idle = await RawSocket.connect(node.adminPort);
  await idle.write(httpRequest({ path: '/healthz', headers: { Host: 'localhost' } }));
  await idle.response();
  await Promise.all([slow.ended(13_000), idle.ended(13_000)]);
}, 20_000);
