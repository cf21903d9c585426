/**
 * Keys from a JWKS URL, over real HTTP: rotation, outage, floods of unknown key ids, endpoints that misbehave.
 *
 * The gateway waits half a minute between fetches that strangers can cause; here its monotonic clock is put ahead
 * instead of waiting, and never back.
 */
import { describe, expect, test, vi } from 'vitest';
import { Freeze } from '../../gateway/rooms/freeze.ts';
import { connect, connectWelcomed } from '../support/client.ts';
import { startNode } from '../support/node.ts';
import { forgeToken, testSecret } from '../support/token.ts';
import { metric } from './admin.ts';
import { KeyServer } from './key-server.ts';
import { everywhere } from './people.ts';

const cooldownMs = 31_000;
const realNow = performance.now.bind(performance);
let aheadMs = 0;
vi.spyOn(performance, 'now').mockImplementation(() => realNow() + aheadMs);
// A clock that jumps is how a node notices that it stood still, which is not what these tests are about.
vi.spyOn(Freeze.prototype, 'check').mockReturnValue();

async function issuer(answer: KeyServer['answer'] = 'keys') {
  const keys = await KeyServer.start();
  keys.answer = answer;
  keys.served = ['first'];
  // The clock that is put ahead must not end what waits for a key.
  const patience = { AUTH_TIMEOUT_MS: 86_400_000 };
  const node = await startNode({ JWT_SECRET: '', JWT_JWKS_URL: keys.url, REQUEST_RATE: 0, ...patience });
  return { keys, node };
}

/** The close code, or the user of `welcome`. */
async function outcome(url: string, token: string): Promise<number | string | null> {
  const client = await connect(url, { token });
  const ended = client.closed.then(({ code }) => code);
  return Promise.race([
    ended,
    client.next('welcome', 10_000).then(
      ({ user }) => user,
      () => ended,
    ),
  ]);
}

// Begun first and awaited last: it takes as long as the gateway waits for an endpoint.
const hanging = await issuer('hang');
const hangsSince = realNow();
const hung = outcome(hanging.node.url, hanging.keys.token('first')).then((code) => ({
  code,
  afterMs: realNow() - hangsSince,
}));

