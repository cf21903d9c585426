/**
 * The HTTP API while Redis is away, hangs or is full, while too much is asked at once, and while its node stops: each call has
 * an answer in time that says what became of it.
 */
import { Redis } from 'ioredis';
import { expect, inject, test } from 'vitest';
import { connect } from '../support/client.ts';
import { faultProxy } from '../support/fault-proxy.ts';
import { type NodeSettings, type SpawnedNode, spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { httpRequest, RawSocket, type Response, valuesOf } from '../support/raw-socket.ts';
import { until } from '../support/until.ts';
import { readiness } from './admin.ts';
import { type Answer, apiKey, call, post } from './api.ts';
import { roomsFile } from './files.ts';
import { dataOf, enter, join, names, randomRoom, tokenOf } from './people.ts';

async function readyNode(settings: NodeSettings): Promise<SpawnedNode> {
  const rules = roomsFile({ match: 'kept:*', history: {}, presence: true });
  const node = await spawnNode({ API_KEY: apiKey, ROOMS_FILE: rules, ...settings });
  await until(async () => (await readiness(node)) === 200, 10_000, 'the node is ready');
  return node;
}

/** One call of each kind to a room with history and presence. */
function callsOf(node: SpawnedNode, room: string): Promise<Answer[]> {
  const path = `/api/rooms/${encodeURIComponent(room)}`;
  return Promise.all([
    post(node, room, { data: 1, key: 'k' }),
    call(node, 'GET', `${path}/messages`),
    call(node, 'GET', `${path}/members`),
  ]);
}

/** Those that go to all nodes. The last one keeps something in Redis before it asks. */
function callsToAll(node: SpawnedNode): Promise<Answer[]> {
  const member = '/api/rooms/kept:a/members/ann';
  return Promise.all([
    ...['rooms', 'connections', 'nodes', 'stats'].map((list) => call(node, 'GET', `/api/${list}`)),
    call(node, 'POST', member),
    call(node, 'DELETE', member),
    call(node, 'POST', '/api/connections/node-0123456789-1/disconnect'),
    call(node, 'POST', '/api/users/ann/disconnect'),
    call(node, 'POST', '/api/users/ann/disconnect', { body: { blockSeconds: 60 } }),
  ]);
}

const codesOf = (answers: Answer[]) => answers.map(({ status, json }) => `${status} ${json.type?.split('/').at(-1)}`);

test('without Redis every call is 503 with Retry-After at once, and works again when Redis is back', async () => {
  const redis = await ownRedis();
  const node = await readyNode({ REDIS_URL: redis.url });
  const room = randomRoom('kept');
  await post(node, room, { data: 1 });
  await redis.kill();
  await until(async () => (await readiness(node)) === 503, 5_000, 'the node has noticed');
  const began = performance.now();
  const answers = [...(await callsOf(node, room)), ...(await callsToAll(node))];
  const plain = await post(node, randomRoom(), { data: 1 });
  expect(performance.now() - began).toBeLessThan(1_900);
  expect(codesOf([...answers, plain])).toEqual(Array(13).fill('503 unavailable'));
  for (const { headers } of [...answers, plain]) expect(headers['retry-after']).toBe('1');
  const rooms = names(`${randomRoom()}:`, 1_000);
  const sent = await call(node, 'POST', '/api/broadcast', { body: { rooms, data: 1 } });
  expect(sent.status).toBe(200);
  expect(sent.json.results).toEqual(
    rooms.map((each) => ({
      room: each,
      error: { code: 'unavailable', message: expect.stringMatching(/in a moment/) },
    })),
  );
  await redis.start();
  await until(async () => (await post(node, room, { data: 2 })).status === 200, 10_000, 'Redis is back');
  const all = async () => (await callsToAll(node)).every(({ status }) => status === 200);
  await until(all, 10_000, 'all nodes can be asked again');
});

test('with a Redis that hangs each call is 504 after 2 s, and a broadcast to 1,000 rooms waits no longer', async () => {
  const redis = await ownRedis();
  const node = await readyNode({ REDIS_URL: redis.url });
  const room = randomRoom('kept');
  await redis.pause();
  const rooms = names(`${randomRoom()}:`, 1_000);
  const began = performance.now();
  const [answers, toAll, sent] = await Promise.all([
    callsOf(node, room),
    callsToAll(node),
    call(node, 'POST', '/api/broadcast', { body: { rooms, data: 1, key: 'k' } }),
  ]);
  // A slice of rooms after the other would wait for 40 s.
  expect(performance.now() - began).toBeLessThan(6_000);
  expect(codesOf(answers)).toEqual(Array(3).fill('504 timeout'));
  // Nothing was sent to any node; whether the block was kept is unknown.
  expect(codesOf(toAll)).toEqual([...Array(8).fill('503 unavailable'), '504 timeout']);
  expect(answers[0]?.json.detail).toMatch(/publish again with the same key/);
  const codes = sent.json.results.map(({ error }: { error: { code: string } }) => error.code);
  expect(codes.slice(0, 50)).toEqual(Array(50).fill('timeout'));
  expect(codes.slice(50)).toEqual(Array(950).fill('unavailable'));
  await redis.resume();
  const again = async () => (await call(node, 'POST', '/api/broadcast', { body: { rooms, data: 1, key: 'k' } })).json;
  const done = await until(
    async () => {
      const { results } = await again();
      return results.some(({ error }: { error?: object }) => error !== undefined) ? undefined : results;
    },
    10_000,
    'every room has it',
  );
  expect(done).toHaveLength(1_000);
});

test('with a Redis whose memory is full, what has to be kept is 503, and plain messages go on', async () => {
  const redis = await ownRedis();
  const node = await readyNode({ REDIS_URL: redis.url });
  const admin = new Redis(redis.url);
  await admin.config('SET', 'maxmemory', '1');
  const kept = await post(node, randomRoom('kept'), { data: 1 });
  expect(codesOf([kept])).toEqual(['503 unavailable']);
  expect(kept.headers['retry-after']).toBe('1');
  expect((await post(node, randomRoom(), { data: 1 })).status).toBe(200);
  await admin.config('SET', 'maxmemory', '0');
  await until(
    async () => (await post(node, randomRoom('kept'), { data: 1 })).status === 200,
    5_000,
    'it is kept again',
  );
  admin.disconnect();
});

test('more than 128 requests under way are 503 with Retry-After, also if their clients have gone', async () => {
  const proxy = await faultProxy(inject('redisUrl'));
  const node = await readyNode({ REDIS_URL: proxy.url, REDIS_PREFIX: inject('redisPrefix') });
  const other = await spawnNode({ REDIS_URL: inject('redisUrl'), REDIS_PREFIX: inject('redisPrefix') });
  const room = randomRoom();
  const member = await join(other, 'ann', room);
  const headers = {
    Host: 'localhost',
    'Content-Type': 'application/json',
    'X-API-Key': apiKey,
    'Content-Length': '10',
  };
  const one = httpRequest({ method: 'POST', path: `/api/rooms/${room}/messages`, headers, body: '{"data":1}' });
  const begin = (count: number) =>
    Promise.all(
      Array.from({ length: count }, async () => {
        const socket = await RawSocket.connect(node.adminPort);
        await socket.write(one);
        return socket;
      }),
    );
  /** The answers to 50 requests, while 100 of clients that have gone are under way, if the machine is fast enough. */
  const attempt = async () => {
    proxy.answerDelayMs = 1_000;
    const before = dataOf(member, room).length;
    const gone = await begin(100);
    await until(() => dataOf(member, room).length === before + 100, 5_000, 'Redis has them');
    for (const socket of gone) socket.destroy();
    const sockets = await begin(50);
    const answers = await Promise.all(sockets.map((socket) => socket.response()));
    for (const socket of sockets) socket.destroy();
    proxy.answerDelayMs = 0;
    await until(async () => (await post(node, room, { data: 1 })).status === 200, 5_000, 'all have ended');
    return answers;
  };
  const enough = async () => {
    const answers = await attempt();
    return answers.filter(({ status }) => status === 503).length === 22 ? answers : undefined;
  };
  const answers = (await until(enough, 10_000, '22 of 150 are refused')) ?? [];
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(28);
  const refused = answers.find(({ status }) => status === 503) as Response;
  expect(valuesOf(refused, 'retry-after')).toEqual(['1']);
});

test('a call under way when the node stops has its answer first', async () => {
  const proxy = await faultProxy(inject('redisUrl'));
  const shared = { REDIS_PREFIX: inject('redisPrefix') };
  const node = await readyNode({ REDIS_URL: proxy.url, ...shared });
  const other = await spawnNode({ REDIS_URL: inject('redisUrl'), ...shared });
  const room = randomRoom();
  const member = await join(other, 'ann', room);
  proxy.answerDelayMs = 1_000;
  const answered = post(node, room, { data: 1 });
  // Redis has it, and the node does not know yet.
  await member.next('message');
  // What else the node asks Redis for is answered at once: only this call is left to wait for.
  proxy.answerDelayMs = 0;
  node.kill('SIGTERM');
  expect((await answered).status).toBe(200);
  expect(await node.exited).toEqual({ code: 0, signal: null });
});

test('a user to be blocked while Redis hangs: 504, nobody is disconnected before Redis goes on, and the call repeated holds', async () => {
  const redis = await ownRedis();
  const node = await readyNode({ REDIS_URL: redis.url });
  const user = `hung ${randomRoom()}`;
  const client = await enter(node, user);
  const block = () =>
    call(node, 'POST', `/api/users/${encodeURIComponent(user)}/disconnect`, { body: { blockSeconds: 60 } });
  await redis.pause();
  expect(await block()).toMatchObject({ status: 504, json: { type: 'https://roomcast.dev/problems/timeout' } });
  expect(await client.request({ type: 'ping' })).toMatchObject({ type: 'pong' });
  await redis.resume();
  await until(async () => (await block()).status === 200, 10_000, 'the call is done');
  expect((await client.closed).code).toBe(4503);
  const again = await connect(node.url, { token: await tokenOf(user) });
  expect((await again.closed).code).toBe(4503);
});
