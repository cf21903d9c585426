/** The client protocol of Centrifugo, frame by frame: what its unmodified client does not send, or does not show. */
import { beforeAll, expect, test } from 'vitest';
import { redisClient } from '../contract/redis-node.ts';
import type { StartedNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until } from '../support/until.ts';
import { apiKey, call } from './api.ts';
import { connectAs, have, RawClient, startCentrifugo, subscribe } from './centrifugo-member.ts';
import { dataOf, join, randomRoom, tokenOf } from './people.ts';

let node: StartedNode;
beforeAll(async () => {
  node = await startCentrifugo({ API_KEY: apiKey });
});

test('commands of one frame are executed in order, and those behind connect wait for it', async () => {
  const room = randomRoom('kept');
  const client = await RawClient.open(node);
  const connect = { id: 1, connect: { token: await tokenOf('guest'), name: 'test' } };
  const commands = [
    connect,
    { id: 2, subscribe: { channel: room, flag: 1 } },
    { id: 3, publish: { channel: room, data: 1 } },
  ];
  client.send(`${commands.map((command) => JSON.stringify(command)).join('\n')}\n`);
  expect(await client.answer(1)).toEqual({
    id: 1,
    connect: {
      client: expect.any(String),
      version: 'roomcast',
      expires: true,
      ttl: expect.any(Number),
      ping: 25,
      pong: true,
    },
  });
  const epoch = expect.any(String);
  expect(await client.answer(2)).toEqual({ id: 2, subscribe: { recoverable: true, positioned: true, epoch } });
  expect(await client.answer(3)).toEqual({ id: 3, publish: {} });
  await until(() => client.replies.some(({ push }) => push !== undefined), 5_000, 'the message comes');
  const pub = { data: 1, info: { user: 'guest', client: '' }, offset: 1, time: expect.any(Number) };
  expect(client.replies.filter((reply) => 'push' in reply)).toContainEqual({ push: { channel: room, pub } });
});

test.each<[string, string | Buffer, string]>([
  ['no JSON', 'hello', '3501 bad request'],
  ['an empty frame', '', '3501 bad request'],
  ['no object', '[]', '3501 bad request'],
  ['a command without a number', '{"publish":{"channel":"a","data":1}}', '3501 bad request'],
  ['a second connect', '{"id":2,"connect":{}}', '3501 bad request'],
  ['a pong without a ping', '{}', '3501 bad request'],
  ['send, which is not offered', '{"send":{"data":1}}', '3508 not available'],
  ['a binary frame', Buffer.from('{}'), '3508 not available'],
])('%s closes the connection, with a reason', async (_, frame, end) => {
  const client = await RawClient.connect(node, 'guest');
  client.send(frame);
  expect(await client.end()).toBe(end);
});

test('a command before connect closes the connection', async () => {
  const client = await RawClient.open(node);
  client.send('{"id":1,"subscribe":{"channel":"a"}}');
  expect(await client.end()).toBe('3501 bad request');
});

test('every command that is not offered is answered with 108, and a bad one with 107', async () => {
  const client = await RawClient.connect(node, 'guest');
  const unsupported = [
    { rpc: { method: 'a', data: 1 } },
    { ping: {} },
    { sub_refresh: { channel: 'a', token: 'b', type: 1 } },
    { subscribe: { channel: 'a', type: 1 } },
    { subscribe: { channel: 'a', tf: {} } },
    { publish: { channel: 'a', data: 1, type: 1 } },
    { unknown: {} },
    {},
  ];
  const bad = [
    { subscribe: { channel: 'no room' } },
    { subscribe: { channel: 'a', recover: true, offset: -1 } },
    { publish: { channel: 'a' } },
    { history: { channel: 'a', limit: 'all' } },
    { history: { channel: 'a', since: 1 } },
    { refresh: { token: 1 } },
    { subscribe: { channel: 'a', token: 1 } },
    { rpc: { method: 1, data: 1 } },
    { rpc: { method: 'a', data: JSON.parse(`${'['.repeat(64)}${']'.repeat(64)}`) } },
  ];
  const commands = [...unsupported, ...bad].map((command, index) => ({ id: index + 2, ...command }));
  client.send(commands.map((command) => JSON.stringify(command)).join('\n'));
  const codes = commands.map(async ({ id }) => (await client.answer(id)).error);
  const expected = [...unsupported.map(() => 108), ...bad.map(() => 107)];
  expect(await Promise.all(codes)).toEqual(expected.map((code) => ({ code, message: expect.any(String) })));
  expect(client.closed).toBeUndefined();
});

