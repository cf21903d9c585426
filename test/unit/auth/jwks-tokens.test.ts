/**
 * gateway/auth/authenticator.ts with the key set of an issuer, which is a real HTTP server: which key a token is verified by, when the
 * set is fetched again for it, and which refusals are for good. How the set is fetched: test/unit/auth/jwks.test.ts.
 */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { SignJWT } from 'jose';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { createAuthenticator, KeysUnavailableError } from '../../../gateway/auth/authenticator.ts';
import { TokenError } from '../../../gateway/auth/claims.ts';
import { createLog } from '../../../gateway/telemetry/log.ts';
import { onCleanup } from '../../support/cleanup.ts';
import { forgeToken } from '../../support/token.ts';
import { until } from '../../support/until.ts';
import { curve, inSet, pem, read } from '../config/configuration.ts';
import { answerSet, jwksServer } from './jwks-server.ts';

const log = createLog('silent');

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const p256 = curve('P-256');
const ed25519 = generateKeyPairSync('ed25519');
const set = [
  inSet(rsa, { kid: 'r' }),
  inSet(p256, { kid: 'e', alg: 'ES256' }),
  inSet(ed25519, { kid: 'd', use: 'sig' }),
];

const cooldownMs = 31_000;
const realNow = performance.now.bind(performance);
let aheadMs = 0;
vi.spyOn(performance, 'now').mockImplementation(() => realNow() + aheadMs);
afterAll(() => vi.restoreAllMocks());

const secondsAgo = (seconds: number) => Math.floor(Date.now() / 1000) - seconds;

/** Issued an hour ago, unless the claims say otherwise. */
const token = (header: { alg: string; [field: string]: unknown }, key: KeyObject, claims: object = {}) =>
  new SignJWT({ sub: 'ann', iat: secondsAgo(3_600), ...claims })
    .setProtectedHeader(header)
    .setExpirationTime('1h')
    .sign(key);

async function serving(...keys: object[]) {
  const server = await jwksServer(answerSet(...keys));
  const by = createAuthenticator(read({ JWT_SECRET: '', JWT_JWKS_URL: server.url }), log);
  onCleanup(() => by.close());
  /** The user, or why he was refused. */
  const verdict = (text: string) =>
    by.verify(text).then(
      ({ identity }) => identity.user,
      (error: unknown) => {
        if (error instanceof KeysUnavailableError) return 'unavailable';
        if (error instanceof TokenError) return error.reason;
        throw error;
      },
    );
  return { server, verdict };
}

