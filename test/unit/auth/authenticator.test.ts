/**
 * gateway/auth/authenticator.ts with one key: which tokens become an identity, and that every other one is refused with the reason that
 * the metrics show. Forged tokens are made by hand, as no library signs them. Key sets: test/unit/auth/jwks.test.ts.
 */
import { createHmac, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { SignJWT } from 'jose';
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Authenticator, createAuthenticator, signToken } from '../../../gateway/auth/authenticator.ts';
import { TokenError } from '../../../gateway/auth/claims.ts';
import type { Environment } from '../../../gateway/config.ts';
import { createLog } from '../../../gateway/telemetry/log.ts';
import { forgeToken, mintToken } from '../../support/token.ts';
import { curve, jwk, pem, read, secret } from '../config/configuration.ts';

const now = 1_800_000_000;
const claims = { sub: 'ann', exp: now + 60 };
const hs256 = { alg: 'HS256' };

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const attacker = generateKeyPairSync('rsa', { modulusLength: 2048 });
const rsaPem = pem(rsa);

const authenticator = (settings: Environment = {}) => createAuthenticator(read(settings), createLog('silent'));
const byKey = (key: string, settings: Environment = {}) =>
  authenticator({ JWT_SECRET: '', JWT_PUBLIC_KEY: key, ...settings });
const sign = (header: { alg: string; [field: string]: unknown }, key: KeyObject, payload: object = claims) =>
  new SignJWT({ ...payload }).setProtectedHeader(header).sign(key);
const good = (changes: object = {}) => forgeToken(hs256, { ...claims, ...changes }, secret);

/** The reason of the refusal, or 'accepted'. */
async function verdict(by: Authenticator, token: string): Promise<string> {
  try {
    await by.verify(token);
    return 'accepted';
  } catch (error) {
    if (!(error instanceof TokenError)) throw error;
    if (token.length > 8) expect(error.message).not.toContain(token.slice(-8));
    return error.reason;
  }
}

let bySecret: Authenticator;
let byRsa: Authenticator;

beforeAll(async () => {
  bySecret = await authenticator();
  byRsa = await byKey(rsaPem);
});

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: now * 1000 });
});

afterEach(() => {
  vi.useRealTimers();
});

describe('a good token', () => {
  test('becomes the user, his grants, his info as text and the end of his time', async () => {
    const token = await mintToken(
      { ...claims, rooms: { 'chat:*': ['subscribe', 'publish'] }, info: { name: 'Ann' } },
      secret,
    );
    expect(await bySecret.verify(token)).toEqual({
      identity: {
        user: 'ann',
        grants: [{ pattern: 'chat:*', actions: expect.any(Number) }],
        info: '{"name":"Ann"}',
      },
      expiresAt: (now + 60) * 1000,
      assigned: [],
    });
  });

  test('is one that the gateway signs for its demo', async () => {
    const token = await signToken(
      new TextEncoder().encode(secret),
      { sub: 'ann', rooms: { 'demo:*': ['publish'] } },
      60,
    );
    const { identity, expiresAt } = await bySecret.verify(token);
    expect(identity.user).toBe('ann');
    expect(expiresAt).toBe((now + 60) * 1000);
  });

  test.each(['a', 'é'.repeat(100), '😀', '__proto__', 'a"b\\c\n', 'a'.repeat(200)])(
    'may be of the user %j',
    async (sub) => {
      expect((await bySecret.verify(good({ sub }))).identity.user).toBe(sub);
    },
  );

  test.each([
    ['info of 512 bytes', { info: 'a'.repeat(510) }],
    ['nbf in the past', { nbf: now - 60 }],
    ['a fraction in exp', { exp: now + 0.5 }],
    ['exp in the year 9999', { exp: 253_402_300_799 }],
    ['no rooms, as PHP writes an empty map', { rooms: [] }],
    ['null for rooms', { rooms: null }],
    ['claims that nobody knows', { __proto__x: 1, constructor: { prototype: 1 } }],
  ])('may have %s', async (_, changes) => {
    expect(await verdict(bySecret, good(changes))).toBe('accepted');
  });

  test.each(['../../dev/null', "' OR 1=1 --", '__proto__', 'a'.repeat(10_000), ''])(
    'by the one key that is configured may name any key id: %.40s',
    async (kid) => {
      expect(await verdict(bySecret, forgeToken({ alg: 'HS256', kid }, claims, secret))).toBe('accepted');
    },
  );

  test('shares its grants with every other that grants the same, and with no other', async () => {
    const grantsOf = async (sub: string, rooms: object) =>
      (await bySecret.verify(good({ sub, rooms }))).identity.grants;
    const grants = await grantsOf('ann', { 'chat:*': ['subscribe'] });
    expect(await grantsOf('bob', { 'chat:*': ['subscribe'] })).toBe(grants);
    expect(await grantsOf('bob', { 'chat:*': ['publish'] })).not.toEqual(grants);
    expect(await grantsOf('bob', { 'chat:a': ['subscribe'] })).not.toEqual(grants);
    for (let room = 0; room < 1_000; room++) await grantsOf('ann', { [`chat:${room}`]: ['subscribe'] });
    expect(await grantsOf('ann', { 'chat:*': ['subscribe'] })).toEqual(grants);
  });

  test('keeps sharing them while it is in use, however many others come in between', async () => {
    const grantsOf = async (rooms: object) => (await bySecret.verify(good({ rooms }))).identity.grants;
    const grants = await grantsOf({ 'in-use:*': ['subscribe'] });
    for (let other = 0; other < 2_500; other++) {
      await grantsOf({ [`other:${other}`]: ['subscribe'] });
      if (other % 100 === 0) expect(await grantsOf({ 'in-use:*': ['subscribe'] })).toBe(grants);
    }
  });
});

