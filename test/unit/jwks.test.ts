/**
 * gateway/jwks.ts, and gateway/auth.ts over it, against a real HTTP server: rotation is picked up, whatever the endpoint
 * answers leaves known keys in use, it is never waited for without bound, and unknown key ids cause no storm.
 */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { SignJWT } from 'jose';
import { describe, expect, test, vi } from 'vitest';
import { createAuthenticator, KeysUnavailableError, TokenError } from '../../gateway/auth.ts';
import { Jwks, type JwksTimes } from '../../gateway/jwks.ts';
import { createLog } from '../../gateway/log.ts';
import { onCleanup } from '../support/cleanup.ts';
import { forgeToken } from '../support/token.ts';
import { until, within } from '../support/until.ts';
import { curve, pem, read } from './configuration.ts';
import { type Answer, answerSet, type JwksServer, jwksServer } from './jwks-server.ts';

const log = createLog('silent');
const quick: JwksTimes = { fetchTimeoutMs: 5_000, cooldownMs: 30, firstCooldownMs: 30, refreshMs: 60_000 };
/** For endpoints that hang. */
const shortMs = 250;
const deadlineMs = 5_000;
const keyA = { kty: 'oct', kid: 'a' };
const keyB = { kty: 'oct', kid: 'b' };

function follow({ url }: JwksServer, times: Partial<JwksTimes> = {}): Jwks {
  const jwks = new Jwks(url, log, { ...quick, ...times });
  onCleanup(() => jwks.close());
  return jwks;
}

const idsOf = (set: { keys: { kid?: string }[] } | undefined) => set?.keys.map(({ kid }) => kid);

/** Resolves when these keys are in use; asks for a missing one until then. */
function untilIds(jwks: Jwks, ...ids: string[]): Promise<unknown> {
  return until(async () => `${idsOf(await jwks.renewed())}` === `${ids}`, deadlineMs, `the keys ${ids} are in use`);
}

/** Asks for a missing key until the endpoint was asked once more. Returns the keys that are in use then. */
async function idsAfterAsking(jwks: Jwks, { requests }: JwksServer) {
  const before = requests.length;
  let ids: ReturnType<typeof idsOf>;
  const asked = async () => {
    ids = idsOf(await jwks.renewed());
    return requests.length > before;
  };
  await until(asked, deadlineMs, 'the endpoint is asked again');
  return ids;
}

describe('rotation', () => {
  test('is picked up when a key id is missing', async () => {
    const server = await jwksServer(answerSet(keyA));
    const jwks = follow(server);
    expect(idsOf(await jwks.current())).toEqual(['a']);
    server.answer = answerSet(keyA, keyB);
    expect(await idsAfterAsking(jwks, server)).toEqual(['a', 'b']);
    server.answer = answerSet(keyB);
    expect(await idsAfterAsking(jwks, server)).toEqual(['b']);
    expect(idsOf(await jwks.current())).toEqual(['b']);
  });

  test('is picked up without being asked for, so that a key that was withdrawn goes', async () => {
    const server = await jwksServer(answerSet(keyA));
    const jwks = follow(server, { refreshMs: 20, cooldownMs: 60_000 });
    expect(idsOf(await jwks.current())).toEqual(['a']);
    server.answer = answerSet(keyB);
    await until(async () => idsOf(await jwks.current())?.includes('b'), deadlineMs, 'the new set is in use');
    expect(idsOf(await jwks.current())).toEqual(['b']);
  });
});

