/**
 * The protocol suite through HAProxy with the rules of deploy/haproxy.cfg, and what HAProxy has to keep from the node:
 * requests whose end two readers see in different places (request smuggling, RFC 9112 section 11.2).
 */
import { beforeAll, describe, expect, test } from 'vitest';
import { startNode } from '../support/node.ts';
import { buildFrame } from '../support/raw-frame.ts';
import { type Headers, handshake, httpRequest, RawSocket } from '../support/raw-socket.ts';
import { startHaproxy } from './haproxy.ts';
import { slowHandshakeSuite } from './limits.ts';
import { protocolSettings, protocolSuite } from './suite.ts';
import { answerTo, expectJson, expectServed, open, pingText } from './target.ts';

const target = { port: 0 };
const healthRequest = httpRequest({ path: '/healthz', headers: { Host: 'localhost' } });

beforeAll(async () => {
  const node = await startNode({ ...protocolSettings, TRUSTED_PROXIES: '127.0.0.1' });
  target.port = (await startHaproxy(node)).port;
});

describe('a node behind HAProxy', () => {
  protocolSuite(target);
  slowHandshakeSuite(target, 7);

  test('RFC 6455 4.1: a frame sent before the answer to the handshake is served', async () => {
    const socket = await RawSocket.connect(target.port);
    await socket.write(Buffer.concat([handshake(), buildFrame({ payload: pingText('early') })]));
    expect((await socket.response()).status).toBe(101);
    await expectJson(socket, { type: 'pong', id: 'early' });
  });

  test('RFC 9112 2.2: a handshake that comes byte by byte is taken', async () => {
    const socket = await RawSocket.connect(target.port);
    for (const byte of handshake()) await socket.write(Buffer.from([byte]));
    expect((await socket.response()).status).toBe(101);
    await expectServed(socket);
  });

  const chunked = '5\r\nhello\r\n0\r\n\r\n';
  const smuggling: [title: string, headers: Headers, body: string][] = [
    ['6.3: two different Content-Length', { 'Content-Length': ['5', '0'] }, 'hello'],
    ['6.3: a list of different Content-Length', { 'Content-Length': '5, 0' }, 'hello'],
    ['6.2: a Content-Length with a sign', { 'Content-Length': '+5' }, 'hello'],
    ['6.2: a negative Content-Length', { 'Content-Length': '-5' }, 'hello'],
    ['6.1: Transfer-Encoding gzip', { 'Transfer-Encoding': 'gzip' }, chunked],
    ['6.1: Transfer-Encoding xchunked', { 'Transfer-Encoding': 'xchunked' }, chunked],
    ['6.3: Transfer-Encoding chunked, identity', { 'Transfer-Encoding': 'chunked, identity' }, chunked],
    [
      '6.1: an empty Transfer-Encoding and a Content-Length',
      { 'Transfer-Encoding': '', 'Content-Length': '5' },
      'hello',
    ],
  ];

  test.each(smuggling)('RFC 9112 %s is refused, and nothing behind it is answered', async (_, headers, body) => {
    for (const request of [asPost(headers, body), asHandshake(headers, body)]) {
      const socket = await RawSocket.connect(target.port);
      await socket.write(Buffer.concat([request, healthRequest]));
      expect((await socket.response()).status).toBe(400);
      await expect(socket.response()).rejects.toThrow('the connection ended');
    }
  });

  test('RFC 9112 6.3: chunked beside a Content-Length is read as chunked, and nothing behind it is answered', async () => {
    const headers = { 'Content-Length': '5', 'Transfer-Encoding': 'chunked' };
    const socket = await RawSocket.connect(target.port);
    await socket.write(Buffer.concat([asPost(headers, chunked), healthRequest]));
    expect((await socket.response()).status).toBe(404);
    await expect(socket.response()).rejects.toThrow('the connection ended');
  });

  test.each<[string, Headers, string]>([
    ['a Content-Length', { 'Content-Length': '5' }, 'hello'],
    ['a body in chunks', { 'Transfer-Encoding': 'chunked' }, chunked],
    ['both', { 'Content-Length': '5', 'Transfer-Encoding': 'chunked' }, chunked],
  ])('RFC 6455 4.1: a handshake with %s is refused', async (_, headers, body) => {
    expect([400, 426]).toContain((await answerTo(target, asHandshake(headers, body))).status);
  });

  test('RFC 9112 6.3: equal Content-Length of 0 reach the node as one, and what follows is frames', async () => {
    for (const length of ['0, 0', ['0', '0']]) {
      await expectServed(await open(target, { headers: { 'Content-Length': length } }));
    }
  });

  test('RFC 9112 6.3: what is sent right behind a handshake with Content-Length 0 is frames, and no request', async () => {
    const socket = await RawSocket.connect(target.port);
    const request = handshake({ headers: { 'Content-Length': '0' } });
    await socket.write(Buffer.concat([request, healthRequest]));
    expect((await socket.response()).status).toBe(101);
    expect(await socket.ended()).toBeDefined();
  });

  test('RFC 9112 3.2: two equal Hosts reach the node as one (deviation: HAProxy merges them, and does not answer 400)', async () => {
    await expectServed(await open(target, { headers: { Host: ['localhost', 'localhost'] } }));
  });
});

function asPost(headers: Headers, body: string): Buffer {
  return httpRequest({ method: 'POST', path: '/healthz', headers: { Host: 'localhost', ...headers }, body });
}

function asHandshake(headers: Headers, body: string): Buffer {
  return handshake({ headers, body });
}
