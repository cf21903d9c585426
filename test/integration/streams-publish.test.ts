/** `POST /rooms/{room}/messages`: a publish with its position, its key, its rates, and what a Redis that is away does to it. */
import { expect, test } from 'vitest';
import { startNode, type TestNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { metric, readiness } from './admin.ts';
import { roomsFile } from './files.ts';
import { join, randomRoom, tokenOf } from './people.ts';

const kept = { match: 'kept:*', history: {} };

async function post(node: TestNode, room: string, body: object, token?: string): Promise<Response> {
  return fetch(`http://127.0.0.1:${node.port}/rooms/${encodeURIComponent(room)}/messages`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(8_000),
  });
}

test('a publish is answered by its position, and a second one with its key by the same and duplicate', async () => {
  const node = await startNode({ ROOMS_FILE: roomsFile(kept) });
  const [room, plain, token] = [randomRoom('kept'), randomRoom(), await tokenOf('poster')];
  const member = await join(node, 'member', room, plain);
  const first = await post(node, room, { data: { a: [1, 'ä'] }, key: 'k' }, token);
  const position = (await first.json()) as object;
  expect([first.status, first.headers.get('content-type'), position]).toEqual([
    200,
    'application/json',
    { epoch: expect.any(String), offset: 1 },
  ]);
  expect(await (await post(node, room, { data: 2, key: 'k' }, token)).json()).toEqual({ ...position, duplicate: true });
  expect(await (await post(node, plain, { data: 3, key: 'k' }, token)).json()).toEqual({});
  expect(await (await post(node, plain, { data: 3, key: 'k' }, token)).json()).toEqual({ duplicate: true });
  expect(await member.next('message')).toMatchObject({ room, data: { a: [1, 'ä'] }, from: 'poster', key: 'k' });
  expect(await member.next('message')).toMatchObject({ room: plain, data: 3 });
  expect(await metric(node, 'gateway_messages_published_total{source="client"}')).toBe(2);
});

test('the rate is that of a connection, for each user of the node; Retry-After says when to come back', async () => {
  const node = await startNode({ PUBLISH_RATE: 1, PUBLISH_BURST: 3 });
  const [room, token] = [randomRoom(), await tokenOf('one')];
  const statuses = await Promise.all([1, 2, 3, 4, 5, 6].map(async (data) => post(node, room, { data }, token)));
  const refused = statuses.filter(({ status }) => status === 429);
  expect(refused.length).toBeGreaterThanOrEqual(2);
  expect(statuses.filter(({ status }) => status === 200).length).toBeGreaterThanOrEqual(3);
  expect(refused[0]?.headers.get('retry-after')).toBe('1');
  // Another token of the same user has the same rate; another user has his own.
  const another = await mintToken({ sub: 'one', rooms: { '*': ['publish'] }, jti: 'another' });
  const both = await Promise.all([1, 2, 3].map(async (data) => post(node, room, { data }, another)));
  expect(both.some(({ status }) => status === 429)).toBe(true);
  expect((await post(node, room, { data: 1 }, await tokenOf('two'))).status).toBe(200);
});

test('without a token only what rules open to anyone is taken, at the rate of the address', async () => {
  const rules = roomsFile({ match: 'open:*', publish: 'anyone', subscribe: 'anyone' });
  const node = await startNode({ ROOMS_FILE: rules, ANONYMOUS: true, PUBLISH_RATE: 1, PUBLISH_BURST: 2 });
  const room = randomRoom('open');
  const member = await join(node, 'member', room);
  expect((await post(node, room, { data: 1 })).status).toBe(200);
  expect(await member.next('message')).not.toHaveProperty('from');
  expect((await post(node, randomRoom(), { data: 1 })).status).toBe(403);
  const more = await Promise.all([1, 2, 3].map(async (data) => post(node, room, { data })));
  expect(more.some(({ status }) => status === 429)).toBe(true);
});

test('while Redis is away a publish gets 503, when it hangs 504, and 200 once it is back', {
  timeout: 40_000,
}, async () => {
  const redis = await ownRedis();
  const node = await startNode({ REDIS_URL: redis.url, ROOMS_FILE: roomsFile(kept) });
  const [room, token] = [randomRoom('kept'), await tokenOf('poster')];
  await until(async () => (await post(node, room, { data: 1 }, token)).status === 200, 10_000, 'Redis takes it');
  await redis.pause();
  const hanging = await post(node, room, { data: 2, key: 'k' }, token);
  expect([hanging.status, await hanging.json()]).toEqual([504, expect.objectContaining({ status: 504 })]);
  await redis.resume();
  await redis.kill();
  await until(async () => (await readiness(node)) === 503, 10_000, 'the node has noticed');
  const away = await post(node, room, { data: 3 }, token);
  expect([away.status, away.headers.get('retry-after')]).toEqual([503, '5']);
  await redis.start();
  await until(async () => (await post(node, room, { data: 4 }, token)).status === 200, 15_000, 'Redis is back');
});

test('a node that stops answers the publishes under way first', { timeout: 30_000 }, async () => {
  const redis = await ownRedis();
  const node = await startNode({ REDIS_URL: redis.url, ROOMS_FILE: roomsFile(kept) });
  const [room, token] = [randomRoom('kept'), await tokenOf('poster')];
  await until(async () => (await post(node, room, { data: 1 }, token)).status === 200, 10_000, 'Redis takes it');
  await redis.pause();
  const hanging = post(node, room, { data: 2, key: 'k' }, token);
  // The node has the request once it has answered one that came later.
  expect((await fetch(`http://127.0.0.1:${node.port}/healthz`)).status).toBe(200);
  const stopped = node.stop();
  expect((await hanging).status).toBe(504);
  await redis.resume();
  await stopped;
});
