/**
 * gateway/http/handshake.ts: which requests become connections (RFC 6455 section 4.2.1), which origins may ask for one, and
 * which token of several is taken.
 */
import { describe, expect, test } from 'vitest';
import { type HandshakeSettings, readHandshake } from '../../../gateway/http/handshake.ts';
import { roomcast } from '../../../gateway/protocol/roomcast/dialect.ts';

type Headers = Record<string, string | string[] | undefined>;

const key = 'dGhlIHNhbXBsZSBub25jZQ==';
const good: Headers = {
  host: 'gateway.example',
  upgrade: 'websocket',
  connection: 'Upgrade',
  'sec-websocket-key': key,
  'sec-websocket-version': '13',
};
const settings: HandshakeSettings = { authCookie: undefined, authQuery: false, allowedOrigins: undefined };

/** `undefined` leaves a header out, a list sends it on several lines. */
function handshake(
  changes: Headers = {},
  options: Partial<HandshakeSettings & { method: string; query: string }> = {},
) {
  const { method = 'GET', query = '', ...rest } = options;
  const headers = new Map<string, string[]>();
  for (const [name, value] of Object.entries({ ...good, ...changes })) {
    if (value !== undefined) headers.set(name, Array.isArray(value) ? value : [value]);
  }
  return readHandshake({ method, query, headers }, { ...settings, ...rest }, [roomcast]);
}

function statusOf(...request: Parameters<typeof handshake>): number {
  const answer = handshake(...request);
  return 'status' in answer ? Number(answer.status.split(' ')[0]) : 101;
}

test('a proper request is taken, with its key and without a subprotocol or token that nobody offered', () => {
  expect(handshake()).toEqual({ key, dialect: roomcast, subprotocol: '', token: undefined });
});

describe('the request', () => {
  test.each<[string, Headers, number]>([
    ['Upgrade in another case', { upgrade: 'WebSocket' }, 101],
    ['Upgrade in a list', { upgrade: 'h2c, websocket' }, 101],
    ['Connection in a list', { connection: 'keep-alive, Upgrade' }, 101],
    ['Connection on two lines', { connection: ['keep-alive', 'upgrade'] }, 101],
    ['no Upgrade', { upgrade: undefined }, 426],
    ['an empty Upgrade', { upgrade: '' }, 426],
    ['another Upgrade', { upgrade: 'websocket2' }, 426],
    ['no Connection', { connection: undefined }, 426],
    ['Connection without upgrade', { connection: 'keep-alive' }, 426],
    ['a longer word in Connection', { connection: 'upgrade-insecure' }, 426],
    ['no version', { 'sec-websocket-version': undefined }, 426],
    ['version 0', { 'sec-websocket-version': '0' }, 426],
    ['version 8', { 'sec-websocket-version': '8' }, 426],
    ['version 14', { 'sec-websocket-version': '14' }, 426],
    ['version x', { 'sec-websocket-version': 'x' }, 426],
    ['version 013', { 'sec-websocket-version': '013' }, 426],
    ['the version twice', { 'sec-websocket-version': ['13', '13'] }, 426],
    ['a list of versions', { 'sec-websocket-version': '13, 8' }, 426],
    ['no Host', { host: undefined }, 400],
    ['two Hosts', { host: ['gateway.example', 'evil.example'] }, 400],
    ['the same Host twice', { host: ['gateway.example', 'gateway.example'] }, 400],
    ['a body with a length', { 'content-length': '5' }, 400],
    ['a body of length 0, which is none', { 'content-length': '0' }, 101],
    ['a length of 0 twice', { 'content-length': ['0', '0'] }, 400],
    ['a length of 0 and another', { 'content-length': ['0', '5'] }, 400],
    ['a list of lengths', { 'content-length': '0, 5' }, 400],
    ['a length of 00', { 'content-length': '00' }, 400],
    ['a length of 0 and chunks', { 'content-length': '0', 'transfer-encoding': 'chunked' }, 400],
    ['a body in chunks', { 'transfer-encoding': 'chunked' }, 400],
  ])('with %s', (_, changes, status) => {
    expect(statusOf(changes)).toBe(status);
  });

  test.each(['POST', 'HEAD', 'PUT', 'OPTIONS', 'get', 'CONNECT'])('by %s is 405', (method) => {
    expect(handshake({}, { method })).toMatchObject({ status: '405 Method Not Allowed', headers: { allow: 'GET' } });
  });

  test('that is refused for its version is told the one version there is (RFC 6455 section 4.4)', () => {
    const headers = { 'sec-websocket-version': '13' };
    expect(handshake({ 'sec-websocket-version': '8' })).toMatchObject({ reason: 'version', headers });
    expect(handshake({ upgrade: undefined })).toMatchObject({
      reason: 'request',
      headers: { ...headers, upgrade: 'websocket' },
    });
  });

  test.each<[string, string | string[] | undefined, number]>([
    ['16 bytes', Buffer.alloc(16, 255).toString('base64'), 101],
    ['16 zero bytes', Buffer.alloc(16).toString('base64'), 101],
    ['none', undefined, 400],
    ['empty', '', 400],
    ['15 bytes', Buffer.alloc(15).toString('base64'), 400],
    ['17 bytes', Buffer.alloc(17).toString('base64'), 400],
    ['18 bytes: 24 characters without padding', Buffer.alloc(18).toString('base64'), 400],
    ['24 characters that are no base64', '!'.repeat(24), 400],
    ['base64url', `${'-_'.repeat(10)}AA==`, 400],
    ['bits behind the last byte', 'dGhlIHNhbXBsZSBub25jZR==', 400],
    ['white space inside', 'dGhlIHNhbXBsZSBub25j Q==', 400],
    ['twice', [key, key], 400],
    ['two different ones', [key, 'AAAAAAAAAAAAAAAAAAAAAA=='], 400],
  ])('with a key of %s', (_, value, status) => {
    expect(statusOf({ 'sec-websocket-key': value })).toBe(status);
  });
});

