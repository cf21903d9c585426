/**
 * The fallback through HAProxy with the rules of deploy/haproxy/haproxy.cfg: its two paths work and nothing is held back,
 * and every other path stays 404, in whatever spelling.
 */
import { beforeAll, expect, test } from 'vitest';
import { roomsFile } from '../integration/files.ts';
import { EventStream } from '../support/event-stream.ts';
import { startNode, type TestNode } from '../support/node.ts';
import { beginPoll, poll, positionOf } from '../support/poll.ts';
import { httpRequest, RawSocket } from '../support/raw-socket.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { type Haproxy, startHaproxy } from './haproxy.ts';
import { protocolSettings } from './suite.ts';
import { answerTo } from './target.ts';

let node: TestNode;
let haproxy: Haproxy;
let token: string;

beforeAll(async () => {
  node = await startNode({
    ...protocolSettings,
    ...{ TRUSTED_PROXIES: '127.0.0.1', MAX_CONNECTIONS_PER_IP: 100 },
    ROOMS_FILE: roomsFile({ match: 'kept:*', history: {} }),
  });
  haproxy = await startHaproxy(node);
  token = await mintToken({ sub: 'user', rooms: { '*': ['subscribe', 'publish'] } });
});

function post(room: string, body: string): Promise<Response> {
  return fetch(`http://127.0.0.1:${haproxy.port}/rooms/${encodeURIComponent(room)}/messages`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body,
  });
}

test('a stream gets each publish at once, in rooms with any character of their grammar', async () => {
  for (const room of ['chat:lobby', 'a/b#c~d=e+f%g|h,i!j@k$l_m-n.o']) {
    const stream = await EventStream.open(haproxy, room, { token });
    let fastestMs = Number.POSITIVE_INFINITY;
    for (let data = 0; data < 20; data++) {
      const began = performance.now();
      expect((await post(room, JSON.stringify({ data }))).status).toBe(200);
      await stream.next('message');
      fastestMs = Math.min(fastestMs, performance.now() - began);
    }
    expect(stream.heard).toEqual(Array.from({ length: 20 }, (_, data) => data));
    // Without `option http-no-delay` each one takes 200 ms.
    expect(fastestMs).toBeLessThan(150);
    stream.abort();
  }
});

test('a client that goes, goes at the node too', async () => {
  const room = 'going';
  const before = await (await fetch(`http://127.0.0.1:${node.adminPort}/metrics`)).text();
  expect(before).toMatch(/^gateway_streams \d/m);
  const stream = await EventStream.open(haproxy, room, { token });
  const streams = async () => {
    const text = await (await fetch(`http://127.0.0.1:${node.adminPort}/metrics`)).text();
    return Number(/^gateway_streams (\d+)/m.exec(text)?.[1]);
  };
  expect(await streams()).toBeGreaterThan(0);
  stream.abort();
  await until(async () => (await streams()) === 0, 5_000, 'no stream is left');
});

test('a poll waits for the next message and gets it at once; a client that goes, goes at the node too', async () => {
  const room = 'kept:a';
  const waiting = async () => {
    const text = await (await fetch(`http://127.0.0.1:${node.adminPort}/metrics`)).text();
    return Number(/^gateway_polls (\d+)/m.exec(text)?.[1]);
  };
  const since = positionOf(await poll(haproxy, room, { token }));
  const { answer } = beginPoll(haproxy, room, { token, since });
  await until(async () => (await waiting()) === 1, 5_000, 'the poll waits');
  expect((await post(room, '{"data":1}')).status).toBe(200);
  const answered = JSON.parse((await answer).text);
  expect(answered).toMatchObject({ messages: [{ data: 1 }], recovered: true });
  const going = beginPoll(haproxy, room, { token, since: positionOf(answered) });
  await until(async () => (await waiting()) === 1, 5_000, 'the next poll waits');
  going.abort();
  await until(async () => (await waiting()) === 0, 5_000, 'no poll is left');
});

test('refusals come through with their status and their problem', async () => {
  const refused = await EventStream.request(haproxy, 'a b', { token });
  expect(refused.response.statusCode).toBe(400);
  await refused.untilEnded();
  expect(JSON.parse(refused.text)).toMatchObject({ type: 'https://roomcast.dev/problems/bad_request' });
  expect((await EventStream.request(haproxy, 'a', {})).response.statusCode).toBe(401);
  expect((await post('a', '{')).status).toBe(400);
  expect((await post('a', JSON.stringify({ data: 'x'.repeat(70_000) }))).status).toBe(413);
});

test.each([
  ...['/rooms', '/rooms/', '/rooms/a', '/rooms/a/', '/rooms//events', '/rooms/a/b/events', '/rooms/a/events/'],
  ...['/rooms/a/eventsx', '/rooms/a/event', '/xrooms/a/events', '//rooms/a/events', '/./rooms/a/events'],
  ...['/rooms/a/%65vents', '/%72ooms/a/events', '/ROOMS/a/events', '/rooms/a/events;x', '/rooms/a/events%00'],
  ...['/rooms/a/history', '/rooms/a/members', '/api/rooms/a/messages', '/rooms/a/events/../../../metrics'],
  ...['/api', '//api', '/%61pi/rooms', '/api/rooms/a/events/x', '/metrics', '/', '/rooms/a/events%2f..%2f..%2fmetrics'],
  ...['http://localhost/api/rooms', 'http://localhost/rooms/a/history'],
])('%s is 404 at HAProxy', async (path) => {
  for (const method of ['GET', 'POST']) {
    const response = await answerTo(haproxy, httpRequest({ method, path, headers: { Host: 'localhost' } }));
    expect([method, response.status]).toEqual([method, 404]);
    // HAProxy writes the names of headers in lower case.
    expect(response.head).not.toMatch(/uwebsockets/i);
  }
});

test('a path of the fallback that climbs ends at the fallback', async () => {
  for (const path of ['/rooms/../events', '/rooms/%2e%2e/events', '/rooms/..%2f..%2fmetrics/events']) {
    const headers = { Host: 'localhost', Authorization: `Bearer ${token}` };
    expect((await answerTo(haproxy, httpRequest({ path, headers }))).status, path).toBe(400);
  }
});

test.each([
  ['two different Content-Length', { 'Content-Length': ['5', '0'] }, 400],
  ['a Content-Length with a sign', { 'Content-Length': '+5' }, 400],
  ['an unknown Transfer-Encoding', { 'Transfer-Encoding': 'gzip' }, 400],
  ['chunked beside a Content-Length', { 'Content-Length': '3', 'Transfer-Encoding': 'chunked' }, 200],
])('RFC 9112 6.3: a publish with %s hides no second request', async (_what, lengths, status) => {
  const socket = await RawSocket.connect(haproxy.port);
  const headers = {
    Host: 'localhost',
    Authorization: `Bearer ${token}`,
    'Content-Type': 'application/json',
    Connection: 'close',
    ...lengths,
  };
  const body = 'a\r\n{"data":1}\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n';
  await socket.write(httpRequest({ method: 'POST', path: '/rooms/a/messages', headers, body }));
  expect((await socket.response()).status).toBe(status);
  await expect(socket.response()).rejects.toThrow('the connection ended');
});
