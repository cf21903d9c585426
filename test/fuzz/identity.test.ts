/**
 * What says who somebody is and where he may go: tokens, room names, room rules, the headers of a handshake. All of it pure:
 * whatever comes, it is taken or refused with the error that its caller expects.
 */
import { createHmac } from 'node:crypto';
import { BlockList, isIP } from 'node:net';
import fc from 'fast-check';
import { expect } from 'vitest';
import { createAuthenticator } from '../../gateway/auth/authenticator.ts';
import { TokenError } from '../../gateway/auth/claims.ts';
import { clientAddress } from '../../gateway/http/client-address.ts';
import { readRoom, readSince, readWaitMs } from '../../gateway/http/fallback/request.ts';
import { type HandshakeRequest, readHandshake } from '../../gateway/http/handshake.ts';
import { roomcast } from '../../gateway/protocol/roomcast/dialect.ts';
import { Access, readRules } from '../../gateway/rooms/access.ts';
import { createLog } from '../../gateway/telemetry/log.ts';
import { isRoomName, personalRoom } from '../../shared/room.ts';
import { forgeToken, testSecret } from '../support/token.ts';
import { fuzz, nearly, someBytes } from './kit.ts';

const settings = {
  ...{ jwtSecret: testSecret, jwtPublicKey: undefined, jwtJwksUrl: undefined, jwtAlgorithms: undefined },
  ...{ jwtIssuer: undefined, jwtAudience: undefined, centrifugo: false, insecure: false },
};
const authenticator = createAuthenticator(settings, createLog('silent'));
const now = Math.floor(Date.now() / 1000);
const odd = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.constantFrom<unknown>(1e300, -1, '1', null, [], {}, '__proto__'),
);
const claims = fc.record(
  {
    sub: fc.oneof(fc.string(), odd),
    exp: fc.oneof(fc.constantFrom(now + 3_600, now - 2, now - 60), odd),
    nbf: odd,
    iat: odd,
    info: odd,
    rooms: fc.oneof(fc.dictionary(fc.string(), fc.array(fc.constantFrom('subscribe', 'publish', 'x'))), odd),
    aud: odd,
  },
  { requiredKeys: ['exp'] },
);
const header = fc.record(
  {
    alg: fc.oneof(fc.constantFrom('HS256', 'none', 'RS256', 'hs256'), odd),
    typ: odd,
    kid: odd,
    crit: odd,
    jwk: odd,
    b64: odd,
  },
  { requiredKeys: ['alg'] },
);
const part = fc.oneof(someBytes('{}":,algHS256\\u00'), fc.json());
const signed = fc
  .tuple(
    fc.oneof(header, fc.constant({ alg: 'HS256' }), part),
    fc.oneof(claims, part),
    fc.constantFrom(testSecret, 'another', null),
  )
  .map((parts) => forgeToken(...parts));

fuzz(
  'token',
  'only what was signed with the key is a user, with claims of the right types; all else is refused',
  fc.oneof(signed, nearly(signed, 'eyJ.-_=AZaz09'), someBytes('eyJ.-_=')),
  async (token) => {
    try {
      const { identity, expiresAt } = await authenticator.verify(token);
      const dot = token.lastIndexOf('.');
      expect(token.slice(dot + 1)).toBe(
        createHmac('sha256', testSecret).update(token.slice(0, dot)).digest('base64url'),
      );
      expect(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()).toContain('HS256');
      expect(typeof identity.user).toBe('string');
      expect(Number.isSafeInteger(expiresAt) && expiresAt > Date.now() - 5_000).toBe(true);
      if (identity.info !== undefined) JSON.parse(identity.info);
    } catch (error) {
      if (!(error instanceof TokenError)) throw error;
    }
  },
);