const badAnswers: [string, Answer][] = [
  ['500', (response) => response.writeHead(500).end('{"keys":[]}')],
  ['204', (response) => response.writeHead(204).end()],
  ['nothing', (response) => response.end()],
  ['garbage', (response) => response.end('<html>')],
  ['JSON that is no set', (response) => response.end('{}')],
  ['null', (response) => response.end('null')],
  ['keys that are no list', (response) => response.end('{"keys":{}}')],
  ['a key that is no object', (response) => response.end('{"keys":[null]}')],
  ['101 keys', answerSet(...Array.from({ length: 101 }, (_, n) => ({ kty: 'oct', kid: `k${n}` })))],
  ['more than 1 MiB', (response) => response.end(`{"keys":[],"pad":"${'a'.repeat(1_048_576)}"}`)],
  [
    'a body without end',
    (response) => response.on('drain', () => response.write(' '.repeat(65_536))).write(' '.repeat(65_536)),
  ],
  [
    'a body that is cut',
    (response) => response.writeHead(200, { 'content-length': 100 }).write('{"keys":[]}', () => response.destroy()),
  ],
  ['a body that hangs', (response) => response.writeHead(200, { 'content-length': 100 }).write('{"keys":')],
  ['no answer at all', () => undefined],
  ['a cut connection', (response) => response.destroy()],
];

describe('known keys stay in use', () => {
  test.each(badAnswers)('when the endpoint answers %s, and it is asked again later', async (_, answer) => {
    const server = await jwksServer(answerSet(keyA));
    const jwks = follow(server, { fetchTimeoutMs: shortMs });
    await untilIds(jwks, 'a');
    server.answer = answer;
    expect(await idsAfterAsking(jwks, server)).toEqual(['a']);
    expect(idsOf(await jwks.current())).toEqual(['a']);
    server.answer = answerSet(keyB);
    await untilIds(jwks, 'b');
  });

  test('when the endpoint redirects, which is never followed', async () => {
    const server = await jwksServer(answerSet(keyA));
    const jwks = follow(server);
    await jwks.current();
    server.answer = (response, path) => {
      if (path === '/elsewhere') answerSet(keyB)(response, path);
      else response.writeHead(302, { location: '/elsewhere' }).end();
    };
    expect(await idsAfterAsking(jwks, server)).toEqual(['a']);
    expect(server.requests).not.toContain('/elsewhere');
  });

  test('when the endpoint is gone', async () => {
    const server = await jwksServer(answerSet(keyA));
    const warn = vi.spyOn(log, 'warn');
    const jwks = follow(server, { cooldownMs: 0 });
    await jwks.current();
    await server.close();
    expect(idsOf(await jwks.renewed())).toEqual(['a']);
    expect(warn).toHaveBeenCalledWith(expect.objectContaining({ known: 1 }), expect.any(String));
    warn.mockRestore();
  });
});

describe('time is bounded', () => {
  test('also at the start: nobody waits longer than one fetch, and keys come when the endpoint does', async () => {
    const server = await jwksServer(() => undefined);
    const jwks = follow(server, { fetchTimeoutMs: shortMs });
    expect(await within(jwks.current(), deadlineMs, 'the first fetch is given up')).toBeUndefined();
    server.answer = answerSet(keyA);
    await until(async () => idsOf(await jwks.current())?.[0] === 'a', deadlineMs, 'the keys are there');
  });

  test('also for those who ask while the endpoint hangs', async () => {
    const server = await jwksServer(answerSet(keyA));
    const jwks = follow(server, { cooldownMs: 0, fetchTimeoutMs: shortMs });
    await untilIds(jwks, 'a');
    server.answer = () => undefined;
    const before = server.requests.length;
    const startedAt = performance.now();
    const sets = await Promise.all(Array.from({ length: 50 }, () => jwks.renewed()));
    expect(new Set(sets.map((set) => idsOf(set)?.join()))).toEqual(new Set(['a']));
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    // Known keys are had at once meanwhile.
    const renewing = jwks.renewed();
    expect(idsOf(await jwks.current())).toEqual(['a']);
    await renewing;
    expect(server.requests).toHaveLength(before + 2);
  });
});

