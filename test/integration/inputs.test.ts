/** Inputs that are Redis Streams, with real nodes and a real Redis: what a backend adds comes to the members of rooms. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { expect, inject, test } from 'vitest';
import { addressOf } from '../../gateway/redis/connection/address.ts';
import { maxTurnBytes, RedisStream } from '../../gateway/redis/inputs/stream.ts';
import { createLog } from '../../gateway/telemetry/log.ts';
import { onCleanup } from '../support/cleanup.ts';
import { faultProxy } from '../support/fault-proxy.ts';
import { type NodeSettings, type StartedNode, spawnNode, startNode } from '../support/node.ts';
import { until } from '../support/until.ts';
import { metric } from './admin.ts';
import { clusterSettings } from './cluster.ts';
import { roomsFile, writeFile } from './files.ts';
import { dataOf, join, messagesOf, names, randomRoom } from './people.ts';

const deadlineMs = 10_000;

/** Nodes that read one stream, and a connection of the backend. */
async function cluster(count: number, input: object = {}, more: Record<string, string | number> = {}) {
  const redis = new Redis(inject('redisUrl'));
  const stream = `${inject('redisPrefix')}:orders:${randomBytes(6).toString('hex')}`;
  onCleanup(async () => {
    await redis.del(stream, `${stream}:roomcast:parked`, `${stream}:roomcast:reader`);
    redis.disconnect();
  });
  const inputs = [{ name: 'orders', kind: 'redis', stream, room: { header: 'room' }, ...input }];
  const settings: NodeSettings = {
    ...clusterSettings(),
    INPUTS_FILE: writeFile('inputs.json', JSON.stringify({ inputs })),
    ROOMS_FILE: roomsFile({ match: 'kept:*', history: { size: 1000 } }),
    ...more,
  };
  const nodes = await Promise.all(Array.from({ length: count }, () => startNode(settings)));
  const add = (...fields: string[]) => redis.xadd(stream, '*', ...fields) as Promise<string>;
  return { redis, stream, nodes: nodes as [StartedNode, ...StartedNode[]], add, settings };
}

function sum(nodes: readonly StartedNode[], series: string): Promise<number> {
  return Promise.all(nodes.map((node) => metric(node, series))).then((all) =>
    all.reduce((one, other) => one + other, 0),
  );
}

const counted = (result: string) => `gateway_input_messages_total{input="orders",result="${result}"}`;

function untilAcknowledged(redis: Redis, stream: string): Promise<unknown> {
  return until(
    async () => {
      const [group] = (await redis.xinfo('GROUPS', stream)) as unknown[][];
      const of = (name: string) => group?.[(group.indexOf(name) ?? 0) + 1];
      return of('pending') === 0 && of('lag') === 0;
    },
    deadlineMs,
    'all entries are acknowledged',
  );
}

test('entries reach the members of their rooms once and in order, byte for byte, though two nodes read the stream', async () => {
  const { add, nodes, redis, stream } = await cluster(2);
  const [room, other] = [randomRoom('kept'), randomRoom('plain')];
  const member = await join(nodes[0], 'ann', room, other);
  const numbers = Array.from({ length: 300 }, (_, index) => index);
  for (const number of numbers) await add('room', number % 3 === 0 ? other : room, 'data', `${number}`);
  await add('room', room, 'data', '{"price": 12345678901234567890}');
  await until(() => member.frames.filter(({ type }) => type === 'message').length === 301, deadlineMs, 'all came');
  expect(dataOf(member, other)).toEqual(numbers.filter((number) => number % 3 === 0));
  expect(dataOf(member, room).slice(0, -1)).toEqual(numbers.filter((number) => number % 3 !== 0));
  expect(messagesOf(member, room)[0]).toMatchObject({ key: expect.stringMatching(/^orders:\d+-\d+$/), offset: 1 });
  expect(messagesOf(member, room)[0]).not.toHaveProperty('from');
  await untilAcknowledged(redis, stream);
  expect(await sum(nodes, counted('published'))).toBe(301);
  expect(await sum(nodes, 'gateway_publishes_total{source="input",outcome="ok"}')).toBe(301);
  await until(async () => (await sum(nodes, 'gateway_input_lag_messages{input="orders"}')) === 0, deadlineMs, 'no lag');
});