test('a subprotocol that was not offered is never answered, and a foreign one is refused', async () => {
  await RawClient.open(node, ['centrifuge-json']);
  await RawClient.open(node, ['centrifuge-protobuf']);
  await expect(RawClient.open(node, ['roomcast.v1.json'])).rejects.toThrow('400');
});

test('a gap is told as 2500 and ends the membership: the client subscribes again, hears that messages are missing, and goes on', async () => {
  const redis = await ownRedis();
  const node = await startCentrifugo({ REDIS_URL: redis.url });
  const room = randomRoom('kept');
  const native = await join(node, 'native', room);
  const member = await subscribe(await connectAs(node, 'guest'), room);
  const raw = await RawClient.connect(node, 'raw');
  const subscribeAt = (id: number, position: object) =>
    JSON.stringify({ id, subscribe: { channel: room, ...position } });
  raw.send(subscribeAt(2, {}));
  await raw.answer(2);
  await native.publish(room, 1);
  await have(member, 1);
  // Redis loses everything, so the room begins a new epoch.
  await redisClient(redis.url).flushall();
  await native.publish(room, 2);
  await native.next(({ type }) => type === 'gap');
  await until(() => member.events.includes('subscribed, recovered: false'), 5_000, 'the member is told');
  expect(member.events.filter((event) => !/join|leave/.test(event))).toEqual([
    'subscribing 0',
    'subscribed',
    'subscribing 2500',
    'subscribed, recovered: false',
  ]);
  await native.publish(room, 3);
  await until(() => member.publications.some(({ data }) => data === 3), 5_000, 'it goes on');
  expect(member.publications.map(({ data }) => data)).toEqual(dataOf(native, room).filter((data) => data !== 2));

  raw.send(subscribeAt(3, { recover: true, offset: 1, epoch: 'of before' }));
  const position = { recoverable: true, positioned: true, epoch: expect.any(String), offset: 2 };
  expect(await raw.answer(3)).toEqual({ id: 3, subscribe: { ...position, was_recovering: true } });
  // A message behind the gap would move the client's position over it.
  const pushes = raw.replies.flatMap(({ push }) =>
    push === undefined ? [] : [push as Record<string, { data: number }>],
  );
  expect(pushes.flatMap(({ pub }) => (pub === undefined ? [] : [pub.data]))).toEqual([1]);
  const ends = pushes.flatMap(({ unsubscribe }) => (unsubscribe === undefined ? [] : [unsubscribe]));
  expect(ends).toEqual([{ code: 2500, reason: 'insufficient state' }]);
});

test('the backend subscribes and removes these clients like all others', async () => {
  const room = randomRoom();
  const client = await connectAs(node, 'guest');
  const heard: unknown[] = [];
  client.on('subscribed', ({ channel }) => heard.push(`subscribed ${channel}`));
  client.on('publication', ({ channel, data }) => heard.push(`${data} ${channel}`));
  client.on('unsubscribed', ({ channel }) => heard.push(`unsubscribed ${channel}`));
  expect((await call(node, 'POST', `/api/rooms/${room}/members/guest`)).json).toEqual({ subscribed: 1 });
  await call(node, 'POST', `/api/rooms/${room}/messages`, { body: { data: 1 } });
  await until(() => heard.length === 2, 5_000, 'the message comes');
  expect((await call(node, 'DELETE', `/api/rooms/${room}/members/guest`)).json).toEqual({ removed: 1 });
  await until(() => heard.length === 3, 5_000, 'the end comes');
  expect(heard).toEqual([`subscribed ${room}`, `1 ${room}`, `unsubscribed ${room}`]);
});
