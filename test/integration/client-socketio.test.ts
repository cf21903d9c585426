/** `roomcast/socketio` against a real node: what a Socket.IO application calls, and what it hears. */
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { io, type Socket, type SocketOptions } from '../../shared/client/socketio.ts';
import { onCleanup } from '../support/cleanup.ts';
import { faultProxy } from '../support/fault-proxy.ts';
import { startNode } from '../support/node.ts';
import { until } from '../support/until.ts';
import { apiKey, call, post } from './api.ts';
import { roomsFile } from './files.ts';
import { randomRoom, tokenOf } from './people.ts';

const node = await startNode({ API_KEY: apiKey, ROOMS_FILE: roomsFile({ match: 'kept:*', history: {} }) });
const http = node.url.replace('ws:', 'http:').replace(/\/ws$/, '');

async function open(user: string, room: string, options: SocketOptions = {}, url = http): Promise<Socket> {
  const socket = io(url, { WebSocket, auth: { token: await tokenOf(user) }, room, ...options });
  onCleanup(() => void socket.disconnect());
  await until(() => socket.connected && socket.client?.room(room).state === 'joined', 5_000, 'it is in its room');
  return socket;
}

/** Everything that `onAny` hears. */
function heardBy(socket: Socket): unknown[][] {
  const heard: unknown[][] = [];
  socket.onAny((...event: unknown[]) => heard.push(event));
  return heard;
}

test('emit reaches the others in the room, and its acknowledgement comes back', async () => {
  const room = randomRoom('kept');
  const [alice, bob] = [await open('alice', room), await open('bob', room)];
  const [toAlice, toBob] = [heardBy(alice), heardBy(bob)];
  const chats: unknown[] = [];
  bob.on('chat', (text, more) => chats.push([text, more]));
  const answer = await new Promise((resolve) => alice.emit('chat', 'hello', { n: 1 }, resolve));
  expect(answer).toMatchObject({ offset: 1 });
  expect(await alice.emitWithAck('chat', 'again')).toMatchObject({ offset: 2 });
  alice.send('plain').emit('last');
  await until(() => toBob.length === 4, 5_000, 'all events have come');
  expect(toBob).toEqual([['chat', 'hello', { n: 1 }], ['chat', 'again'], ['message', 'plain'], ['last']]);
  expect(chats).toEqual([
    ['hello', { n: 1 }],
    ['again', undefined],
  ]);
  expect(toAlice).toEqual([]);
});

test('rooms: join, to, leave; and a room that must not be joined', async () => {
  const [home, other] = [randomRoom(), randomRoom()];
  const [alice, bob] = [await open('alice', home), await open('bob', home)];
  const toBob = heardBy(bob);
  await bob.join(other);
  expect([...bob.rooms].sort()).toEqual([home, other].sort());
  await alice.to(other).emitWithAck('to-other', 1);
  await until(() => toBob.length === 1, 5_000, 'it has come');
  await bob.leave(other);
  await alice.to(other, home).emitWithAck('to-both', 2);
  await until(() => toBob.length === 2, 5_000, 'it has come');
  await expect(bob.join('@alice')).rejects.toMatchObject({ code: 'forbidden' });
  await alice.emitWithAck('end');
  await until(() => toBob.length === 3, 5_000, 'the last one has come');
  expect(toBob).toEqual([['to-other', 1], ['to-both', 2], ['end']]);
  expect([...bob.rooms]).toEqual([home]);
});

test('what a backend publishes is an event if it has its form, else `message`; and nobody can fake an event of the library', async () => {
  const room = randomRoom();
  const bob = await open('bob', room);
  const heard = heardBy(bob);
  const ends: unknown[] = [];
  bob.on('disconnect', (reason) => ends.push(reason));
  await post(node, room, { data: { event: 'disconnect', args: ['faked'] } });
  await post(node, room, { data: { event: 'order', args: [17, 'sent'] } });
  await post(node, room, { data: { total: 3 } });
  await post(node, room, { data: null });
  await until(() => heard.length === 3, 5_000, 'all events have come');
  expect(heard).toEqual([
    ['order', 17, 'sent'],
    ['message', { total: 3 }],
    ['message', null],
  ]);
  expect(ends).toEqual([]);
  const errors: unknown[] = [];
  bob.on('error', (error) => errors.push(error));
  bob.emit('connect', 1);
  await expect(bob.emitWithAck('disconnect')).rejects.toMatchObject({ code: 'bad_request' });
  expect(errors).toMatchObject([{ code: 'bad_request' }]);
});

test('connect and disconnect are told with the reasons of Socket.IO, over a cut, and events go on', async () => {
  const proxy = await faultProxy(node.url);
  const room = randomRoom('kept');
  const alice = await open('alice', room, {}, `http://127.0.0.1:${proxy.port}`);
  const bob = await open('bob', room);
  const told: unknown[] = [];
  alice.on('disconnect', (reason) => told.push(reason)).on('connect', () => told.push('connect'));
  const heard = heardBy(alice);
  const { id } = alice;
  proxy.cut();
  await until(() => told.length === 1, 5_000, 'the loss is told');
  await bob.emitWithAck('meanwhile');
  await until(() => heard.length === 1, 10_000, 'it has come');
  expect(alice.id).not.toBe(id);
  await call(node, 'POST', '/api/users/alice/disconnect', { body: {} });
  await until(() => told.length === 3, 5_000, 'the end is told');
  alice.connect();
  await until(() => told.length === 4, 5_000, 'it is back');
  alice.disconnect();
  expect(told).toEqual(['transport close', 'connect', 'io server disconnect', 'connect', 'io client disconnect']);
  expect(alice.connected).toBe(false);
  await expect(alice.emitWithAck('late')).rejects.toMatchObject({ code: 'closed' });
});

test('timeout gives the acknowledgement an error first', async () => {
  const room = randomRoom();
  const alice = await open('alice', room);
  const acknowledged = (send: (ack: (error: unknown, answer: unknown) => void) => void) =>
    new Promise((resolve) => send((error, answer) => resolve([error, answer])));
  expect(await acknowledged((ack) => alice.timeout(5_000).emit('x', ack))).toEqual([null, {}]);
  expect(await acknowledged((ack) => alice.to('@bob').timeout(5_000).emit('x', ack))).toMatchObject([
    { code: 'forbidden' },
    undefined,
  ]);
  const offline = io('http://127.0.0.1:9', { WebSocket });
  onCleanup(() => void offline.disconnect());
  expect(await acknowledged((ack) => offline.timeout(50).emit('x', ack))).toMatchObject([
    { code: 'timeout' },
    undefined,
  ]);
});

test('the path of the URL is the room, as a namespace; once and off take listeners away', async () => {
  const name = randomRoom().replace(':', '-');
  const alice = io(`${http}/${name}`, { WebSocket, auth: { token: await tokenOf('alice') }, echo: true });
  onCleanup(() => void alice.disconnect());
  const counts = { once: 0, off: 0, on: 0 };
  alice.once('x', () => counts.once++);
  const off = () => counts.off++;
  alice.on('x', off).off('x', off);
  alice.on('x', () => counts.on++);
  await until(() => alice.client?.room(name).state === 'joined', 5_000, 'it is in the room');
  await alice.emitWithAck('x');
  await alice.emitWithAck('x');
  await until(() => counts.on === 2, 5_000, 'both have come');
  expect(counts).toEqual({ once: 1, off: 0, on: 2 });
  expect(() => io()).toThrow('needs a URL');
});