test('what can never be published is parked with its reason, and holds nothing up', async () => {
  const { add, nodes, redis, stream } = await cluster(1, { key: { path: '$.id' } }, { MAX_MESSAGE_BYTES: 1_000 });
  const room = randomRoom('kept');
  const member = await join(nodes[0], 'ann', room);
  const bad: [reason: RegExp, ...fields: string[]][] = [
    [/^no room/, 'data', '{"id":1}'],
    [/^not the name of a room/, 'room', 'two words', 'data', '{"id":2}'],
    [/^the body is not JSON$/, 'room', room, 'data', '{"id":3'],
    [/^no body$/, 'room', room],
    [/^no key: \$\["id"\] is not there$/, 'room', room, 'data', '{"number":4}'],
    [/^the key must have/, 'room', room, 'data', `{"id":"${'x'.repeat(129)}"}`],
    [
      /^the body has \d+ bytes, and GATEWAY_MAX_MESSAGE_BYTES is 1000$/,
      'room',
      room,
      'data',
      `{"id":5,"text":"${'x'.repeat(1_000)}"}`,
    ],
    [/^the body is nested/, 'room', room, 'data', `{"id":6,"list":${'['.repeat(64)}${']'.repeat(64)}}`],
  ];
  for (const [, ...fields] of bad) await add(...fields);
  const last = await add('room', room, 'data', '{"id":"last"}');
  await until(() => messagesOf(member, room).length === 1, deadlineMs, 'the good one came');
  expect(messagesOf(member, room)[0]).toMatchObject({ data: { id: 'last' }, key: 'last' });
  await untilAcknowledged(redis, stream);
  const parked = await redis.xrange(`${stream}:roomcast:parked`, '-', '+');
  expect(parked).toHaveLength(bad.length);
  for (const [index, [reason, ...fields]] of bad.entries()) {
    const [, [, entry, , told, ...original] = []] = parked[index] ?? [];
    expect(told).toMatch(reason);
    expect(original).toEqual(fields);
    expect(entry).toMatch(/^\d+-\d+$/);
    expect(entry).not.toBe(last);
  }
  expect(await metric(nodes[0], counted('parked'))).toBe(bad.length);
});

test('what cannot be parked stays in the stream, and is parked when it can be', async () => {
  const { nodes, redis, stream } = await cluster(1);
  const parked = `${stream}:roomcast:parked`;
  await redis.set(parked, 'no stream');
  const room = randomRoom('kept');
  const member = await join(nodes[0], 'ann', room);
  // Both in one turn: while nothing can be parked, nothing more is read.
  const added = redis.multi().xadd(stream, '*', 'data', '1').xadd(stream, '*', 'room', room, 'data', '2');
  const [[, bad] = []] = (await added.exec()) ?? [];
  await until(() => dataOf(member, room).length === 1, deadlineMs, 'the good one came');
  // The turn that acknowledges the good one could not park the other.
  const pending = async () =>
    ((await redis.xpending(stream, 'roomcast', '-', '+', 10)) as string[][]).map(([id]) => id);
  await until(async () => (await pending()).join() === bad, deadlineMs, 'the good one is acknowledged');
  await redis.del(parked);
  await untilAcknowledged(redis, stream);
  const [[, fields] = []] = await redis.xrange(parked, '-', '+');
  expect(fields).toContain(bad);
  expect(await redis.xlen(parked)).toBe(1);
});

test('a key of another type in place of a room is deleted, and the message comes', async () => {
  const { add, nodes, redis, stream, settings } = await cluster(1);
  const room = randomRoom('kept');
  const member = await join(nodes[0], 'ann', room);
  await redis.set(`${settings.REDIS_PREFIX}:{${room}}:position`, 'no hash');
  await add('room', room, 'data', '1');
  await until(() => dataOf(member, room).length === 1, deadlineMs, 'it came');
  await untilAcknowledged(redis, stream);
  expect(await redis.exists(`${stream}:roomcast:parked`)).toBe(0);
});

test('room, key, sender and data come from where the file says', async () => {
  const input = {
    room: { path: '$.to' },
    key: { header: 'id' },
    from: { path: "$['by whom'].name" },
    data: { path: '$.order' },
    body: 'json',
  };
  const { add, nodes } = await cluster(1, input);
  const room = randomRoom('kept');
  const member = await join(nodes[0], 'ann', room);
  const body = JSON.stringify({ to: room, 'by whom': { name: 'shop' }, order: { number: 7 } });
  for (const id of ['a', 'a', 'b']) await add('json', body, 'id', id);
  await until(
    async () => (await metric(nodes[0], counted('duplicate'))) === 1,
    deadlineMs,
    'the second is a duplicate',
  );
  await until(() => messagesOf(member, room).length === 2, deadlineMs, 'both came');
  expect(messagesOf(member, room)).toMatchObject(['a', 'b'].map((key) => ({ key, from: 'shop', data: { number: 7 } })));
});

