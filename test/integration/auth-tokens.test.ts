/**
 * Bad tokens end to end (RFC 8725): each is answered by the same 4501, whatever is wrong with it, and costs nothing else.
 *
 * And the good ones beside them, by secret and by every form of public key, so that a gateway which refuses everything
 * does not pass.
 */
import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { closeReason } from '../../shared/codes.ts';
import { connect, connectWelcomed, HandshakeRefusedError } from '../support/client.ts';
import { startNode } from '../support/node.ts';
import { forgeToken, mintToken, testSecret } from '../support/token.ts';
import { scrape } from './admin.ts';

const now = Math.floor(Date.now() / 1000);
const issued = { iss: 'https://issuer.example', aud: 'roomcast' };
const claims = { sub: 'user', exp: now + 3600, ...issued };
const header = { alg: 'HS256', typ: 'JWT' };
const good = forgeToken(header, claims, testSecret);

const node = await startNode({ JWT_ISSUER: issued.iss, JWT_AUDIENCE: issued.aud });

const forged = (change: object, over: object = header) => forgeToken(over, { ...claims, ...change }, testSecret);
const without = (claim: string) =>
  forgeToken(header, Object.fromEntries(Object.entries(claims).filter(([name]) => name !== claim)), testSecret);
const [head, , signature] = good.split('.');
const tampered = Buffer.from(JSON.stringify({ ...claims, sub: 'admin' })).toString('base64url');

const bad: [what: string, token: string][] = [
  ['alg none', forgeToken({ alg: 'none' }, claims, null)],
  ['alg None with a signature', forgeToken({ alg: 'None' }, claims, testSecret)],
  ['no alg', forgeToken({ typ: 'JWT' }, claims, testSecret)],
  ['an alg that is not allowed', forgeToken({ alg: 'HS384' }, claims, testSecret)],
  ['alg HS512 signed as such', signWith('sha512', { alg: 'HS512' })],
  ['a foreign secret', forgeToken(header, claims, 'another-secret-of-more-than-thirty-two-bytes')],
  ['a tampered payload', `${head}.${tampered}.${signature}`],
  ['no signature', `${head}.${good.split('.')[1]}.`],
  ['a key of its own in the header', ownKey()],
  ['jku', forgeToken({ ...header, jku: 'http://127.0.0.1:1/keys' }, claims, 'x'.repeat(40))],
  ['x5u', forgeToken({ ...header, x5u: 'http://127.0.0.1:1/cert' }, claims, 'x'.repeat(40))],
  ['kid that walks directories', forgeToken({ ...header, kid: '../../../../dev/null' }, claims, '')],
  ['kid with SQL', forgeToken({ ...header, kid: "' UNION SELECT 'x' --" }, claims, 'x')],
  ['kid __proto__', forgeToken({ ...header, kid: '__proto__' }, claims, 'undefined')],
  ['kid of 10 KB', forgeToken({ ...header, kid: 'k'.repeat(10_000) }, claims, 'x')],
  ['an unknown critical header', forgeToken({ ...header, crit: ['x'], x: 1 }, claims, testSecret)],
  ['an unencoded payload (RFC 7797)', forgeToken({ ...header, b64: false, crit: ['b64'] }, claims, testSecret)],
  ['a wrong issuer', forged({ iss: 'https://evil.example' })],
  ['no issuer', without('iss')],
  ['a wrong audience', forged({ aud: 'somebody-else' })],
  ['no audience', without('aud')],
  ['nbf in the future', forged({ nbf: now + 60 })],
  ['no exp', without('exp')],
  ['exp as text', forged({ exp: String(now + 3600) })],
  ['exp 1e300', forged({ exp: 1e300 })],
  ['exp in the past', forged({ exp: now - 60 })],
  ['exp null', forged({ exp: null })],
  ['exp negative', forged({ exp: -1 })],
  ['no sub', without('sub')],
  ['sub empty', forged({ sub: '' })],
  ['sub a number', forged({ sub: 1 })],
  ['sub of 201 bytes', forged({ sub: `${'ü'.repeat(100)}x` })],
  ['sub with half a character', forged({ sub: '\ud800' })],
  ['info over 512 bytes', forged({ info: 'x'.repeat(511) })],
  ['rooms a list', forged({ rooms: ['*'] })],
  ['rooms with an unknown action', forged({ rooms: { 'a:*': ['administer'] } })],
  ['rooms with a pattern of five stars', forged({ rooms: { '*a*b*c*d*': ['subscribe'] } })],
  [
    'rooms with 65 patterns',
    forged({ rooms: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`r${i}`, []])) }),
  ],
  ['a payload that is no object', forgeToken(header, '[]', testSecret)],
  ['a payload that is no JSON', forgeToken(header, 'sub=user', testSecret)],
  ['two parts', 'a.b'],
  ['five parts', 'a.b.c.d.e'],
  ['dots', '...'],
  ['text', 'not a token'],
];

/** Signed by HMAC with another hash than SHA-256. */
function signWith(hash: string, over: object): string {
  const unsigned = forgeToken(over, claims, null);
  return unsigned + createHmac(hash, testSecret).update(unsigned.slice(0, -1)).digest('base64url');
}

