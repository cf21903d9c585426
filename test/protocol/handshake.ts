/**
 * The opening handshake: RFC 6455 sections 1.3, 1.9, 4.1 to 4.4 and 9.1, and the subprotocol of roomcast.v1.json.
 *
 * Every refusal here is an HTTP answer, never a switched connection. Subprotocol cases also show that a token offered
 * beside the subprotocol is never sent back.
 */
import { createHash, randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import {
  type Headers,
  handshake,
  httpRequest,
  RawSocket,
  type Request,
  sampleKey,
  valuesOf,
} from '../support/raw-socket.ts';
import { mintToken } from '../support/token.ts';
import { answerTo, expectJson, expectServed, open, type Target } from './target.ts';

const acceptSuffix = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** Neighbours of /ws, and every spelling of what only the admin port may answer. */
const otherPaths = [
  ...['/', '/ws/', '/wss', '/WS', '//ws', '/./ws', '/ws/../ws', '/%77s', '/ws%00'],
  ...['/metrics', '/METRICS', '//metrics', '/metrics/', '/%6detrics', '/ws/../metrics', '/readyz', '/admin', '/debug'],
  ...['/api', '/api/', '/api/stats', '/api/openapi.json'],
];

export function handshakeSuite(target: Target): void {
  const answer = (request: Request) => answerTo(target, handshake(request));

  describe('opening handshake', () => {
    test('RFC 6455 1.3: the sample key is answered by the Accept value of the RFC', async () => {
      const { status, headers } = await answer({});
      expect(status).toBe(101);
      expect(headers).toContainEqual(['sec-websocket-accept', 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=']);
    });

    test('RFC 6455 4.2.2: Accept is the SHA-1 of any key and the GUID, and each header of the answer stands once', async () => {
      const key = randomBytes(16).toString('base64');
      const response = await answer({ headers: { 'Sec-WebSocket-Key': key } });
      const accept = createHash('sha1')
        .update(key + acceptSuffix)
        .digest('base64');
      expect(valuesOf(response, 'sec-websocket-accept')).toEqual([accept]);
      expect(valuesOf(response, 'upgrade').map((value) => value.toLowerCase())).toEqual(['websocket']);
      expect(valuesOf(response, 'connection').map((value) => value.toLowerCase())).toEqual(['upgrade']);
    });

    test.each<[string, Request]>([
      ['Upgrade in any case', { headers: { Upgrade: 'WebSocket' } }],
      ['Connection with other options beside it', { headers: { Connection: 'keep-alive, Upgrade' } }],
      ['Connection in any case', { headers: { Connection: 'upgrade' } }],
      ['a query behind the path', { path: '/ws?client=1' }],
      ['header fields of no meaning', { headers: { 'X-Anything': 'x'.repeat(1000) } }],
    ])('RFC 6455 4.2.1: %s is taken', async (_, request) => {
      await expectServed(await open(target, request));
    });

    test('RFC 9110 8.6: a Content-Length of 0 announces no body, and what follows is frames', async () => {
      await expectServed(await open(target, { headers: { 'Content-Length': '0' } }));
    });

    test.each<[string, Headers]>([
      ...['1', '00', '+0', '-0', '0x0', '0,', '0 0', ''].map((length): [string, Headers] => [
        `Content-Length "${length}"`,
        { 'Content-Length': length },
      ]),
      ['two different Content-Length', { 'Content-Length': ['0', '5'] }],
      ['Content-Length 0 beside chunks', { 'Content-Length': '0', 'Transfer-Encoding': 'chunked' }],
      ['Content-Length 0 beside an empty Transfer-Encoding', { 'Content-Length': '0', 'Transfer-Encoding': '' }],
    ])('RFC 9112 6.3: a handshake with %s is refused', async (_, headers) => {
      expectRefused((await answer({ headers })).status);
    });

    test.each(['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'])(
      'RFC 6455 4.2.1 (1): a handshake by %s is refused',
      async (method) => expectRefused((await answer({ method })).status),
    );

    test('RFC 6455 4.2.1 (1): a handshake by HTTP/1.0 is refused', async () => {
      expectRefused((await answer({ version: 'HTTP/1.0' })).status);
    });

    test.each<[string, Headers]>([
      ['no Host', { Host: null }],
      ['two different Hosts', { Host: ['localhost', 'elsewhere.example'] }],
    ])('RFC 6455 4.2.1 (2), RFC 9112 3.2: %s is answered by 400', async (_, headers) => {
      expect((await answer({ headers })).status).toBe(400);
    });

    test.each<[string, Headers]>([
      ['4.2.1 (3): no Upgrade', { Upgrade: null }],
      ['4.2.1 (3): an Upgrade to something else', { Upgrade: 'h2c' }],
      ['4.2.1 (3): an Upgrade that only begins like websocket', { Upgrade: 'websockets' }],
      ['4.2.1 (4): no Connection', { Connection: null }],
      ['4.2.1 (4): Connection without upgrade', { Connection: 'keep-alive' }],
      ['4.2.1 (4): Connection with a word that contains upgrade', { Connection: 'upgraded, no-upgrade' }],
    ])('RFC 6455 %s is refused', async (_, headers) => {
      expectRefused((await answer({ headers })).status);
    });

    test.each<[string, string | string[] | null]>([
      ['no key', null],
      ['an empty key', ''],
      ['a key of 24 characters that is not base64', '!'.repeat(24)],
      ['a key in the URL alphabet of base64', 'dGhlIHNhbXBsZSBub25j-_=='],
      ['a key of 15 bytes', randomBytes(15).toString('base64')],
      ['a key of 17 bytes', randomBytes(17).toString('base64')],
      ['a key of 18 bytes, which has 24 characters', randomBytes(18).toString('base64')],
      ['a key without its padding', sampleKey.slice(0, 22)],
      ['the same key twice', [sampleKey, sampleKey]],
      ['two keys', [sampleKey, 'AAAAAAAAAAAAAAAAAAAAAA==']],
    ])('RFC 6455 4.2.1 (5): %s is answered by 400', async (_, key) => {
      expect((await answer({ headers: { 'Sec-WebSocket-Key': key } })).status).toBe(400);
    });

    test.each([['0'], ['8'], ['12'], ['14'], ['130'], ['x'], ['13, 8'], [null]])(
      'RFC 6455 4.4: version %s is answered by 426 and the version that is spoken',
      async (version) => {
        const response = await answer({ headers: { 'Sec-WebSocket-Version': version } });
        expect(response.status).toBe(426);
        expect(valuesOf(response, 'sec-websocket-version')).toEqual(['13']);
      },
    );

    test('RFC 6455 11.3.5: two version headers are refused', async () => {
      expectRefused((await answer({ headers: { 'Sec-WebSocket-Version': ['13', '13'] } })).status);
    });

    test('RFC 6455 9.1: an offered extension is not answered when it is not used', async () => {
      const offer = 'permessage-deflate; client_max_window_bits, x-webkit-deflate-frame';
      const response = await answer({ headers: { 'Sec-WebSocket-Extensions': offer } });
      expect(response.status).toBe(101);
      expect(valuesOf(response, 'sec-websocket-extensions')).toEqual([]);
    });

    test('RFC 6455 4.2.1: another path than /ws is not found', async () => {
      for (const path of otherPaths) {
        expect.soft((await answer({ path })).status, path).toBe(404);
        expect
          .soft([404, 505], `absolute ${path}`)
          .toContain((await answer({ path: `http://localhost${path}` })).status);
      }
    });
  });

  test('RFC 9110 9.3.2: HEAD /healthz is answered like GET, with no body before the next answer', async () => {
    const socket = await RawSocket.connect(target.port);
    const ask = async (method: string) => {
      await socket.write(httpRequest({ method, path: '/healthz', headers: { Host: 'localhost' } }));
      const response = await socket.response();
      return [response.status, ...valuesOf(response, 'content-type'), ...valuesOf(response, 'content-length')];
    };
    expect(await ask('HEAD')).toEqual([200, 'text/plain', '3']);
    expect(await ask('GET')).toEqual([200, 'text/plain', '3']);
  });

  test('RFC 9112 3.2.2: a handshake whose target is in absolute form gets 505 (deviation)', async () => {
    expect((await answer({ path: 'http://localhost/ws' })).status).toBe(505);
  });

  describe('subprotocol', () => {
    const offering = (offer: string | string[] | null) => answer({ headers: { 'Sec-WebSocket-Protocol': offer } });

    test.each([
      ['roomcast.v1.json'],
      ['roomcast.v1.json, chat'],
      ['chat,roomcast.v1.json'],
      ['roomcast.v9.json, chat ,  roomcast.v1.json'],
      [['chat', 'roomcast.v1.json']],
    ])('RFC 6455 4.2.2 (5): of %s, roomcast.v1.json is chosen', async (offer) => {
      const response = await offering(offer);
      expect(response.status).toBe(101);
      expect(valuesOf(response, 'sec-websocket-protocol')).toEqual(['roomcast.v1.json']);
    });

    test('RFC 6455 4.2.2 (5): where none is offered none is answered, and the connection is served', async () => {
      const response = await offering(null);
      expect(response.status).toBe(101);
      expect(valuesOf(response, 'sec-websocket-protocol')).toEqual([]);
      await expectServed(await open(target));
    });

    test.each([['chat'], ['roomcast.v2.json'], ['roomcast.v1'], ['Roomcast.V1.Json'], ['roomcast.v1.json.x, mqtt']])(
      'RFC 6455 1.9: offering only %s is answered by 400',
      async (offer) => expect((await offering(offer)).status).toBe(400),
    );

    test('RFC 6455 1.9: a token with no subprotocol beside it is answered by 400, without the token', async () => {
      const token = await mintToken({ sub: 'alice' });
      const response = await offering(`roomcast.token.${token}`);
      expect(response.status).toBe(400);
      expect(response.head).not.toContain(token);
    });

    test('RFC 6455 10.1: a token offered as a subprotocol is used and never sent back, wherever it stands', async () => {
      const token = await mintToken({ sub: 'alice' });
      const entry = `roomcast.token.${token}`;
      for (const offer of [`${entry}, roomcast.v1.json`, `roomcast.v1.json, ${entry}`, [entry, 'roomcast.v1.json']]) {
        const headers = { 'Sec-WebSocket-Protocol': offer };
        const response = await answer({ headers });
        expect(valuesOf(response, 'sec-websocket-protocol')).toEqual(['roomcast.v1.json']);
        expect(response.head).not.toContain(token);
        await expectJson(await open(target, { headers }), { type: 'welcome', user: 'alice' });
      }
    });
  });
}

/** Any refusal; 426 where another upgrade would do, 505 for another version of HTTP. */
function expectRefused(status: number): void {
  expect([400, 404, 405, 426, 505]).toContain(status);
}