const roomText = fc.oneof(
  fc.stringMatching(/^[\w\-.:@/#$~=+%|,!]{0,20}$/),
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.constantFrom(
    '.',
    '..',
    'a/../b',
    '@',
    '@a',
    '*',
    'a'.repeat(200),
    'a'.repeat(201),
    '__proto__',
    'constructor',
    'a{b}',
  ),
);

fuzz(
  'room',
  'a name is a room by one grammar, in every form in which it comes; no two users share a room',
  fc.record({
    name: roomText,
    other: roomText,
    segment: fc.oneof(roomText, nearly(roomText, '%0123456789abcdefABCDEF/')),
  }),
  ({ name, other, segment }) => {
    const naive =
      /^[A-Za-z0-9_\-.:@/#$~=+%|,!]{1,200}$/.test(name) && !name.split('/').some((part) => /^\.\.?$/.test(part));
    expect(isRoomName(name)).toBe(naive);
    if (naive) expect(readRoom(encodeURIComponent(name))).toBe(name);
    try {
      expect(isRoomName(readRoom(segment))).toBe(true);
    } catch (error) {
      expect(error).toBeInstanceOf(TypeError);
    }
    if (!name.isWellFormed() || !other.isWellFormed() || name === '' || other === '') return;
    expect(personalRoom(name) === personalRoom(other)).toBe(name === other);
  },
);

const level = fc.oneof(fc.constantFrom('anyone', 'user', 'token', 'callback', 'server', 'none'), odd);
const rule = fc.oneof(
  fc.record(
    {
      match: fc.oneof(roomText, odd),
      subscribe: level,
      publish: level,
      slow: fc.oneof(fc.constantFrom('catch-up', 'drop', 'latest', 'close'), odd),
      history: fc.oneof(fc.record({ size: odd, maxBytes: odd, ttlSeconds: odd }, { requiredKeys: [] }), odd),
      presence: fc.oneof(fc.boolean(), odd),
      joinLeave: fc.oneof(fc.boolean(), odd),
      other: odd,
    },
    { requiredKeys: ['match'] },
  ),
  odd,
);

fuzz(
  'rules',
  'a rules file is taken whole, or refused with mistakes that can be shown; what is taken never opens a room of the server',
  fc.record({ file: fc.oneof(fc.record({ rooms: fc.array(rule, { maxLength: 4 }) }), odd), room: roomText }),
  ({ file, room }) => {
    const read = readRules(file);
    if ('mistakes' in read) {
      expect(read.mistakes.length).toBeGreaterThan(0);
      for (const mistake of read.mistakes) expect(mistake).not.toBe('');
      return;
    }
    const access = new Access(read.rules);
    const rules = access.rule(room);
    const nobody = { user: null, grants: [] };
    expect(access.decide(nobody, 'subscribe', room) === 'allowed').toBe(
      rules.subscribe === 'anyone' && !room.startsWith('@'),
    );
    expect(rules.history === undefined || (rules.history.size >= 1 && rules.history.ttlSeconds >= 1)).toBe(true);
  },
);

const names = fc.constantFrom(
  ...[
    'host',
    'origin',
    'upgrade',
    'connection',
    'sec-websocket-key',
    'sec-websocket-version',
    'sec-websocket-protocol',
  ],
  ...['authorization', 'cookie', 'content-length', 'transfer-encoding', 'last-event-id', 'x-forwarded-for'],
);
const values = fc.oneof(
  fc.constantFrom(
    ...[
      'localhost',
      'websocket',
      'Upgrade',
      'keep-alive, Upgrade',
      'dGhlIHNhbXBsZSBub25jZQ==',
      '13',
      'https://localhost',
    ],
    ...[
      'roomcast.v1.json',
      'roomcast.v1.json, roomcast.token.a.b.c',
      'Bearer a',
      'token="a"',
      'null',
      '0',
      'chunked',
      'e:1',
    ],
  ),
  fc.string({ unit: 'binary-ascii', maxLength: 30 }),
  someBytes(' ,;=:"[]./'),
);
const good: [string, string[]][] = [
  ['host', ['localhost']],
  ['upgrade', ['websocket']],
  ['connection', ['Upgrade']],
  ['sec-websocket-key', ['dGhlIHNhbXBsZSBub25jZQ==']],
  ['sec-websocket-version', ['13']],
];
const headers = fc
  .tuple(fc.boolean(), fc.array(fc.tuple(names, fc.array(values, { minLength: 1, maxLength: 2 })), { maxLength: 5 }))
  .map(([isGood, more]) => [...(isGood ? good : []), ...more]);
const query = fc.oneof(
  fc.constantFrom(
    'token=a',
    'since=e:1&wait=3',
    'since=%',
    'wait=26',
    'since=e:9007199254740993',
    'since=:1',
    'wait=-1',
  ),
  someBytes('&=%+:sincewaittoken0123456789'),
);
const trusted = new BlockList();
trusted.addSubnet('10.0.0.0', 8);

fuzz(
  'request-head',
  'the head of a request is taken or refused: a handshake, an origin, an address, a position, a time to wait',
  fc.record({ headers, query, method: fc.constantFrom('GET', 'POST', 'get') }),
  (input) => {
    const request: HandshakeRequest = { ...input, headers: new Map(input.headers) };
    const handshake = readHandshake(request, { authCookie: 'token', authQuery: true, allowedOrigins: undefined }, [
      roomcast,
    ]);
    if ('status' in handshake) expect(handshake.status).toMatch(/^4\d\d [A-Z]/);
    else {
      expect(request.method).toBe('GET');
      expect(handshake.key).toMatch(/^[A-Za-z0-9+/]{21}[AQgw]==$/);
      expect(['', 'roomcast.v1.json']).toContain(handshake.subprotocol);
      expect(request.headers.get('transfer-encoding')).toBeUndefined();
    }
    for (const read of [readSince, readWaitMs]) {
      try {
        const value = read(request);
        if (typeof value === 'number') expect(value >= 0 && value <= 25_000).toBe(true);
        else if (value !== undefined) expect(Number.isSafeInteger(value.offset) && value.offset >= 0).toBe(true);
      } catch (error) {
        expect(error).toBeInstanceOf(TypeError);
      }
    }
    const forwardedFor = request.headers.get('x-forwarded-for') ?? [];
    const peer = { address: '10.0.0.1', proxied: request.headers.get('host')?.[0] ?? '', forwardedFor };
    expect(isIP(clientAddress(peer, trusted))).toBeGreaterThan(0);
    expect(clientAddress({ ...peer, address: '192.0.2.1' }, trusted)).toBe('192.0.2.1');
  },
);
