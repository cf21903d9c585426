/**
 * gateway/config.ts and gateway/auth/keys.ts: the one key that tokens are verified with, and secrets that come from files and
 * never come out again.
 */
import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { ConfigError } from '../../../gateway/config.ts';
import { absentFile, curve, file, jwk, mistakesOf, pem, read, secret } from './configuration.ts';

const ecPem = pem(curve('P-256'));
const edPem = pem(generateKeyPairSync('ed25519'));

describe('a key', () => {
  test('is required in production, and the mistake says which settings would do', () => {
    const mistakes = mistakesOf({ JWT_SECRET: '' }, 'production');
    expect(mistakes).toHaveLength(1);
    for (const name of ['JWT_SECRET', 'JWT_SECRET_FILE', 'JWT_PUBLIC_KEY', 'JWT_JWKS_URL']) {
      expect(mistakes[0]).toContain(`GATEWAY_${name}`);
    }
  });

  test('is made for the run in development, a new one each time', () => {
    const [one, other] = [read({ JWT_SECRET: '' }), read({ JWT_SECRET: '' })];
    expect(one.demo).toBe(true);
    expect(Buffer.byteLength(one.jwtSecret ?? '')).toBeGreaterThanOrEqual(32);
    expect(one.jwtSecret).not.toBe(other.jwtSecret);
  });

  test('that is a secret needs 32 bytes, not characters', () => {
    expect(mistakesOf({ JWT_SECRET: 'a'.repeat(31) })).toEqual([expect.stringContaining('at least 32 bytes')]);
    expect(mistakesOf({ JWT_SECRET: 'é'.repeat(16) })).toEqual([]);
  });

  test('may be short only with GATEWAY_INSECURE, which warns and is refused in production', () => {
    const insecure = { JWT_SECRET: 'secret', INSECURE: 'true' };
    expect(read(insecure).warnings).toEqual([expect.stringContaining('THIS NODE IS INSECURE')]);
    expect(mistakesOf(insecure, 'production')).toEqual([expect.stringContaining('GATEWAY_INSECURE')]);
    expect(mistakesOf({ ...insecure, INSECURE: 'false' })).toEqual([expect.stringContaining('at least 32 bytes')]);
  });

  test.each([
    ['PEM', ecPem],
    ['PEM on one line with \\n', ecPem.trim().replaceAll('\n', '\\n')],
    ['Ed25519', edPem],
    ['JWK', jwk(curve('P-384'))],
  ])('is taken as a public key: %s', (_, key) => {
    expect(read({ JWT_SECRET: '', JWT_PUBLIC_KEY: key }, 'production')).toMatchObject({ demo: false });
    expect(read({ JWT_SECRET: '', JWT_PUBLIC_KEY_FILE: file(key) }, 'production').jwtPublicKey?.type).toBe('public');
  });

  const ec = curve('P-256');
  test.each([
    ['no key', 'hello', /neither a PEM nor a JWK/],
    ['a JWK that is cut', '{"kty":"EC"', /not JSON/],
    ['a JWK without a key', '{"kty":"EC"}', /not a JWK public key/],
    ['a private PEM', String(ec.privateKey.export({ type: 'pkcs8', format: 'pem' })), /private key/],
    ['a private JWK', JSON.stringify(ec.privateKey.export({ format: 'jwk' })), /private or secret key/],
    ['a secret JWK', '{"kty":"oct","k":"c2VjcmV0"}', /private or secret key/],
    ['another curve', pem(curve('secp256k1')), /P-256/],
    ['a key that signs nothing', pem(generateKeyPairSync('x25519')), /Ed25519/],
    ['a short RSA key', pem(generateKeyPairSync('rsa', { modulusLength: 1024 })), /2048 bits/],
  ])('is refused with the reason, and not printed: %s', (_, key, reason) => {
    const mistakes = mistakesOf({ JWT_SECRET: '', JWT_PUBLIC_KEY: key });
    expect(mistakes).toEqual([expect.stringMatching(reason)]);
    expect(mistakes.join()).toContain('GATEWAY_JWT_PUBLIC_KEY');
    expect(mistakes.join()).not.toContain(key.slice(0, 40));
  });

  test('that is broken is one mistake, also in production and with algorithms', () => {
    expect(
      mistakesOf({ JWT_SECRET: '', JWT_PUBLIC_KEY: 'broken', JWT_ALGORITHMS: 'ES256' }, 'production'),
    ).toHaveLength(1);
  });

  test('is one: two ways to verify tokens are a mistake', () => {
    const jwks = 'https://issuer.example/jwks.json';
    expect(mistakesOf({ JWT_PUBLIC_KEY: ecPem })).toEqual([expect.stringContaining('More than one way')]);
    expect(mistakesOf({ JWT_JWKS_URL: jwks })).toEqual([expect.stringContaining('More than one way')]);
    expect(mistakesOf({ JWT_SECRET: '', JWT_JWKS_URL: jwks }, 'production')).toEqual([]);
  });

  test.each([
    [{ JWT_ALGORITHMS: 'RS256' }, 'RS256'],
    [{ JWT_ALGORITHMS: 'HS256,HS512' }, 'HS512'],
    [{ JWT_ALGORITHMS: 'none' }, 'none'],
    [{ JWT_SECRET: '', JWT_PUBLIC_KEY: ecPem, JWT_ALGORITHMS: 'HS256' }, 'HS256'],
    [{ JWT_SECRET: '', JWT_PUBLIC_KEY: ecPem, JWT_ALGORITHMS: 'ES256, ES384' }, 'ES384'],
    [{ JWT_SECRET: '', JWT_PUBLIC_KEY: edPem, JWT_ALGORITHMS: 'ES256' }, 'ES256'],
    [{ JWT_SECRET: '', JWT_JWKS_URL: 'https://issuer.example/', JWT_ALGORITHMS: 'HS256' }, 'HS256'],
  ])('%j: an algorithm that it cannot do is a mistake', (settings, algorithm) => {
    expect(mistakesOf(settings)).toEqual([expect.stringContaining(`GATEWAY_JWT_ALGORITHMS holds "${algorithm}"`)]);
  });

  test('is narrowed by the algorithms it can do', () => {
    expect(read({ JWT_SECRET: '', JWT_PUBLIC_KEY: edPem, JWT_ALGORITHMS: ' EdDSA , ' }).jwtAlgorithms).toEqual([
      'EdDSA',
    ]);
  });
});