test('a node that stops finishes what is under way, and the other one goes on in order', async () => {
  const { add, nodes, redis, stream } = await cluster(2);
  const room = randomRoom('kept');
  const reader = await until(async () => (await redis.get(`${stream}:roomcast:reader`)) ?? '', deadlineMs, 'one reads');
  const readers = await Promise.all(nodes.map((node) => scrapeNode(node)));
  const first = readers.findIndex((name) => reader.startsWith(name));
  const [leaving, staying] = [nodes[first] as StartedNode, nodes[1 - first] as StartedNode];
  const member = await join(staying, 'ann', room);
  const numbers = names('', 400).map(Number);
  const stopped = (async () => {
    await until(() => dataOf(member, room).length > 50, deadlineMs, 'some came');
    await leaving.stop();
  })();
  for (const number of numbers) await add('room', room, 'data', `${number}`);
  await stopped;
  await until(() => dataOf(member, room).length >= 400, deadlineMs, 'all came');
  expect(dataOf(member, room)).toEqual(numbers);
  await untilAcknowledged(redis, stream);
});

/** The name of a node, with which its run begins. */
async function scrapeNode(node: StartedNode): Promise<string> {
  const text = await (await fetch(`http://127.0.0.1:${node.adminPort}/metrics`)).text();
  return /gateway_info\{[^}]*node="([^"]+)"/.exec(text)?.[1] ?? '';
}

test('entries that Redis has handed out with an answer that was lost are read again, in their place', async () => {
  const proxy = await faultProxy(inject('redisUrl'));
  const { redis, settings, stream } = await cluster(0, { url: proxy.url });
  const node = await spawnNode(settings);
  const room = randomRoom('kept');
  const member = await join(node, 'ann', room);
  const numbers = names('', 1_000).map(Number);
  // Ten turns, each of them slow enough to break one.
  proxy.answerDelayMs = 50;
  const pipeline = redis.pipeline();
  for (const number of numbers) pipeline.xadd(stream, '*', 'room', room, 'data', number);
  await pipeline.exec();
  await until(() => dataOf(member, room).length >= 100, deadlineMs, 'the first turn came');
  proxy.mode = 'swallow replies';
  const noticed = () => node.logs.some(({ msg, role }) => msg === 'connecting to redis again' && role === 'inputs');
  await until(noticed, deadlineMs, 'the node has noticed that answers are missing');
  expect(dataOf(member, room).length).toBeLessThan(numbers.length);
  proxy.answerDelayMs = 0;
  proxy.mode = 'pass';
  await until(() => dataOf(member, room).length >= numbers.length, deadlineMs, 'all came');
  expect(dataOf(member, room)).toEqual(numbers);
  await untilAcknowledged(redis, stream);
});

test('a turn reads about 8 MiB, and the next ones the rest in order: of new entries, and of those that were left', async () => {
  const { redis, stream } = await cluster(0);
  const text = 'x'.repeat(524_288);
  const added: string[] = [];
  for (let number = 0; number < 60; number++) added.push((await redis.xadd(stream, '*', 'data', text)) as string);
  const address = addressOf(inject('redisUrl'));
  const nothing = { done: [], parked: [] };
  for (const instance of ['one', 'other']) {
    const reader = new RedisStream({ address, stream, group: 'roomcast', instance }, createLog('silent'));
    onCleanup(() => reader.close());
    await reader.connect();
    const read: string[] = [];
    for (let from = '0-0'; read.length < added.length; ) {
      const turn = await reader.turn(100, from, nothing);
      from = turn.from;
      read.push(...turn.entries.map(({ id }) => id));
      expect(turn.entries.length).toBeLessThanOrEqual(maxTurnBytes / text.length + 10);
    }
    expect(read).toEqual(added);
    await reader.release(nothing);
  }
});

test('the libraries for RabbitMQ and Kafka are loaded with the first input of their kind, not before', () => {
  const loaded = (file: string) => {
    const script = `const { createRequire } = await import('node:module');
      await import(${JSON.stringify(new URL(`../../dist/gateway/${file}`, import.meta.url).href)});
      const found = Object.keys(createRequire(import.meta.url).cache).join().match(/node_modules.(kafkajs|rabbitmq-client)/g);
      console.log(JSON.stringify([...new Set(found)]));`;
    const words = ['--input-type=module', '--eval', script];
    return JSON.parse(execFileSync(process.execPath, words, { encoding: 'utf8', timeout: 15_000 }));
  };
  expect(loaded('gateway.js')).toEqual([]);
  expect(loaded('inputs/kafka-source.js')).toEqual(['node_modules/kafkajs']);
  expect(loaded('inputs/rabbitmq-source.js')).toEqual(['node_modules/rabbitmq-client']);
});