describe('tokens by a key set', () => {
  test('are verified by the key that their id names, of each kind, with one fetch', async () => {
    const { server, verdict } = await serving(...set);
    expect(await verdict(await token({ alg: 'RS256', kid: 'r' }, rsa.privateKey))).toBe('ann');
    expect(await verdict(await token({ alg: 'ES256', kid: 'e' }, p256.privateKey))).toBe('ann');
    expect(await verdict(await token({ alg: 'EdDSA', kid: 'd' }, ed25519.privateKey))).toBe('ann');
    expect(await verdict(await token({ alg: 'ES256' }, p256.privateKey))).toBe('ann');
    expect(server.requests).toHaveLength(1);
  });

  test.each(['x', '', '../../etc/passwd', "' OR 1=1 --", '__proto__', 'constructor', 'k'.repeat(10_000)])(
    'with an unknown key id are refused for their key: %.40s',
    async (kid) => {
      const { server, verdict } = await serving(...set);
      expect(await verdict(await token({ alg: 'RS256', kid }, rsa.privateKey))).toBe('key');
      expect(server.requests).toHaveLength(1);
    },
  );

  test('200 at once with unknown key ids cause no fetch after the first', async () => {
    const { server, verdict } = await serving(...set);
    const tokens = await Promise.all(
      Array.from({ length: 200 }, (_, n) => token({ alg: 'ES256', kid: `x${n}` }, p256.privateKey)),
    );
    expect(new Set(await Promise.all(tokens.map(verdict)))).toEqual(new Set(['key']));
    expect(server.requests).toHaveLength(1);
  });

  test('that name a place to fetch keys from do not cause a fetch there', async () => {
    const { server, verdict } = await serving(...set);
    const evil = server.url.replace('jwks.json', 'evil.json');
    for (const header of [{ jku: evil }, { x5u: evil }]) {
      expect(await verdict(await token({ alg: 'ES256', kid: 'e', ...header }, curve('P-256').privateKey))).toBe(
        'signature',
      );
      expect(await verdict(await token({ alg: 'ES256', kid: 'evil', ...header }, p256.privateKey))).toBe('key');
    }
    expect(server.requests).toEqual(['/jwks.json']);
  });

  test('signed with HS256 are refused: by a public key, and by a secret that the set gives away', async () => {
    const { verdict } = await serving(...set, { kty: 'oct', kid: 's', k: Buffer.from('secret').toString('base64url') });
    const claims = { sub: 'ann', exp: Math.floor(Date.now() / 1000) + 60 };
    expect(await verdict(forgeToken({ alg: 'HS256', kid: 'r' }, claims, pem(rsa)))).toBe('malformed');
    expect(await verdict(forgeToken({ alg: 'HS256', kid: 's' }, claims, 'secret'))).toBe('malformed');
    expect(await verdict(forgeToken({ alg: 'none', kid: 's' }, claims, null))).toBe('malformed');
  });

  test('are not verified by a key of another kind that has their id', async () => {
    const { verdict } = await serving(inSet(p256, { kid: 'e' }), inSet(rsa, { kid: 'r' }));
    expect(await verdict(await token({ alg: 'ES256', kid: 'r' }, p256.privateKey))).toBe('key');
  });

  test.each([
    ['is cut', { kty: 'EC', crv: 'P-256', kid: 'broken', x: 'AA', y: 'AA' }, 'ES256'],
    ['is missing', { kty: 'RSA', kid: 'broken' }, 'RS256'],
    ['is too short', inSet(generateKeyPairSync('rsa', { modulusLength: 1024 }), { kid: 'broken' }), 'RS256'],
  ])('of a key that %s are refused for their key, and the other keys go on', async (_, broken, alg) => {
    const { verdict } = await serving(broken, ...set);
    const privateKey = alg === 'ES256' ? p256.privateKey : rsa.privateKey;
    expect(await verdict(await token({ alg, kid: 'broken' }, privateKey))).toBe('key');
    expect(await verdict(await token({ alg: 'RS256', kid: 'r' }, rsa.privateKey))).toBe('ann');
  });

  test('cannot be judged while no key set was ever read: that is not the client’s fault', async () => {
    const { server, verdict } = await serving(...set);
    const good = await token({ alg: 'ES256', kid: 'e' }, p256.privateKey);
    expect(await verdict(good)).toBe('ann');
    await server.close();
    const away = await createAuthenticator(read({ JWT_SECRET: '', JWT_JWKS_URL: server.url }), log);
    onCleanup(() => away.close());
    await expect(away.verify(good)).rejects.toBeInstanceOf(KeysUnavailableError);
    expect(await verdict(good)).toBe('ann');
  });

  test('are verified by a key that has null for what it lacks, and by one that is there twice', async () => {
    const nulls = { alg: null, use: null, key_ops: null };
    const { verdict } = await serving(inSet(rsa, { kid: 'r', ...nulls }), ...Array<object>(2).fill(set[1] ?? {}));
    expect(await verdict(await token({ alg: 'RS256', kid: 'r' }, rsa.privateKey))).toBe('ann');
    expect(await verdict(await token({ alg: 'ES256', kid: 'e' }, p256.privateKey))).toBe('ann');
  });

  test.each([
    ['one id', { kid: 'k' }],
    ['no id', {}],
  ])('are verified by any of up to four keys of %s', async (_, id) => {
    const pairs = Array.from({ length: 5 }, () => curve('P-256'));
    const { verdict } = await serving(inSet(rsa, { kid: 'r' }), ...pairs.map((pair) => inSet(pair, id)));
    const verdicts = pairs.map(async ({ privateKey }) => verdict(await token({ alg: 'ES256', ...id }, privateKey)));
    expect(await Promise.all(verdicts)).toEqual(['ann', 'ann', 'ann', 'ann', 'signature']);
    const early = await token({ alg: 'ES256', ...id }, (pairs[1] ?? p256).privateKey, { nbf: secondsAgo(-60) });
    expect(await verdict(early)).toBe('claims');
  });
});