describe('public keys', () => {
  const p256 = curve('P-256');
  const p384 = curve('P-384');
  const ed25519 = generateKeyPairSync('ed25519');
  const keys: [algorithm: string, form: string, key: string, privateKey: KeyObject][] = [
    ['RS256', 'PEM', rsaPem, rsa.privateKey],
    ['RS256', 'JWK', jwk(rsa), rsa.privateKey],
    ['PS256', 'PEM', rsaPem, rsa.privateKey],
    ['ES256', 'PEM', pem(p256), p256.privateKey],
    ['ES256', 'JWK', jwk(p256), p256.privateKey],
    ['ES384', 'PEM', pem(p384), p384.privateKey],
    ['EdDSA', 'PEM', pem(ed25519), ed25519.privateKey],
    ['EdDSA', 'JWK', jwk(ed25519), ed25519.privateKey],
  ];

  test.each(keys)('verify %s by %s, and refuse what another key signed', async (alg, _, key, privateKey) => {
    const by = await byKey(key);
    const token = await sign({ alg }, privateKey);
    expect((await by.verify(token)).identity.user).toBe('ann');
    const [header, payload, signature = ''] = token.split('.');
    const other = forgeToken({ alg }, { ...claims, sub: 'bob' }, null).split('.')[1];
    expect(await verdict(by, `${header}.${other}.${signature}`)).toBe('signature');
    expect(await verdict(by, `${header}.${payload}.${signature.slice(0, -8)}AAAAAAAA`)).toBe('signature');
  });

  test('verify only the algorithms that the configuration leaves them', async () => {
    const by = await byKey(rsaPem, { JWT_ALGORITHMS: 'PS256' });
    expect(await verdict(by, await sign({ alg: 'PS256' }, rsa.privateKey))).toBe('accepted');
    expect(await verdict(by, await sign({ alg: 'RS256' }, rsa.privateKey))).toBe('malformed');
  });

  test('are no secrets: HS256 with the key itself is refused, in every form it is written', async () => {
    for (const [, form, key] of keys) {
      const by = await byKey(key);
      for (const text of [key, `${key}\n`, key.trim()]) {
        expect(await verdict(by, forgeToken(hs256, claims, text)), form).toBe('malformed');
      }
    }
    const der = rsa.publicKey.export({ type: 'spki', format: 'der' });
    const [head, payload] = forgeToken(hs256, claims, null).split('.');
    const signature = createHmac('sha256', der).update(`${head}.${payload}`).digest('base64url');
    expect(await verdict(byRsa, `${head}.${payload}.${signature}`)).toBe('malformed');
  });

  test.each([
    ['jwk', { jwk: attacker.publicKey.export({ format: 'jwk' }) }],
    ['jku', { jku: 'http://127.0.0.1:1/jwks.json', kid: 'evil' }],
    ['x5u', { x5u: 'http://127.0.0.1:1/cert.pem' }],
    ['x5c', { x5c: [attacker.publicKey.export({ type: 'spki', format: 'der' }).toString('base64')] }],
  ])('come from the configuration, never from a header %s', async (_, header) => {
    expect(await verdict(byRsa, await sign({ alg: 'RS256', ...header }, attacker.privateKey))).toBe('signature');
  });
});

