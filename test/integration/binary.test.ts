/**
 * Bytes end to end, over real sockets and a real Redis: `roomcast.v1.msgpack` beside `roomcast.v1.json`, the client library
 * with `binary`, the HTTP API, event streams and long polls. test/unit/protocol/msgpack.test.ts has the encoding itself.
 */
import { encode } from '@msgpack/msgpack';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { binary } from '../../shared/client/binary.ts';
import { connect, type Options } from '../../shared/client/client.ts';
import { fallback } from '../../shared/client/fallback/fallback.ts';
import { io } from '../../shared/client/socketio.ts';
import { onCleanup } from '../support/cleanup.ts';
import { EventStream } from '../support/event-stream.ts';
import { startNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { upgradeProxy } from '../support/upgrade-proxy.ts';
import { apiKey, call } from './api.ts';
import { follow } from './client-rooms.ts';
import { roomsFile } from './files.ts';
import { MsgpackClient } from './msgpack-client.ts';
import { dataOf, join, randomRoom, tokenOf } from './people.ts';
import { expectBytesEverywhere } from './random-bytes.ts';

const redis = await ownRedis();
const settings = {
  REDIS_URL: redis.url,
  PUBLISH_RATE: 0,
  MAX_MESSAGE_BYTES: 131_072,
  API_KEY: apiKey,
  CENTRIFUGO: true,
  REQUEST_RATE: 0,
  ROOMS_FILE: roomsFile({
    match: 'kept:*',
    history: { size: 1_000, maxBytes: 50_000_000 },
    presence: true,
    joinLeave: true,
  }),
};
const [one, two] = await Promise.all([startNode(settings), startNode(settings)]);
const all = { '*': ['subscribe', 'publish', 'history', 'presence'] };
const deep = { list: [Uint8Array.of(0, 255), { inner: Uint8Array.of() }], text: 'é', $bytes: 'no bytes', n: 5e12 };
const deepJson = { list: [{ $bytes: 'AP8=' }, { inner: { $bytes: '' } }], text: 'é', $bytes: 'no bytes', n: 5e12 };

function enter(url: string, user: string, options: Options = {}) {
  const client = connect(url, { WebSocket, binary, getToken: () => tokenOf(user), ...options });
  onCleanup(() => client.close());
  return client;
}

test('random bytes reach members of all dialects on both nodes byte for byte: live, by history, by a resume', async () => {
  await expectBytesEverywhere(one, two, 60, 40_000);
}, 60_000);

test('a MessagePack client subscribes, publishes, resumes, and asks for history and presence', async () => {
  const room = randomRoom('kept');
  const client = await MsgpackClient.connect(one.url, await mintToken({ sub: 'ann', rooms: all, info: { n: 1 } }));
  expect(client.socket.protocol).toBe('roomcast.v1.msgpack');
  client.send({ id: 1, type: 'subscribe', room });
  const { epoch } = await client.next({ id: 1, type: 'ok' });
  const native = await join(two, 'bob', room);
  expect(await client.next({ type: 'join' })).toMatchObject({ room, members: [{ user: 'bob' }] });
  client.send({ id: 'p', type: 'publish', room, data: deep, key: 'k' });
  expect(await client.next({ id: 'p' })).toEqual({ id: 'p', type: 'ok', epoch, offset: 1 });
  await native.publish(room, deepJson);
  expect((await client.next({ type: 'message', offset: 1 })).data).toEqual(deep);
  expect((await client.next({ type: 'message', offset: 2 })).data).toEqual(deep);
  await until(() => dataOf(native, room).length === 2, 5_000, 'the native member has both');
  expect(dataOf(native, room)).toEqual([deepJson, deepJson]);
  client.send({ id: 2, type: 'history', room });
  expect((await client.next({ id: 2 })).messages).toMatchObject([
    { data: deep, key: 'k', from: 'ann' },
    { data: deep },
  ]);
  client.send({ id: 3, type: 'presence', room });
  expect(await client.next({ id: 3 })).toMatchObject({
    users: 2,
    members: expect.arrayContaining([expect.objectContaining({ user: 'ann', info: { n: 1 } })]),
  });

  const resumed = await MsgpackClient.connect(two.url, await tokenOf('ann2'));
  resumed.send({ id: 1, type: 'subscribe', room, since: { epoch, offset: 1 } });
  expect(await resumed.next({ type: 'ok' })).toMatchObject({ recovered: true, offset: 1 });
  expect(await resumed.next({ type: 'message' })).toMatchObject({ offset: 2, data: deep });
});

test('what JSON cannot say is refused with the id of its frame, and the connection goes on', async () => {
  const room = randomRoom();
  const client = await MsgpackClient.connect(one.url, await tokenOf('ann'));
  client.send({ id: 1, type: 'subscribe', room });
  client.send({ id: 2, type: 'publish', room, data: [Number.NaN] });
  client.send({ id: 3, type: 'publish', room, data: new Date() });
  client.socket.send(Buffer.from([0x81, 0xa2, 0x69]));
  expect(await client.next({ id: 2 })).toMatchObject({ type: 'error', code: 'bad_request' });
  expect(await client.next({ id: 3 })).toMatchObject({ type: 'error', code: 'bad_request' });
  client.send({ id: 4, type: 'publish', room, data: 'still here' });
  expect(await client.next({ type: 'message' })).toMatchObject({ data: 'still here' });
  for (let bad = 0; bad < 10; bad++) client.socket.send(Buffer.of(0xc1));
  await until(() => client.closeCode === 4504, 5_000, 'ten bad frames in a row close it');
});

test('bytes count as base64 towards `maxMessageBytes`, so that no member gets more than it allows', async () => {
  const room = randomRoom();
  const client = await MsgpackClient.connect(one.url, await tokenOf('ann'));
  client.send({ id: 1, type: 'publish', room, data: new Uint8Array(98_200) });
  client.send({ id: 2, type: 'publish', room, data: new Uint8Array(100_000) });
  client.send({ id: 3, type: 'publish', room, data: new Uint8Array(131_072) });
  expect(await client.next({ id: 1 })).toMatchObject({ type: 'ok' });
  expect(await client.next({ id: 2 })).toMatchObject({
    code: 'too_large',
    message: expect.stringContaining('as JSON'),
  });
  expect(await client.next({ id: 3 })).toMatchObject({ code: 'too_large' });
});

test('a text message on a MessagePack connection closes it with 1003, and so does a binary one on a JSON connection', async () => {
  const client = await MsgpackClient.connect(one.url, await tokenOf('ann'));
  client.socket.send('{"type":"ping"}');
  const native = await join(one, 'bob');
  native.socket.send(encode({ type: 'ping' }));
  await until(() => client.closeCode === 1003, 5_000, 'it is closed');
  expect(await native.closed).toMatchObject({ code: 1003 });
});

test('by the HTTP API, streams and polls bytes are `$bytes`, in both directions', async () => {
  const room = randomRoom('kept');
  const told = follow(enter(one.url, 'ann'), room);
  await told.joined;
  const stream = await EventStream.open(two, room, { token: await tokenOf('eve') });
  const path = `/api/rooms/${encodeURIComponent(room)}/messages`;
  expect(await call(two, 'POST', path, { body: { data: deepJson } })).toMatchObject({ status: 200 });
  await told.room.publish(deep);
  await until(() => told.numbers.length === 2, 5_000, 'both have come');
  expect(told.numbers).toEqual([deep, deep]);
  const { json } = await call(two, 'GET', path);
  expect(json.messages.map(({ data }: { data: unknown }) => data)).toEqual([deepJson, deepJson]);
  const heard = () => stream.events.filter(({ name }) => name === 'message').map(({ data }) => data.data);
  await until(() => heard().length === 2, 5_000, 'the stream has both');
  expect(heard()).toEqual([deepJson, deepJson]);
});

test('where WebSockets do not get through, `binary` and `fallback` carry bytes both ways over plain HTTP', async () => {
  const proxy = await upgradeProxy(one.port, 'refuse');
  const room = randomRoom('kept');
  const told = follow(enter(proxy.url, 'ann', { fallback }), room);
  const other = follow(enter(two.url, 'bob'), room);
  await Promise.all([told.joined, other.joined]);
  await told.room.publish(deep);
  await other.room.publish([Uint8Array.of(7)]);
  await until(() => told.numbers.length === 2 && other.numbers.length === 2, 5_000, 'both have both');
  expect(told.numbers).toEqual([deep, [Uint8Array.of(7)]]);
  expect(other.numbers).toEqual(told.numbers);
  expect((await told.room.history()).messages.map(({ data }) => data)).toEqual(told.numbers);
  expect([told, other].map(({ room: { position } }) => position?.offset)).toEqual([2, 2]);
});

test('what an application gives as bytes arrives as a Uint8Array of its own, and `$bytes` as a key stays a key', async () => {
  const room = randomRoom();
  const told = follow(enter(one.url, 'ann'), room);
  await told.joined;
  const bytes = Uint8Array.of(1, 2, 3, 4);
  const given = [
    ...[bytes, bytes.buffer, Buffer.from(bytes), new DataView(bytes.buffer, 1, 2), new Uint16Array(bytes.buffer)],
    ...[
      { $bytes: 'AAAA' },
      { $bytes: bytes },
      { $$bytes: 1, left: undefined },
      { $bytes: 'AAAA', more: 1 },
      2 ** 60,
      -0.5,
    ],
  ];
  for (const data of given) await told.room.publish(data);
  await until(() => told.numbers.length === given.length, 5_000, 'all have come');
  expect(told.numbers).toEqual([
    ...[bytes, bytes, bytes, Uint8Array.of(2, 3), bytes],
    ...[{ $bytes: 'AAAA' }, { $bytes: bytes }, { $$bytes: 1 }, { $bytes: 'AAAA', more: 1 }, 2 ** 60, -0.5],
  ]);
  const [first] = told.numbers as Uint8Array[];
  expect(first?.buffer.byteLength).toBe(4);
});

test('the calls of Socket.IO carry bytes with `binary`', async () => {
  const room = randomRoom();
  const told = follow(enter(one.url, 'ann'), room);
  await told.joined;
  const auth = { token: await tokenOf('bob') };
  const socket = io(one.url.replace(/^ws(.*)\/ws$/, 'http$1'), { WebSocket, binary, auth, room });
  onCleanup(() => void socket.disconnect());
  socket.emit('drawn', Uint8Array.of(1, 2));
  await until(() => told.numbers.length === 1, 5_000, 'the event has come');
  expect(told.numbers).toEqual([{ event: 'drawn', args: [Uint8Array.of(1, 2)] }]);
});
