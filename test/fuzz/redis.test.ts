/**
 * A whole node on a Redis whose replies cannot be trusted: of the wrong type, cut anywhere, of somebody else. The node never
 * ends, its answers are those of the protocol, and once the replies are true again it works again by itself.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, inject } from 'vitest';
import { apiKey, call } from '../integration/api.ts';
import { writeFile } from '../integration/files.ts';
import { connect } from '../support/client.ts';
import { LyingRedis } from '../support/lying-redis.ts';
import { type StartedNode, startNode } from '../support/node.ts';
import { until } from '../support/until.ts';
import { fuzz, someBytes } from './kit.ts';

const telling = '+-:$*%>=0123456789\r\n';
const item = fc.oneof(
  fc.integer({ min: -2, max: 99 }).map((number) => `:${number}\r\n`),
  fc.constantFrom(
    '$-1\r\n',
    '*-1\r\n',
    '*0\r\n',
    '$0\r\n\r\n',
    '+OK\r\n',
    '-ERR no\r\n',
    '$3\r\nabc\r\n',
    '$4\r\n9e99\r\n',
  ),
);
const lie = fc.oneof(
  item,
  fc.constantFrom(
    '-READONLY no\r\n',
    '-NOSCRIPT no\r\n',
    '-MISCONF no\r\n',
    '-OOM no\r\n',
    '-ERR STALE\r\n',
    '-KEPT no\r\n',
  ),
  fc.array(item, { maxLength: 7 }).map((items) => `*${items.length}\r\n${items.join('')}`),
  fc.array(item, { maxLength: 4 }).map((items) => `>${items.length}\r\n${items.join('')}`),
  fc
    .array(fc.array(item, { maxLength: 3 }), { maxLength: 3 })
    .map((lists) => `*${lists.length}\r\n${lists.map((items) => `*${items.length}\r\n${items.join('')}`).join('')}`),
  someBytes(telling, 12),
  fc.constant(''),
);

const rooms = ['kept:a', 'kept:b', 'plain:a'];
/** A case mostly waits until its node dares to connect to Redis again. So several nodes, each with a Redis of its own. */
const nodes: { node: StartedNode; redis: LyingRedis }[] = [];
const atOnce = 4;
const faults: unknown[] = [];
/** Those of a cluster's state wait up to 2 s for an answer that a lie has eaten: the next cases do not. */
const calls: Promise<unknown>[] = [];

async function start(number: number): Promise<void> {
  const redis = await LyingRedis.start(inject('redisUrl'));
  const open = { subscribe: 'anyone', publish: 'anyone', presence: true, joinLeave: true };
  const rules = {
    rooms: [
      { match: 'kept:*', ...open, history: {} },
      { match: 'plain:*', ...open },
    ],
  };
  const node = await startNode({
    REDIS_URL: redis.url,
    REDIS_PREFIX: `${inject('redisPrefix')}-lies-${number}`,
    ROOMS_FILE: await writeFile('rooms.json', JSON.stringify(rules)),
    ANONYMOUS: true,
    API_KEY: apiKey,
    WEBHOOK_URL: 'http://127.0.0.1:9/',
    WEBHOOK_SECRET: `whsec_${Buffer.alloc(32, 'x').toString('base64')}`,
  });
  nodes.push({ node, redis });
}

beforeAll(async () => {
  for (let number = 0; number < atOnce; number++) await start(number);
  process.on('uncaughtExceptionMonitor', (error) => faults.push(error));
  process.on('unhandledRejection', (error) => faults.push(error));
});

afterAll(async () => {
  await Promise.all(calls);
  expect(faults).toEqual([]);
});

fuzz(
  'redis',
  'a node whose Redis tells lies lives on, answers by the protocol, and works again when they end',
  fc.record({ texts: fc.array(lie, { minLength: 1, maxLength: 8 }), every: fc.integer({ min: 1, max: 5 }) }),
  async (lies, lane) => {
    const { node, redis } = nodes[lane] as (typeof nodes)[number];
    const [one, other] = [await connect(node.url), await connect(node.url)];
    await one.next('welcome');
    const before = redis.told;
    redis.lies = lies;
    for (const room of rooms) {
      for (const client of [one, other]) client.send({ type: 'subscribe', id: `s${room}`, room });
      one.send({ type: 'publish', id: `p${room}`, room, data: 1, key: 'k' });
      other.send({ type: 'publish', id: `q${room}`, room, data: 2 });
      one.send({ type: 'history', id: `h${room}`, room, limit: 10 });
      one.send({ type: 'presence', id: `m${room}`, room });
      other.send({ type: 'unsubscribe', id: `u${room}`, room });
    }
    const asksNodes = async () => {
      const { status } = await call(node, 'GET', '/api/nodes');
      if (![200, 202, 503, 504].includes(status))
        throw new Error(`/api/nodes: ${status}, with ${JSON.stringify(lies)}`);
    };
    calls.push(asksNodes().catch((error: unknown) => faults.push(error)));
    // Whatever became of them, all are answered.
    const asked = rooms.flatMap((room) => ['s', 'p', 'h', 'm'].map((what) => what + room));
    const allAnswered = () => {
      const left = asked.filter((id) => !one.frames.some((frame) => 'id' in frame && frame.id === id));
      if (left.length === 0) return true;
      throw new Error(`no answer to ${left.join()} on a connection in state ${one.socket.readyState}`);
    };
    await until(allAnswered, 20_000, 'all answers');
    await until(() => redis.told > before, 10_000, 'a lie');
    redis.lies = undefined;
    for (const frame of [...one.frames, ...other.frames]) {
      if (frame.type === 'error') expect(['unavailable', 'timeout', 'forbidden']).toContain(frame.code);
      if (frame.type === 'ok' && frame.offset !== undefined) expect(Number.isSafeInteger(frame.offset)).toBe(true);
    }
    const room = 'kept:a';
    await until(
      async () => {
        const { status: now } = await call(node, 'POST', `/api/rooms/${room}/messages`, { body: { data: 3 } });
        return now === 200;
      },
      20_000,
      'a publish that is taken',
    );
    one.socket.terminate();
    other.socket.terminate();
    expect(faults.splice(0)).toEqual([]);
  },
  { share: 0.01, atOnce },
);