describe('the subprotocol', () => {
  const offer = 'sec-websocket-protocol';
  test.each<[string, string | string[]]>([
    ['alone', 'roomcast.v1.json'],
    ['first of several', 'roomcast.v1.json, chat'],
    ['last of several', 'chat,roomcast.v1.json'],
    ['on a line of its own', ['chat', 'roomcast.v1.json']],
    ['beside a token', 'roomcast.token.a.b.c, roomcast.v1.json'],
  ])('is answered by its one name when it is offered %s', (_, offered) => {
    expect(handshake({ [offer]: offered })).toMatchObject({ subprotocol: 'roomcast.v1.json' });
  });

  test.each<[string, string]>([
    ['others', 'chat'],
    ['a later version', 'roomcast.v2.json'],
    ['another case', 'Roomcast.v1.json'],
    ['only a token', 'roomcast.token.a.b.c'],
    ['a longer name', 'roomcast.v1.json2'],
  ])('is 400 when only %s is offered', (_, offered) => {
    expect(handshake({ [offer]: offered })).toMatchObject({ status: '400 Bad Request', reason: 'subprotocol' });
  });
});

describe('an origin', () => {
  const cases: [allowed: string[] | undefined, origin: string | string[] | undefined, status: number][] = [
    [undefined, undefined, 101],
    [undefined, 'https://gateway.example', 101],
    [undefined, 'http://gateway.example', 101],
    [undefined, 'HTTPS://GATEWAY.EXAMPLE', 101],
    [undefined, 'https://evil.example', 403],
    [undefined, 'https://gateway.example.evil.example', 403],
    [undefined, 'https://evilgateway.example', 403],
    [undefined, 'https://gateway.example.', 403],
    [undefined, 'https://gateway.example:8443', 403],
    [undefined, 'https://sub.gateway.example', 403],
    [undefined, 'https://evil.example/gateway.example', 403],
    [undefined, 'https://gateway.example@evil.example', 403],
    [undefined, 'gateway.example', 403],
    [undefined, 'app://gateway.example', 403],
    [undefined, 'file://', 403],
    [undefined, 'null', 403],
    [undefined, '', 403],
    [undefined, ['https://gateway.example', 'https://gateway.example'], 403],
    [['https://app.example'], undefined, 101],
    [['https://app.example'], 'https://app.example', 101],
    [['https://other.example', 'https://app.example'], 'https://app.example', 101],
    [['https://app.example'], 'https://APP.example', 403],
    [['https://app.example'], 'http://app.example', 403],
    [['https://app.example'], 'https://app.example:443', 403],
    [['https://app.example'], 'https://app.example.', 403],
    [['https://app.example'], 'https://app.example/', 403],
    [['https://app.example'], 'https://app.example.evil.example', 403],
    [['https://app.example'], 'https://gateway.example', 403],
    [['https://app.example'], 'null', 403],
    [['https://app.example'], '', 403],
    [['https://app.example'], '*', 403],
    [['https://app.example'], ['https://app.example', 'https://evil.example'], 403],
    [['*'], 'https://anywhere.example', 101],
    [['*'], 'null', 101],
  ];

  test.each(cases)('with %j allowed, %j is answered by %i', (allowedOrigins, origin, status) => {
    const answer = handshake({ origin }, { allowedOrigins });
    expect('status' in answer ? Number(answer.status.slice(0, 3)) : 101).toBe(status);
    if ('status' in answer) expect(answer.reason).toBe('origin');
  });

  test.each<[host: string, origin: string, status: number]>([
    ['gateway.example:8443', 'https://gateway.example:8443', 101],
    ['gateway.example:443', 'https://gateway.example', 101],
    ['gateway.example:80', 'http://gateway.example', 101],
    ['Gateway.Example', 'https://gateway.example', 101],
    ['[::1]:8080', 'http://[::1]:8080', 101],
    ['127.0.0.1:8080', 'http://localhost:8080', 403],
    ['gateway.example:8443', 'https://gateway.example', 403],
    ['gateway.example:443', 'http://gateway.example', 403],
  ])('of host %s: %s is answered by %i', (host, origin, status) => {
    expect(statusOf({ host, origin })).toBe(status);
  });
});

