/**
 * gateway/auth/jwks.ts against a real HTTP server: rotation is picked up, whatever the endpoint answers leaves known keys in
 * use, it is never waited for without bound, missing keys cause no storm, and the log says what is wrong. What becomes of
 * tokens: test/unit/auth/jwks-tokens.test.ts.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { Jwks, type JwksTimes, type KeySet } from '../../../gateway/auth/jwks.ts';
import { createLog } from '../../../gateway/telemetry/log.ts';
import { selfSigned } from '../../integration/files.ts';
import { onCleanup } from '../../support/cleanup.ts';
import { until, within } from '../../support/until.ts';
import { curve, inSet } from '../config/configuration.ts';
import { type Answer, answerSet, type JwksServer, jwksServer } from './jwks-server.ts';

const log = createLog('silent');
const warn = vi.spyOn(log, 'warn');
const info = vi.spyOn(log, 'info');
beforeEach(() => {
  warn.mockClear();
  info.mockClear();
});
const quick: JwksTimes = { fetchTimeoutMs: 5_000, cooldownMs: 30, firstCooldownMs: 30, refreshMs: 60_000 };
/** For endpoints that hang. */
const shortMs = 250;
const deadlineMs = 5_000;
const keyBPair = curve('P-256');
const keyA = inSet(curve('P-256'), { kid: 'a' });
const keyB = inSet(keyBPair, { kid: 'b' });

/** The fields of each warning. */
function warned() {
  return warn.mock.calls.map(([fields]) => fields as { error?: string; leftOut?: string[] });
}

function follow({ url }: Pick<JwksServer, 'url'>, times: Partial<JwksTimes> = {}): Jwks {
  const jwks = new Jwks(url, log, { ...quick, ...times });
  onCleanup(() => jwks.close());
  return jwks;
}

const idsOf = (set: KeySet | undefined) => set?.keys.map(({ kid }) => kid);

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
  ['only a key that is no object', (response) => response.end('{"keys":[null]}')],
  ['only a key that is broken', answerSet({ kty: 'EC', crv: 'P-256', kid: 'a', x: 'AA', y: 'AA' })],
  ['101 keys', answerSet(...Array.from({ length: 101 }, (_, n) => ({ ...keyA, kid: `k${n}` })))],
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
    const jwks = follow(server, { cooldownMs: 0 });
    await jwks.current();
    await server.close();
    expect(idsOf(await jwks.renewed())).toEqual(['a']);
    expect(warn).toHaveBeenCalledWith(expect.objectContaining({ known: 1 }), expect.any(String));
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

describe('keys of a set', () => {
  const leftOut = () => warned().map((fields) => fields.leftOut);

  test('that cannot be used cost no other key, and are named once for each set', async () => {
    const broken = { kty: 'EC', crv: 'P-256', kid: 'broken', x: 'AA', y: 'AA' };
    const server = await jwksServer(answerSet(broken, null as unknown as object, keyA, { ...keyB, kid: 5 }));
    const jwks = follow(server, { cooldownMs: 0 });
    expect(idsOf(await jwks.current())).toEqual(['a']);
    expect(idsOf(await jwks.renewed())).toEqual(['a']);
    const named = ['key 1, kid "broken", is not a JWK public key (RFC 7517)', 'key 2 is no object'];
    expect(leftOut()).toEqual([[...named, 'key 4 has a kid that is no text']]);
    server.answer = answerSet(broken, keyA);
    await jwks.renewed();
    expect(leftOut().slice(1)).toEqual([named.slice(0, 1)]);
    server.answer = answerSet(keyA);
    await jwks.renewed();
    expect(leftOut()).toHaveLength(2);
  });

  test.each<[object, string]>([
    [{ use: '' }, 'has a use other than "sig"'],
    [{ use: 'signature' }, 'has a use other than "sig"'],
    [{ key_ops: ['encrypt'] }, 'has key_ops without "verify"'],
    [{ key_ops: 'verify' }, 'has key_ops without "verify"'],
    [{ alg: 'es256' }, 'has an alg other than ES256'],
    [{ alg: 'RS256' }, 'has an alg other than ES256'],
    [{ d: 'AA' }, 'holds a private or secret key; only the public one belongs here'],
    [{ kty: 'oct', k: 'AA' }, 'holds a private or secret key; only the public one belongs here'],
    [{ crv: 'secp256k1' }, 'is not a JWK public key (RFC 7517)'],
  ])('that could verify no token are named: %j', async (fields, why) => {
    const jwks = follow(await jwksServer(answerSet({ ...keyB, ...fields }, keyA)));
    expect(idsOf(await jwks.current())).toEqual(['a']);
    expect(leftOut()).toEqual([[`key 1, kid "b", ${why}`]]);
  });

  test('that cannot be used are named ten to a line at most', async () => {
    const many = Array.from({ length: 99 }, (_, n) => ({ kty: 'EC', kid: `${n}${'x'.repeat(1_000)}` }));
    const jwks = follow(await jwksServer(answerSet(...many, keyA)));
    expect(idsOf(await jwks.current())).toEqual(['a']);
    expect(leftOut()[0]).toHaveLength(10);
    expect(JSON.stringify(warn.mock.calls).length).toBeLessThan(5_000);
  });

  test('may have null for what they lack, may be padded, and may stand there twice', async () => {
    const nulls = { alg: null, use: null, key_ops: null, x5c: null, d: null };
    const padded = { ...keyA, x: `${keyA.x}=` };
    const jwks = follow(await jwksServer(answerSet({ ...keyA, ...nulls }, keyA, padded, { ...keyB, kid: null })));
    expect((await jwks.current())?.keys).toEqual([keyA, inSet(keyBPair, {})]);
    expect(leftOut()).toEqual([['key 2, kid "a", is there twice', 'key 3, kid "a", is there twice']]);
  });

  test('that are for encryption are left out without a word', async () => {
    const forEncryption = { kty: 'OKP', crv: 'X25519', use: 'enc', kid: 'x', x: 'AA' };
    const jwks = follow(await jwksServer(answerSet(forEncryption, keyA)));
    expect(idsOf(await jwks.current())).toEqual(['a']);
    expect(leftOut()).toEqual([]);
  });

  test('may stand behind a byte order mark', async () => {
    const server = await jwksServer((response) => response.end(`\ufeff${JSON.stringify({ keys: [keyA] })}`));
    expect(idsOf(await follow(server).current())).toEqual(['a']);
  });
});