describe('a token whose key is not in the set', () => {
  const unknown = (claims: object) => token({ alg: 'ES256', kid: 'new' }, p256.privateKey, claims);
  const forged = (claims: object) => token({ alg: 'ES256', kid: 'e' }, curve('P-256').privateKey, claims);

  test('is refused for good while the set cannot be fetched again only if the set is younger', async () => {
    const { server, verdict } = await serving(...set);
    for (const claims of [{ iat: secondsAgo(0) }, { iat: undefined }, { iat: 'now' }, { iat: secondsAgo(-3_600) }]) {
      expect(await verdict(await unknown(claims))).toBe('unavailable');
      expect(await verdict(await forged(claims))).toBe('unavailable');
    }
    expect(await verdict(await unknown({ iat: secondsAgo(30) }))).toBe('key');
    expect(await verdict(await forged({ iat: secondsAgo(30) }))).toBe('signature');
    expect(server.requests).toHaveLength(1);
  });

  test('is refused for good, however old, once the set was fetched for it', async () => {
    const { server, verdict } = await serving(...set);
    expect(await verdict(await unknown({ iat: secondsAgo(0) }))).toBe('unavailable');
    aheadMs += cooldownMs;
    expect(await verdict(await unknown({ iat: secondsAgo(0) }))).toBe('key');
    aheadMs += cooldownMs;
    expect(await verdict(await forged({ iat: secondsAgo(0) }))).toBe('signature');
    expect(server.requests).toHaveLength(3);
  });

  test.each([
    ['another id', { kid: 'old' }, { kid: 'new' }],
    ['the same id', { kid: 'same' }, { kid: 'same' }],
    ['no id', {}, {}],
  ])('is welcome as soon as the set may be fetched again: a new key under %s', async (_, before, after) => {
    const [old, renewed] = [curve('P-256'), curve('P-256')];
    const { server, verdict } = await serving(inSet(old, before));
    const ofOld = await token({ alg: 'ES256', ...before }, old.privateKey);
    expect(await verdict(ofOld)).toBe('ann');
    server.answer = answerSet(inSet(renewed, after));
    const ofNew = await token({ alg: 'ES256', ...after }, renewed.privateKey, { iat: secondsAgo(0) });
    expect(await verdict(ofNew)).toBe('unavailable');
    expect(await verdict(ofOld)).toBe('ann');
    aheadMs += cooldownMs;
    expect(await verdict(ofNew)).toBe('ann');
    expect(['key', 'signature']).toContain(await verdict(ofOld));
    expect(server.requests).toHaveLength(2);
  });

  test('is not refused for good while the endpoint is away', async () => {
    const { server, verdict } = await serving(...set);
    const known = await token({ alg: 'ES256', kid: 'e' }, p256.privateKey);
    expect(await verdict(known)).toBe('ann');
    await server.close();
    aheadMs += cooldownMs;
    expect(await verdict(await unknown({ iat: secondsAgo(0) }))).toBe('unavailable');
    expect(await verdict(known)).toBe('ann');
  });

  test('causes one fetch per cooldown however many there are, and holds up no token of a known key', async () => {
    const { server, verdict } = await serving(...set);
    // Each time another one, as those that were verified before are known.
    let jti = 0;
    const known = () => token({ alg: 'ES256', kid: 'e' }, p256.privateKey, { jti: String(++jti) });
    const flood = await Promise.all(Array.from({ length: 100 }, () => [unknown({}), forged({})]).flat());
    expect(await verdict(await known())).toBe('ann');
    for (let round = 1; round <= 3; round++) {
      aheadMs += cooldownMs;
      let release: () => void = () => undefined;
      server.answer = (response, path) => {
        release = () => answerSet(...set, inSet(p256, { kid: 'new' }))(response, path);
      };
      const verdicts = flood.map(verdict);
      await until(() => server.requests.length === 1 + round, 5_000, 'the endpoint is asked');
      expect(await verdict(await known())).toBe('ann');
      release();
      await Promise.all([...verdicts, ...flood.map(verdict)]);
      expect(server.requests).toHaveLength(1 + round);
    }
    expect(await verdict(await unknown({ iat: secondsAgo(0) }))).toBe('ann');
  });
});

describe('a token that was verified before', () => {
  test('is refused once its key is gone from the set', async () => {
    const { server, verdict } = await serving(...set);
    const known = await token({ alg: 'ES256', kid: 'e' }, p256.privateKey);
    expect([await verdict(known), await verdict(known)]).toEqual(['ann', 'ann']);
    server.answer = answerSet(inSet(rsa, { kid: 'r' }));
    aheadMs += cooldownMs;
    // A token of an unknown key makes the set be fetched again.
    await verdict(await token({ alg: 'EdDSA', kid: 'unknown' }, ed25519.privateKey));
    expect(await verdict(known)).toBe('key');
  });

  test('is still known when a fetch has brought the same keys', async () => {
    const { server, verdict } = await serving(...set);
    const known = await token({ alg: 'RS256', kid: 'r' }, rsa.privateKey);
    // The first one waits for the set, and what began before the keys were there is not remembered.
    expect([await verdict(known), await verdict(known)]).toEqual(['ann', 'ann']);
    const verify = vi.spyOn(crypto.subtle, 'verify');
    aheadMs += cooldownMs;
    await verdict(await token({ alg: 'EdDSA', kid: 'unknown' }, ed25519.privateKey));
    expect(server.requests).toHaveLength(2);
    verify.mockClear();
    expect(await verdict(known)).toBe('ann');
    expect(verify).not.toHaveBeenCalled();
    verify.mockRestore();
  });
});
