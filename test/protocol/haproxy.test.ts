/**
 * The protocol suite through HAProxy with the rules of deploy/haproxy/haproxy.cfg, and what HAProxy has to keep from the
 * node: requests whose end two readers see in different places (request smuggling, RFC 9112 section 11.2), characters on
 * which the node's parser stops, and HTTP/2.
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
const admin = { port: 0 };
const state = { port: 0 };
const apiKey = 'an-api-key-for-the-tests';
const healthRequest = httpRequest({ path: '/healthz', headers: { Host: 'localhost' } });

beforeAll(async () => {
  const node = await startNode({ ...protocolSettings, TRUSTED_PROXIES: '127.0.0.1', API_KEY: apiKey });
  const haproxy = await startHaproxy(node);
  admin.port = node.adminPort;
  target.port = haproxy.port;
  state.port = haproxy.statePort;
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

  const adminPaths = [
    ...['/api', '/api/', '/api/openapi.json', '/api/broadcast', '/api/rooms/a/messages', '/metrics', '/readyz'],
    ...['//api/openapi.json', '/%61pi/openapi.json', '/a%70i/openapi.json', '/API/openapi.json', '/./api/openapi.json'],
    ...['/ws/../api/openapi.json', '/ws/%2e%2e/api/openapi.json', '/ws/..%2fapi/openapi.json', '/healthz/../metrics'],
    ...['/healthz/..;/api/openapi.json', '/ws/api/openapi.json', '/ws//api/openapi.json', '/healthz%2f..%2fapi'],
    ...['/healthz\\..\\api/openapi.json', '/%2561pi/openapi.json', '/%2Fapi/openapi.json', '/healthz#/api'],
    ...['http://localhost/api/openapi.json', 'http://localhost//api/openapi.json', 'http://localhost/ws/../api'],
    ...['HTTP://LOCALHOST/api/openapi.json', 'http://localhost:8081/metrics', 'https://localhost/api/broadcast'],
  ];

  test.each(adminPaths)('what is on the admin port is not there in any spelling: %s', async (path) => {
    const headers = { Host: 'localhost', Authorization: `Bearer ${apiKey}`, 'Content-Type': 'application/json' };
    for (const method of ['GET', 'POST']) {
      const length = { 'Content-Length': '10' };
      const body = method === 'POST' ? { headers: { ...headers, ...length }, body: '{"data":1}' } : { headers };
      const { status, head } = await answerTo(target, httpRequest({ method, path, ...body }));
      expect([400, 404], `${method} ${path}\n${head}`).toContain(status);
      expect(head).not.toMatch(/json/);
    }
    const asHandshakeHeaders = { Authorization: `Bearer ${apiKey}` };
    expect([400, 404]).toContain((await answerTo(target, handshake({ path, headers: asHandshakeHeaders }))).status);
  });

  test('no Host leads to the admin port: not its own, and not beside another one', async () => {
    const own = `127.0.0.1:${admin.port}`;
    const path = '/api/openapi.json';
    for (const host of [own, [own, 'localhost'], ['localhost', own], `localhost, ${own}`]) {
      const { status } = await answerTo(target, httpRequest({ path, headers: { Host: host } }));
      expect([400, 404], `${host}`).toContain(status);
    }
    for (const hosts of [
      [own, 'localhost'],
      ['localhost', own],
    ]) {
      const { status } = await answerTo(target, httpRequest({ path: '/healthz', headers: { Host: hosts } }));
      expect(status, `${hosts}`).toBe(400);
    }
    const { status } = await answerTo(admin, httpRequest({ path, headers: { Host: own } }));
    expect(status, 'the call itself is right').toBe(200);
  });

  /** RFC 5234 B.1: CTL, without the tab, which is white space (RFC 9110 5.6.3), and the ends of lines. */
  const controls = [...Array(0x20).keys(), 0x7f].filter((code) => ![0x09, 0x0a, 0x0d].includes(code));

  test('RFC 9110 5.5: a control character in a header is answered by 400 at once, whichever it is and wherever', async () => {
    const began = performance.now();
    for (const character of controls.map((code) => String.fromCharCode(code))) {
      for (const value of [`a${character}b`, `${character}b`, `a${character}`]) {
        const { status } = await answerTo(target, handshake({ headers: { 'X-Anything': value } }));
        expect(status, JSON.stringify(value)).toBe(400);
      }
      const health = { path: '/healthz', headers: { Host: 'localhost', Cookie: `a=${character}` } };
      expect((await answerTo(target, httpRequest(health))).status, JSON.stringify(character)).toBe(400);
    }
    // One that reached the node would take 10 s.
    expect(performance.now() - began).toBeLessThan(10_000);
  });

  test('RFC 9110 5.5: every other character in a header is taken', async () => {
    const all = Array.from({ length: 256 }, (_, code) => code);
    const others = all.filter((code) => ![...controls, 0x0a, 0x0d].includes(code));
    const headers = { 'X-Anything': `a${String.fromCharCode(...others)}b` };
    expect((await answerTo(target, handshake({ headers }))).status).toBe(101);
  });

  test('RFC 9113 3.3: HTTP/2 with prior knowledge is answered in HTTP/1.1 by 400', async () => {
    const emptySettings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    const preface = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), emptySettings]);
    for (const { port } of [target, state]) {
      expect((await answerTo({ port }, preface)).head).toMatch(/^HTTP\/1\.1 400 /);
    }
  });

  test('RFC 9112 2.3: HTTP/1.0 gets 400 for a handshake, and 505 for the health of the node (deviation)', async () => {
    const version = 'HTTP/1.0';
    expect((await answerTo(target, handshake({ version }))).status).toBe(400);
    const health = { path: '/healthz', version, headers: { Host: 'localhost' } };
    expect((await answerTo(target, httpRequest(health))).status).toBe(505);
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