describe('secrets', () => {
  const redis = 'rediss://user:never-print-this@redis.example:6380/2';

  test('come from files too, without the line end', () => {
    const config = read({ JWT_SECRET: '', JWT_SECRET_FILE: file(`${secret}\n`), REDIS_URL_FILE: file(redis) });
    expect(config).toMatchObject({ jwtSecret: secret, demo: false });
    expect(config.redis).toMatchObject({ password: 'never-print-this', database: 2 });
  });

  test('given twice or by a file that is not there are mistakes that do not print them', () => {
    const mistakes = mistakesOf({
      JWT_SECRET_FILE: file(secret),
      REDIS_URL: redis,
      REDIS_URL_FILE: absentFile,
    });
    expect(mistakes).toEqual([
      expect.stringContaining('GATEWAY_REDIS_URL and GATEWAY_REDIS_URL_FILE are both set'),
      expect.stringContaining('GATEWAY_REDIS_URL_FILE names a file that cannot be read'),
      expect.stringContaining('GATEWAY_JWT_SECRET and GATEWAY_JWT_SECRET_FILE are both set'),
    ]);
    expect(mistakes.join()).not.toContain('never-print-this');
  });

  test('that are wrong are named, not printed', () => {
    const short = 'never-print-this';
    const settings = { JWT_SECRET: short, REDIS_URL: `http://user:${short}@redis.example`, PORT: 'x' };
    try {
      read(settings);
      expect.unreachable();
    } catch (error) {
      const { message, mistakes, stack } = error as ConfigError;
      expect(mistakes).toHaveLength(3);
      expect(`${message}${stack}${JSON.stringify(error)}`).not.toContain('never-print-this');
      expect(message).toContain('GATEWAY_REDIS_URL must be a URL that begins with redis:// or rediss://');
    }
  });

  test('may stand in the URL of a key set, which is never printed and may be a file', () => {
    const url = 'https://user:never-print-this@issuer.example/jwks.json';
    expect(read({ JWT_SECRET: '', JWT_JWKS_URL_FILE: file(`${url}\n`) }).jwtJwksUrl).toBe(url);
    for (const wrong of [
      url.replace('https', 'ftp'),
      url.replace('https:', ''),
      url.replace('://', ':/'),
      url.replace('://', ':///'),
      url.replace('.example', '.example:x'),
    ]) {
      expect(mistakesOf({ JWT_SECRET: '', JWT_JWKS_URL: wrong })).toEqual([
        'GATEWAY_JWT_JWKS_URL must be a URL that begins with http:// or https://, and a host.',
      ]);
    }
  });

  test.each([
    ['one', 'never-print-this-0123', ['never-print-this-0123']],
    ['several, with white space around them', ' never-print-this-1 , never-print-this-2, ', ['never-print-this-2']],
  ])('of the HTTP API are a comma list: %s', (_, list, keys) => {
    const { apiKeys } = read({ API_KEY: list });
    for (const key of keys) expect(apiKeys?.has(key)).toBe(true);
    for (const wrong of ['', ',', list, keys[0]?.slice(1) ?? '', `${keys[0]} `].filter(
      (each) => !keys.includes(each),
    )) {
      expect(apiKeys?.has(wrong)).toBe(false);
    }
    expect(JSON.stringify(apiKeys)).not.toContain('never-print-this');
    expect(read({ API_KEY_FILE: file(`${list}\n`) }).apiKeys?.has(keys[0] ?? '')).toBe(true);
    expect(read().apiKeys).toBeUndefined();
  });

  test.each([
    ['too short', 'never-print-t', /needs keys of 16 to 512 characters each; try: openssl rand -hex 32/],
    ['one of several too short', 'never-print-this-0123,short', /needs keys of 16 to 512/],
    ['too long', 'never-print-this'.repeat(33), /needs keys of 16 to 512/],
    ['with white space', 'never-print-this never-print-this', /has a key with white space/],
    ['not ASCII', 'never-print-this-é', /not ASCII/],
    ['none', ' , ', /must name a key/],
    ['too many', Array(33).fill('never-print-this').join(), /at most 32 keys/],
  ])('of the HTTP API that are weak or cannot be sent are a mistake, and not printed: %s', (_, keys, reason) => {
    const mistakes = mistakesOf({ API_KEY: keys });
    expect(mistakes).toEqual([expect.stringMatching(reason)]);
    expect(mistakes.join()).toMatch(/GATEWAY_API_KEY /);
    expect(mistakes.join()).not.toContain('never-print');
  });

  test('only secrets have a _FILE', () => {
    expect(mistakesOf({ JWT_ISSUER_FILE: file('x') })).toEqual([expect.stringContaining('GATEWAY_JWT_ISSUER_FILE')]);
  });

  test('of no algorithm at all is a mistake: it would refuse every token', () => {
    expect(mistakesOf({ JWT_ALGORITHMS: ' , ' })).toEqual([expect.stringContaining('must name an algorithm')]);
  });
});
