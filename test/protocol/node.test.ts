/**
 * The protocol suite against a node with nothing before it, and what only such a client can see.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import { startNode } from '../support/node.ts';
import { buildFrame } from '../support/raw-frame.ts';
import { handshake, httpRequest, RawSocket, type Response } from '../support/raw-socket.ts';
import { slowHandshakeSuite } from './limits.ts';
import { protocolSettings, protocolSuite } from './suite.ts';
import { answerTo, expectNoBody, expectServed, open, pingText } from './target.ts';

const target = { port: 0 };

/** What the node cuts only after some seconds: sent first, looked at last. */
const unanswered: RawSocket[] = [];

beforeAll(async () => {
  target.port = (await startNode(protocolSettings)).port;
  for (const value of ['a\x01b', 'a\0b', 'a\x0bb']) {
    const socket = await RawSocket.connect(target.port);
    await socket.write(handshake({ headers: { 'X-Anything': value } }));
    unanswered.push(socket);
  }
});

describe('a node', () => {
  protocolSuite(target);
  slowHandshakeSuite(target, 15);

  test('RFC 6455 4.1: a frame sent before the answer to the handshake is lost; later ones are served', async () => {
    const socket = await RawSocket.connect(target.port);
    await socket.write(Buffer.concat([handshake(), buildFrame({ payload: pingText('too early') })]));
    expect((await socket.response()).status).toBe(101);
    await expectServed(socket);
  });

  test('RFC 9110 9.3.2: an answer to HEAD has no body, whatever it is', async () => {
    await expectNoBody(target, '/ws', 405);
    await expectNoBody(target, '/nothing', 404);
    await expectNoBody(target, '/', 404);
  });

  test.each([[['0', '0']], [['0', '5']], ['00'], ['+0'], ['0, 0'], ['']])(
    'RFC 9112 6.3: a handshake with a Content-Length of %j is answered by 400: others may read it otherwise',
    async (length) => {
      expect((await answerTo(target, handshake({ headers: { 'Content-Length': length } }))).status).toBe(400);
    },
  );

  test('RFC 9112 6.1: nor does a Content-Length of 0 excuse a Transfer-Encoding', async () => {
    const headers = { 'Content-Length': '0', 'Transfer-Encoding': 'chunked' };
    expect((await answerTo(target, handshake({ headers, body: '0\r\n\r\n' }))).status).toBe(400);
  });

  test('RFC 9112 2.2: a request line that a segment cuts behind the method or inside the version gets 505 (deviation)', async () => {
    const request = handshake();
    const version = request.indexOf('HTTP/1.1');
    for (const cut of [4, version, version + 4, version + 8]) {
      expect((await answerInParts(request.subarray(0, cut), request.subarray(cut))).status, `${cut}`).toBe(505);
    }
    for (const cut of [1, 6, version + 10, request.length - 1]) {
      expect((await answerInParts(request.subarray(0, cut), request.subarray(cut))).status, `${cut}`).toBe(101);
    }
  });

  test('RFC 9112 2.2: a handshake that comes byte by byte gets 505 (deviation)', async () => {
    const bytes = [...handshake()].map((byte) => Buffer.from([byte]));
    expect((await answerInParts(...bytes)).status).toBe(505);
    await expectServed(await open(target));
  });

  test.each(['1.0', '0.9', '2.0'])('RFC 9112 2.3: any request of HTTP/%s gets 505 (deviation)', async (number) => {
    const version = `HTTP/${number}`;
    expect((await answerTo(target, handshake({ version }))).status).toBe(505);
    const health = { path: '/healthz', version, headers: { Host: 'localhost' } };
    expect((await answerTo(target, httpRequest(health))).status).toBe(505);
  });

  test('RFC 9112 3.2: two equal Hosts are answered by 400', async () => {
    const headers = { Host: ['localhost', 'localhost'] };
    expect((await answerTo(target, handshake({ headers }))).status).toBe(400);
  });

  test.each<[string, string | string[]]>([
    ['in a list', '0, 0'],
    ['on two lines', ['0', '0']],
  ])('RFC 9112 6.3: Content-Length 0 twice, %s, is answered by 400', async (_, length) => {
    expect((await answerTo(target, handshake({ headers: { 'Content-Length': length } }))).status).toBe(400);
  });

  test('RFC 9110 9.3.2: HEAD of what is not there is answered by 404, with no body before the next answer', async () => {
    const socket = await RawSocket.connect(target.port);
    for (const [path, status] of [
      ['/nowhere', 404],
      ['/healthz', 200],
    ] as const) {
      await socket.write(httpRequest({ method: 'HEAD', path, headers: { Host: 'localhost' } }));
      expect((await socket.response()).status).toBe(status);
    }
  });

  test('RFC 9110 5.5: a control character in a header gets no answer, and the end within 15 s (deviation)', async () => {
    for (const socket of unanswered) await expect(socket.response(15_000)).rejects.toThrow('the connection ended');
    await expectServed(await open(target));
  });
});

/** The answer to a request whose parts the node reads one by one: the ping of another connection is answered in between. */
async function answerInParts(...parts: Buffer[]): Promise<Response> {
  const [socket, other] = await Promise.all([RawSocket.connect(target.port), open(target)]);
  for (const part of parts) {
    await socket.write(part);
    await expectServed(other);
  }
  return socket.response();
}