describe('the log says why a fetch failed', () => {
  const reason = async (url: string) => {
    const jwks = follow({ url }, { fetchTimeoutMs: shortMs, firstCooldownMs: 60_000 });
    expect(await jwks.current()).toBeUndefined();
    expect(warn).toHaveBeenCalledOnce();
    return warned()[0]?.error;
  };

  test.each<[string, Answer, RegExp]>([
    ['a status', (response) => response.writeHead(503).end(), /^the endpoint answered HTTP 503$/],
    ['no JSON', (response) => response.end('<html>'), /^the endpoint did not answer JSON: /],
    ['no set', (response) => response.end('{}'), /^the endpoint did not answer a JSON Web Key Set/],
    ['too many keys', answerSet(...Array<object>(101).fill(keyA)), /^the endpoint answered 101 keys, more than 100$/],
    [
      'no key that can be used',
      answerSet({ kty: 'RSA', kid: 'r' }),
      /^none of the 1 keys can be used: key 1, kid "r", /,
    ],
    ['silence', () => undefined, /^the endpoint gave no whole answer within 250 ms$/],
    ['half an answer', (response) => response.writeHead(200).write('{"keys":'), /no whole answer within 250 ms$/],
    ['a cut connection', (response) => response.destroy(), /^fetch failed: other side closed/],
    [
      'a redirect, without what may be secret there',
      (response) => response.writeHead(302, { location: 'https://u:secret@issuer.example/keys?secret' }).end(),
      /^the endpoint redirects \(HTTP 302\) to https:\/\/issuer\.example\/keys, which is not followed/,
    ],
    ['a redirect to nowhere', (response) => response.writeHead(302).end(), /^the endpoint answered HTTP 302$/],
  ])('%s', async (_, answer, expected) => {
    const error = await reason((await jwksServer(answer)).url);
    expect(error).toMatch(expected);
    expect(error).not.toContain('secret');
  });

  test('a port where nobody listens, a name that nobody knows', async () => {
    const server = await jwksServer(() => undefined);
    await server.close();
    expect(await reason(server.url)).toMatch(/^fetch failed: connect ECONNREFUSED 127\.0\.0\.1:\d+$/);
    warn.mockClear();
    expect(await reason('http://nobody.invalid/keys')).toMatch(/^fetch failed: getaddrinfo \w+ nobody\.invalid$/);
  });

  test('a certificate of a private CA, and what to do', async () => {
    const { certificate, key } = selfSigned();
    const server = createServer({ cert: readFileSync(certificate), key: readFileSync(key) }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    onCleanup(() => server.close());
    const { port } = server.address() as AddressInfo;
    expect(await reason(`https://127.0.0.1:${port}/keys`)).toMatch(
      /^fetch failed: self-signed certificate.* \(DEPTH_ZERO_SELF_SIGNED_CERT\); NODE_EXTRA_CA_CERTS names a file/,
    );
  });

  // That one reason is one line a minute is the log's business: test/unit/telemetry/line-limit.test.ts.
  test('anew for another reason, and says when it is over', async () => {
    const server = await jwksServer((response) => response.writeHead(500).end());
    const jwks = follow(server, { firstCooldownMs: 0 });
    await jwks.current();
    expect(warn).toHaveBeenCalledOnce();
    server.answer = (response) => response.end('<html>');
    await jwks.current();
    expect(warn).toHaveBeenCalledTimes(2);
    expect(info).not.toHaveBeenCalled();
    server.answer = answerSet(keyA);
    await jwks.current();
    expect(info.mock.calls).toEqual([[{ host: expect.any(String), kids: 'a' }, 'jwks read']]);
  });
});

test('user and password of the URL are sent as basic authentication, and never printed', async () => {
  const asked: unknown[] = [];
  const server = await jwksServer((response, path) => {
    asked.push(response.req.headers.authorization);
    answerSet(keyA)(response, path);
  });
  const url = server.url.replace('//', '//us%40er:p%C3%A4ss%3Aword%zz@');
  const jwks = follow({ url }, { cooldownMs: 0 });
  expect(idsOf(await jwks.current())).toEqual(['a']);
  expect(asked).toEqual([`Basic ${Buffer.from('us@er:päss:word%zz').toString('base64')}`]);
  await server.close();
  await jwks.renewed();
  expect(JSON.stringify(warn.mock.calls)).toMatch(/ECONNREFUSED/);
  expect(JSON.stringify(warn.mock.calls)).not.toMatch(/word|us@er|Basic/);
});