describe('a token is refused', () => {
  test.each<[string, object | string, string | null]>([
    ['alg none', { alg: 'none' }, null],
    ['alg None with a signature', { alg: 'None' }, secret],
    ['no alg', { typ: 'JWT' }, secret],
    ['alg of another kind of key', { alg: 'RS256' }, secret],
    ['alg HS512', { alg: 'HS512' }, secret],
    ['alg as a list', { alg: ['HS256'] }, secret],
    ['crit of an unknown extension', { alg: 'HS256', crit: ['exp'], exp: 1 }, secret],
    ['crit that is empty', { alg: 'HS256', crit: [] }, secret],
    ['an unencoded payload', { alg: 'HS256', b64: false, crit: ['b64'] }, secret],
    ['a header that is no JSON', '{', secret],
    ['a header that is no object', '[]', secret],
  ])('as malformed: %s', async (_, header, key) => {
    expect(await verdict(bySecret, forgeToken(header, claims, key))).toBe('malformed');
  });

  test.each([
    ['nothing', ''],
    ['one part', 'abc'],
    ['two parts', 'a.b'],
    ['four parts', 'a.b.c.d'],
    ['five parts, as if encrypted', 'a.b.c.d.e'],
    ['dots', '..'],
    ['junk in three parts', 'a.b.c'],
    ['100 KB', forgeToken(hs256, { ...claims, pad: 'a'.repeat(75_000) }, secret)],
    ['just over 16 KB', forgeToken(hs256, { ...claims, pad: 'a'.repeat(12_400) }, secret)],
    ['claims that are no JSON', forgeToken(hs256, 'hello', secret)],
    ['claims that are a list', forgeToken(hs256, '[]', secret)],
    ['claims that are null', forgeToken(hs256, 'null', secret)],
  ])('as malformed: %s', async (_, token) => {
    expect(await verdict(bySecret, token)).toBe('malformed');
  });

  test.each([
    ['signed with another secret', forgeToken(hs256, claims, `${secret}x`)],
    ['signed with an empty secret', forgeToken(hs256, claims, '')],
    ['with white space before it', ` ${good()}`],
    ['not signed', forgeToken(hs256, claims, null)],
    ['with half of its signature', good().replace(/.{21}$/, '')],
    ['with its signature and more', `${good()}A`],
    ['with its signature padded', `${good()}=`],
    ['with characters that look like its signature', good().replace(/.$/, 'é')],
    ['signed with an empty file named by kid', forgeToken({ alg: 'HS256', kid: '../../dev/null' }, claims, '')],
    ['with other claims than were signed', good().replace(/\.[^.]+\./, `.${good({ sub: 'bob' }).split('.')[1]}.`)],
  ])('for its signature: %s', async (_, token) => {
    expect(await verdict(bySecret, token)).toBe('signature');
  });

  test.each([
    ['sub missing', { sub: undefined }],
    ['sub empty', { sub: '' }],
    ['sub of 201 bytes', { sub: 'a'.repeat(201) }],
    ['sub of 202 bytes in 101 characters', { sub: 'é'.repeat(101) }],
    ['sub a number', { sub: 5 }],
    ['sub null', { sub: null }],
    ['sub a list', { sub: ['ann'] }],
    ['exp missing', { exp: undefined }],
    ['exp a string', { exp: String(now + 60) }],
    ['exp null', { exp: null }],
    ['exp 1e300', { exp: 1e300 }],
    ['exp beyond the year 9999', { exp: 253_402_300_800 }],
    ['nbf in the future', { nbf: now + 60 }],
    ['nbf a string', { nbf: 'tomorrow' }],
    ['info of 513 bytes', { info: 'a'.repeat(511) }],
    ['info of 513 bytes in fewer characters', { info: 'é'.repeat(256) }],
    ['rooms a list', { rooms: ['chat:*'] }],
    ['rooms with an unknown action', { rooms: { 'chat:*': ['write'] } }],
    ['rooms with a pattern that is none', { rooms: { '*****': ['subscribe'] } }],
    ['rooms of 65 patterns', { rooms: Object.fromEntries(Array.from({ length: 65 }, (_, n) => [`r${n}`, []])) }],
  ])('for its claims: %s', async (_, changes) => {
    expect(await verdict(bySecret, good(changes))).toBe('claims');
  });

  test('for its claims: a lone surrogate in sub, an infinite exp', async () => {
    const forge = (payload: string) => forgeToken(hs256, payload, secret);
    expect(await verdict(bySecret, forge(`{"sub":"a\\ud800","exp":${now + 60}}`))).toBe('claims');
    expect(await verdict(bySecret, forge('{"sub":"ann","exp":1e309}'))).toBe('claims');
    expect(await verdict(bySecret, forge(`{"__proto__":{"sub":"ann"},"exp":${now + 60}}`))).toBe('claims');
  });

  test.each([
    ['past', { exp: now - 60 }],
    ['0', { exp: 0 }],
    ['negative', { exp: -1e300 }],
  ])('as expired: exp %s', async (_, changes) => {
    expect(await verdict(bySecret, good(changes))).toBe('expired');
  });
});