/** Signed by a key pair whose public half stands in the header. */
function ownKey(): string {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  return signed({ alg: 'EdDSA', jwk: publicKey.export({ format: 'jwk' }) }, claims, privateKey);
}

function signed(over: { alg: string; jwk?: object }, payload: object, key: KeyObject): string {
  const unsigned = forgeToken(over, payload, null);
  const hash = over.alg === 'EdDSA' ? null : 'sha256';
  const bytes = sign(hash, Buffer.from(unsigned.slice(0, -1)), { key, dsaEncoding: 'ieee-p1363' });
  return unsigned + bytes.toString('base64url');
}

describe('a good token', () => {
  test.each([
    ['plain', good],
    ['with a kid, which a single key ignores', forgeToken({ ...header, kid: '../x' }, claims, testSecret)],
    ['with several audiences', forged({ aud: ['other', issued.aud] })],
    [
      'with a claim named __proto__',
      forgeToken(header, `{"__proto__":{"sub":"x"},${JSON.stringify(claims).slice(1)}`, testSecret),
    ],
  ])('%s is welcomed', async (_what, token) => {
    const client = await connectWelcomed(node.url, token);
    expect(client.frames[0]).toMatchObject({ type: 'welcome', user: 'user' });
  });

  test('sub of 200 bytes and info of 512 are not too much', async () => {
    const sub = 'ü'.repeat(100);
    const client = await connectWelcomed(node.url, forged({ sub, info: 'x'.repeat(510) }));
    expect(client.frames[0]).toMatchObject({ user: sub });
  });
});

describe('a bad token', () => {
  test.each(bad)('%s: 4501, at the handshake and by auth', async (_what, token) => {
    const early = await connect(node.url, { token });
    const late = await connect(node.url);
    late.send({ type: 'auth', token });
    for (const client of [early, late]) {
      expect(await client.closed).toEqual({ code: 4501, reason: closeReason[4501] });
      expect(client.frames).toEqual([]);
    }
  });

  test('of 60 KB by auth: 4501; of 100 KB: too_large; in the handshake: refused', async () => {
    const client = await connect(node.url);
    expect(await client.request({ type: 'auth', token: 'x'.repeat(100_000) })).toMatchObject({ code: 'too_large' });
    client.send({ type: 'auth', token: 'x'.repeat(60_000) });
    expect(await client.closed).toMatchObject({ code: 4501 });
    const refused = await connect(node.url, { token: 'x'.repeat(100_000) }).catch((error: Error) => error);
    expect(refused).toBeInstanceOf(Error);
    if (refused instanceof HandshakeRefusedError) expect(refused.status).toBe(431);
  });

  test('is counted once, under a reason of a closed set', async () => {
    const counted = [...(await scrape(node))].flatMap(([series, count]) => {
      const [, reason] = /^gateway_handshakes_rejected_total\{reason="(token_.*)"\}$/.exec(series) ?? [];
      return reason === undefined ? [] : [{ reason, count }];
    });
    const known = [
      'token_malformed',
      'token_signature',
      'token_key',
      'token_expired',
      'token_claims',
      'token_unavailable',
    ];
    for (const { reason } of counted) expect(known).toContain(reason);
    expect(counted.reduce((sum, { count }) => sum + count, 0)).toBe(bad.length);
  });
});

describe('with GATEWAY_JWT_PUBLIC_KEY', () => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const curve = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const edwards = generateKeyPairSync('ed25519');
  const pem = (key: KeyObject) => String(key.export({ type: 'spki', format: 'pem' }));
  const jwk = (key: KeyObject) => JSON.stringify(key.export({ format: 'jwk' }));

  test.each([
    ['RS256, PEM', pem(rsa.publicKey), 'RS256', rsa.privateKey],
    ['RS256, PEM on one line', pem(rsa.publicKey).replaceAll('\n', '\\n'), 'RS256', rsa.privateKey],
    ['ES256, JWK', jwk(curve.publicKey), 'ES256', curve.privateKey],
    ['EdDSA, JWK', jwk(edwards.publicKey), 'EdDSA', edwards.privateKey],
  ])('%s: its own tokens are welcome, and nobody else gets in', async (_what, key, alg, privateKey) => {
    const keyed = await startNode({ JWT_SECRET: '', JWT_PUBLIC_KEY: key });
    const client = await connectWelcomed(keyed.url, signed({ alg }, claims, privateKey));
    expect(client.frames[0]).toMatchObject({ user: 'user' });

    const confused = [key, key.replaceAll('\\n', '\n'), key.trim()].map((secret) => forgeToken(header, claims, secret));
    const stranger = alg === 'EdDSA' ? curve.privateKey : edwards.privateKey;
    const foreign = signed({ alg: alg === 'EdDSA' ? 'ES256' : 'EdDSA' }, claims, stranger);
    for (const token of [...confused, foreign, await mintToken({ sub: 'user' }), forgeToken({ alg }, claims, 'x')]) {
      expect(await (await connect(keyed.url, { token })).closed).toMatchObject({ code: 4501 });
    }
  });
});