describe('the token', () => {
  const everywhere = {
    authorization: 'Bearer from.header',
    'sec-websocket-protocol': 'roomcast.v1.json, roomcast.token.from.subprotocol',
    cookie: 'session=from.cookie',
  };
  const options = { authCookie: 'session', authQuery: true, query: 'token=from.query' };
  const tokenOf = (changes: Headers, more: Parameters<typeof handshake>[1] = options) => {
    const answer = handshake(changes, more);
    return 'token' in answer ? answer.token : answer.status;
  };

  test('is the first of: header, subprotocol, query, cookie', () => {
    const { authorization, 'sec-websocket-protocol': offered, cookie } = everywhere;
    expect(tokenOf({ authorization, 'sec-websocket-protocol': offered, cookie })).toBe('from.header');
    expect(tokenOf({ 'sec-websocket-protocol': offered, cookie })).toBe('from.subprotocol');
    expect(tokenOf({ cookie })).toBe('from.query');
    expect(tokenOf({ cookie }, { ...options, query: '' })).toBe('from.cookie');
    expect(tokenOf({}, { ...options, query: '' })).toBeUndefined();
  });

  test('that is bad is not skipped for a later one', () => {
    expect(tokenOf({ ...everywhere, authorization: 'Bearer ' })).toBe('');
    expect(tokenOf({ ...everywhere, authorization: 'Bearer' })).toBe('');
    expect(tokenOf({ cookie: everywhere.cookie }, { ...options, query: 'token=' })).toBe('');
    const empty = 'roomcast.v1.json, roomcast.token.';
    expect(tokenOf({ cookie: everywhere.cookie, 'sec-websocket-protocol': empty })).toBe('');
  });

  test.each([
    ['Bearer a.b.c', 'a.b.c'],
    ['bearer a.b.c', 'a.b.c'],
    ['BEARER   a.b.c', 'a.b.c'],
    ['Basic dXNlcjpwYXNz', undefined],
    ['Bearera.b.c', undefined],
    ['', undefined],
  ])('in Authorization: %j', (authorization, expected) => {
    expect(tokenOf({ authorization }, {})).toBe(expected);
  });

  test('in the query is off unless it is turned on', () => {
    expect(tokenOf({}, { query: 'token=from.query' })).toBeUndefined();
    expect(tokenOf({}, { query: 'a=b&token=from.query&token=other', authQuery: true })).toBe('from.query');
    expect(tokenOf({}, { query: 'token=a%2Eb', authQuery: true })).toBe('a.b');
    expect(tokenOf({}, { query: 'Token=a&xtoken=b', authQuery: true })).toBeUndefined();
  });

  test.each([
    ['session=a.b.c', 'a.b.c'],
    ['theme=dark; session=a.b.c; lang=de', 'a.b.c'],
    ['theme=dark;session=a.b.c', 'a.b.c'],
    ['session=a=b==', 'a=b=='],
    ['session=', ''],
    ['session="a.b.c"', 'a.b.c'],
    ['theme="dark"; session= "a.b.c" ; lang=de', 'a.b.c'],
    ['session=""', ''],
    ['session="', '"'],
    ['session="a.b.c', '"a.b.c'],
    ['session=first; session=second', 'first'],
    ['xsession=a; Session=b; session2=c', undefined],
    ['session', undefined],
    [';;=; =x', undefined],
    ['', undefined],
  ])('in the cookie %j', (cookie, expected) => {
    expect(tokenOf({ cookie }, { authCookie: 'session' })).toBe(expected);
  });

  test('in a cookie is read from every line, and only where a cookie is configured', () => {
    expect(tokenOf({ cookie: ['theme=dark', 'session=a.b.c'] }, { authCookie: 'session' })).toBe('a.b.c');
    expect(tokenOf({ cookie: 'session=a.b.c' }, {})).toBeUndefined();
  });

  test('is never part of what a refused request is told', () => {
    const refused = handshake({ ...everywhere, upgrade: undefined }, options);
    expect(JSON.stringify(refused)).not.toContain('from.');
  });
});