describe('an insecure node', () => {
  const insecure = () => authenticator({ INSECURE: 'true', JWT_SECRET: 'short' });
  const everything = [{ pattern: '*', actions: 15 }];

  test('takes tokens without sub and exp, and gives everybody every right', async () => {
    const verify = (payload: object) => insecure().verify(forgeToken(hs256, payload, 'short'));
    expect(await verify({})).toEqual({
      identity: { user: null, grants: everything },
      expiresAt: Infinity,
      assigned: [],
    });
    expect(await verify({ sub: '', info: 1 })).toMatchObject({ identity: { user: null, info: '1' } });
    expect(await verify({ ...claims, rooms: {} })).toEqual({
      identity: { user: 'ann', grants: everything },
      expiresAt: claims.exp * 1_000,
      assigned: [],
    });
    expect(insecure().anonymous).toEqual({ user: null, grants: everything });
    expect(authenticator().anonymous).toEqual({ user: null, grants: [] });
  });

  test('takes no token that is signed with another key, has ended, or has a sub that is no name', async () => {
    const verdictOf = (payload: object, key = 'short') => verdict(insecure(), forgeToken(hs256, payload, key));
    expect(await verdictOf({}, 'other')).toBe('signature');
    expect(await verdictOf({ exp: now - 60 })).toBe('expired');
    expect(await verdictOf({ sub: 7 })).toBe('claims');
  });
});

describe('issuer and audience', () => {
  test('are required where they are configured', async () => {
    const by = await authenticator({ JWT_ISSUER: 'https://issuer.example', JWT_AUDIENCE: 'chat' });
    const right = { iss: 'https://issuer.example', aud: 'chat' };
    expect(await verdict(by, good(right))).toBe('accepted');
    expect(await verdict(by, good({ ...right, aud: ['other', 'chat'] }))).toBe('accepted');
    for (const wrong of [
      {},
      { iss: right.iss },
      { aud: 'chat' },
      { ...right, iss: 'https://evil.example' },
      { ...right, aud: 'mail' },
    ]) {
      expect(await verdict(by, good(wrong))).toBe('claims');
    }
    expect(await verdict(by, good({ ...right, aud: [] }))).toBe('claims');
    expect(await verdict(by, good({ ...right, iss: [right.iss] }))).toBe('claims');
  });

  test('of several audiences one is enough', async () => {
    const by = await authenticator({ JWT_AUDIENCE: 'chat, https://api.example/' });
    for (const aud of ['chat', 'https://api.example/', ['mail', 'chat']]) {
      expect(await verdict(by, good({ aud }))).toBe('accepted');
    }
    for (const aud of ['mail', 'chat, https://api.example/', '', [], undefined]) {
      expect(await verdict(by, good({ aud }))).toBe('claims');
    }
  });

  test('and the secret hold also where the environment has a line end behind them', async () => {
    const blanks = { JWT_SECRET: `${secret}\r\n`, JWT_ISSUER: 'me\n', JWT_AUDIENCE: 'chat\n' };
    expect(await verdict(await authenticator(blanks), good({ iss: 'me', aud: 'chat' }))).toBe('accepted');
  });

  test('are not looked at where they are not', async () => {
    expect(await verdict(bySecret, good({ iss: 'anybody', aud: 'anything' }))).toBe('accepted');
  });
});

describe('clocks that differ', () => {
  test('by less than 5 s are tolerated: such a token is good until 5 s after its exp', async () => {
    expect(await bySecret.verify(good({ exp: now - 4 }))).toMatchObject({ expiresAt: (now + 1) * 1000 });
    expect(await bySecret.verify(good({ exp: now }))).toMatchObject({ expiresAt: (now + 5) * 1000 });
    expect(await bySecret.verify(good({ exp: now + 1 }))).toMatchObject({ expiresAt: (now + 1) * 1000 });
    expect(await verdict(bySecret, good({ nbf: now + 5 }))).toBe('accepted');
  });

  test('by more are not', async () => {
    expect(await verdict(bySecret, good({ exp: now - 5 }))).toBe('expired');
    expect(await verdict(bySecret, good({ exp: now - 6 }))).toBe('expired');
    expect(await verdict(bySecret, good({ nbf: now + 6 }))).toBe('claims');
  });
});