describe('fetches are few', () => {
  test('10,000 unknown key ids within the cooldown cause none', async () => {
    const server = await jwksServer(answerSet(keyA));
    const jwks = follow(server, { cooldownMs: 60_000 });
    await jwks.current();
    for (let round = 0; round < 10_000; round++) await jwks.renewed();
    expect(server.requests).toHaveLength(1);
  });

  test('all who ask at once share one, and get what it brought', async () => {
    const server = await jwksServer(answerSet(keyA));
    const jwks = follow(server, { cooldownMs: 0 });
    await jwks.current();
    let release: () => void = () => undefined;
    server.answer = (response, path) => {
      release = () => answerSet(keyB)(response, path);
    };
    const asked = Array.from({ length: 500 }, () => jwks.renewed());
    await until(() => server.requests.length === 2, deadlineMs, 'the endpoint was asked');
    asked.push(jwks.renewed());
    release();
    const sets = await Promise.all(asked);
    expect(new Set(sets.map((set) => idsOf(set)?.join()))).toEqual(new Set(['b']));
    expect(server.requests).toHaveLength(2);
  });

  test('the one that nobody asked for is shared too, and none is begun while it is under way', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    onCleanup(() => vi.useRealTimers());
    const server = await jwksServer(answerSet(keyA));
    const jwks = follow(server, { refreshMs: 1_000, cooldownMs: 60_000 });
    await jwks.current();
    let release: () => void = () => undefined;
    server.answer = (response, path) => {
      release = () => answerSet(keyB)(response, path);
    };
    vi.advanceTimersByTime(5_000);
    await until(() => server.requests.length === 2, deadlineMs, 'the endpoint was asked');
    const asked = jwks.renewed();
    release();
    expect(idsOf(await asked)).toEqual(['b']);
    expect(server.requests).toHaveLength(2);
  });

  test('also at the start, while the endpoint is away', async () => {
    const server = await jwksServer((response) => response.writeHead(500).end());
    const jwks = follow(server, { firstCooldownMs: 60_000 });
    for (let round = 0; round < 100; round++) expect(await jwks.current()).toBeUndefined();
    expect(server.requests).toHaveLength(1);
  });

  test('and there are none any more after the end', async () => {
    const server = await jwksServer(answerSet(keyA));
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    onCleanup(() => vi.useRealTimers());
    const jwks = follow(server);
    expect(vi.getTimerCount()).toBe(1);
    jwks.close();
    expect(vi.getTimerCount()).toBe(0);
    await jwks.current();
  });
});

describe('tokens by a key set', () => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const p256 = curve('P-256');
  const ed25519 = generateKeyPairSync('ed25519');
  const inSet = ({ publicKey }: { publicKey: KeyObject }, fields: object) => ({
    ...publicKey.export({ format: 'jwk' }),
    ...fields,
  });
  const set = [
    inSet(rsa, { kid: 'r' }),
    inSet(p256, { kid: 'e', alg: 'ES256' }),
    inSet(ed25519, { kid: 'd', use: 'sig' }),
  ];
  const token = (header: { alg: string; [field: string]: unknown }, key: KeyObject) =>
    new SignJWT({ sub: 'ann' }).setProtectedHeader(header).setExpirationTime('1h').sign(key);

  async function serving(...keys: object[]) {
    const server = await jwksServer(answerSet(...keys));
    const by = await createAuthenticator(read({ JWT_SECRET: '', JWT_JWKS_URL: server.url }), log);
    onCleanup(() => by.close());
    const verdict = (text: string) =>
      by.verify(text).then(
        ({ identity }) => identity.user,
        (error: unknown) => (error instanceof TokenError ? error.reason : error),
      );
    return { server, verdict };
  }

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

  test('that could be by several keys or by one of another kind are refused for their key', async () => {
    const { verdict } = await serving(inSet(p256, {}), inSet(curve('P-256'), {}), inSet(rsa, { kid: 'r' }));
    expect(await verdict(await token({ alg: 'ES256' }, p256.privateKey))).toBe('key');
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
});