describe('the key set', () => {
  test('verifies by key id, and refuses what only looks like its keys', async () => {
    const { keys, node } = await issuer();
    expect(await outcome(node.url, keys.token('first'))).toBe('user');
    const exp = Math.floor(Date.now() / 1000) + 3600;
    const old = { iat: exp - 7200 };
    const renamed = keys.token('second', old).split('.');
    renamed[0] = keys.token('first').split('.')[0] ?? '';
    for (const token of [
      keys.token('never served', old),
      renamed.join('.'),
      forgeToken({ alg: 'HS256', kid: 'first' }, { sub: 'user', exp }, testSecret),
      forgeToken({ alg: 'none', kid: 'first' }, { sub: 'user', exp }, null),
    ]) {
      expect(await outcome(node.url, token)).toBe(4501);
    }
  });

  test('is rotated: a new key is picked up within one fetch, a removed one is refused from then on', async () => {
    const { keys, node } = await issuer();
    const removed = keys.token('first', { iat: Math.floor(Date.now() / 1000) - 60 });
    expect(await outcome(node.url, removed)).toBe('user');
    keys.served = ['second'];
    // For a moment: the set was fetched just now.
    expect(await outcome(node.url, keys.token('second'))).toBe(4006);
    expect(keys.fetches).toBe(1);
    aheadMs += cooldownMs;
    expect(await outcome(node.url, keys.token('second'))).toBe('user');
    expect(keys.fetches).toBe(2);
    expect(await outcome(node.url, removed)).toBe(4501);
  });

  test.each(['error', 'garbage', 'redirect', 'endless'] as const)(
    'once known goes on working while the endpoint answers with: %s',
    async (answer) => {
      const { keys, node } = await issuer();
      expect(await outcome(node.url, keys.token('first'))).toBe('user');
      keys.answer = answer;
      aheadMs += 15 * 60_000;
      // It may be a new key, so this is not for good.
      expect(await outcome(node.url, keys.token('stranger'))).toBe(4006);
      expect(keys.fetches).toBe(2);
      expect(await outcome(node.url, keys.token('first'))).toBe('user');
    },
  );

  test('that cannot be had again at once is no reason to refuse a refresh for good', async () => {
    const { keys, node } = await issuer();
    const user = await connectWelcomed(node.url, keys.token('first'));
    const unavailable = await metric(node, 'gateway_handshakes_rejected_total{reason="token_unavailable"}');
    keys.served = ['second'];
    const refresh = { type: 'auth', token: keys.token('second') };
    expect(await user.request(refresh)).toMatchObject({ type: 'error', code: 'unavailable' });
    aheadMs += cooldownMs;
    expect(await user.request(refresh)).toMatchObject({ type: 'ok' });
    expect(await metric(node, 'gateway_handshakes_rejected_total{reason="token_unavailable"}')).toBe(unavailable);
    expect(await outcome(node.url, keys.token('third'))).toBe(4006);
    expect(await metric(node, 'gateway_handshakes_rejected_total{reason="token_unavailable"}')).toBe(unavailable + 1);
  });

  test('is fetched once for all who wait for it, and again when the endpoint is back', async () => {
    const { keys, node } = await issuer('error');
    const tokens = Array.from({ length: 20 }, (_, index) => keys.token('first', { sub: `user${index}` }));
    const outcomes = await Promise.all(tokens.map((token) => outcome(node.url, token)));
    expect(new Set(outcomes)).toEqual(new Set([4006]));
    expect(keys.fetches).toBeLessThanOrEqual(2);
    keys.answer = 'keys';
    aheadMs += cooldownMs;
    expect(await outcome(node.url, keys.token('first'))).toBe('user');
  });

  test('is never taken through a redirect', async () => {
    const { keys, node } = await issuer('redirect');
    expect(await outcome(node.url, keys.token('first'))).toBe(4006);
    expect(keys.fetches).toBe(1);
  });
});

test('ten thousand unknown key ids cause one fetch, and known users notice nothing', async () => {
  const { keys, node } = await issuer();
  const user = await connectWelcomed(node.url, keys.token('first', { rooms: everywhere }));
  const stranger = await connectWelcomed(node.url, keys.token('first', { sub: 'stranger' }));
  aheadMs += cooldownMs;
  const claims = { sub: 'stranger', exp: Math.floor(Date.now() / 1000) + 3600 };
  for (let round = 0; round < 20; round++) {
    for (let index = 0; index < 500; index++) {
      const kid = `unknown-${round}-${index}`;
      stranger.send({ type: 'auth', token: forgeToken({ alg: 'ES256', kid }, claims, 'x') });
    }
    await stranger.request({ type: 'ping' });
    await user.publish('room', round);
  }
  const refused = stranger.frames.flatMap((frame) => (frame.type === 'error' ? [frame.code] : []));
  expect(refused).toHaveLength(10_000);
  expect(new Set(refused)).toEqual(new Set(['unauthorized', 'unavailable']));
  expect(keys.fetches).toBe(2);
  expect(await outcome(node.url, keys.token('first'))).toBe('user');
}, 30_000);

test('an endpoint that hangs from the start is given up within seconds, and hinders nothing else meanwhile', async () => {
  const { keys, node } = hanging;
  expect(await (await fetch(`http://127.0.0.1:${node.port}/healthz`)).text()).toBe('ok\n');
  expect((await fetch(`http://127.0.0.1:${node.adminPort}/readyz`)).status).toBe(200);
  const { code, afterMs } = await hung;
  expect(code).toBe(4006);
  expect(afterMs).toBeLessThan(8_000);
  keys.answer = 'keys';
  aheadMs += cooldownMs;
  expect(await outcome(node.url, keys.token('first'))).toBe('user');
}, 30_000);
