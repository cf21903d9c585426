/**
 * The client library against real nodes: killed, drained, cut off, gone silent, and with Redis restarted.
 *
 * Two nodes, as processes, share a Redis of this file. The client reaches one of them through a proxy, as through a load
 * balancer. The waits of its backoff are a matter of test/unit/client; here they are short.
 */
import { beforeEach, expect, test, vi } from 'vitest';
import { WebSocket } from 'ws';
import { type Client, connect, type Options, type Room } from '../../shared/client/client.ts';
import { onCleanup } from '../support/cleanup.ts';
import { type FaultProxy, faultProxy } from '../support/fault-proxy.ts';
import { type NodeSettings, type SpawnedNode, spawnNode } from '../support/node.ts';
import { ownRedisOnDisk } from '../support/own-redis.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { apiKey, call } from './api.ts';
import { expectWhole, follow, numbersOf, publishing, type Told } from './client-rooms.ts';
import { roomsFile } from './files.ts';
import { everywhere, randomRoom, tokenOf } from './people.ts';

const redis = await ownRedisOnDisk();
const settings: NodeSettings = {
  REDIS_URL: redis.url,
  PUBLISH_RATE: 0,
  ROOMS_FILE: roomsFile({ match: 'kept:*', history: { size: 100_000, maxBytes: 100_000_000 }, presence: true }),
};
const start = (more: NodeSettings = {}) => spawnNode({ ...settings, ...more });
const stays = await start();

beforeEach(() => {
  const random = vi.spyOn(Math, 'random').mockReturnValue(0.02);
  return () => random.mockRestore();
});

async function enter(url: string, user: string, options: Options = {}): Promise<Client> {
  const client = connect(url, { WebSocket, getToken: () => tokenOf(user), ...options });
  onCleanup(() => client.close());
  return client;
}

/** `node`, behind a proxy whose target a test can change. */
async function proxied(node: SpawnedNode): Promise<FaultProxy> {
  return faultProxy(node.url);
}

async function joined(client: Client, name: string): Promise<Told> {
  const told = follow(client, name);
  await told.joined;
  return told;
}

test('publish, subscribe, history and presence', async () => {
  const name = randomRoom('kept');
  const client = await enter(stays.url, 'alice');
  const told = await joined(client, name);
  expect(client).toMatchObject({ state: 'open', transport: 'websocket' });
  const published = await told.room.publish({ text: 'hello' });
  expect(published).toMatchObject({ offset: 1, epoch: told.room.position?.epoch });
  expect(await told.room.publish('again', { key: 'k' })).toMatchObject({ offset: 2 });
  expect(await told.room.publish('again', { key: 'k' })).toMatchObject({ offset: 2, duplicate: true });
  await told.room.publish('hidden', { echo: false });
  await told.room.publish('last');
  await until(() => told.numbers.length === 3, 5_000, 'the messages have come');
  expect(told.numbers).toEqual([{ text: 'hello' }, 'again', 'last']);
  expect(await told.room.history({ limit: 2 })).toMatchObject({
    offset: 4,
    messages: [{ data: 'hidden' }, { data: 'last' }],
  });
  expect(await told.room.presence()).toMatchObject({
    users: 1,
    members: [{ user: 'alice', connection: client.connection }],
  });
  await expect(client.room('plain').history()).rejects.toMatchObject({ code: 'forbidden' });
  await expect(client.room('@bob').subscribe()).rejects.toMatchObject({ code: 'forbidden' });
});

test('a line that is cut ten times: nothing missing, nothing doubled, and what is published meanwhile arrives once', async () => {
  const name = randomRoom('kept');
  const proxy = await proxied(stays);
  const client = await enter(proxy.url, 'alice');
  const told = await joined(client, name);
  const others = publishing((await enter(stays.url, 'bob')).room(name));
  const own = randomRoom('kept');
  const ownTold = await joined(await enter(stays.url, 'carol'), own);
  const mine = publishing(client.room(own));
  for (let cuts = 0; cuts < 10; cuts++) {
    const { last } = mine;
    proxy.cut();
    await mine.reached(last + 2);
    await until(() => told.room.state === 'joined', 5_000, 'it is in the room again');
  }
  await expectWhole(told, await others.stop());
  await expectWhole(ownTold, await mine.stop());
  expect([told.gaps, ownTold.gaps]).toEqual([[], []]);
  expect(proxy.connections).toBe(1);
});

test('a node that is killed: a room with history goes on elsewhere without a hole, a plain one says that it has one', async () => {
  const node = await start();
  const proxy = await proxied(node);
  const client = await enter(proxy.url, 'alice');
  const [kept, plain] = [await joined(client, randomRoom('kept')), await joined(client, randomRoom('plain'))];
  const numbers = publishing((await enter(stays.url, 'bob')).room(kept.room.name));
  await numbers.reached(10);
  proxy.target = stays.url;
  node.kill('SIGKILL');
  await until(() => plain.gaps.length > 0, 10_000, 'the plain room tells its gap');
  expect(plain.gaps).toEqual(['reconnect']);
  await numbers.reached(numbers.last + 10);
  await expectWhole(kept, await numbers.stop());
  expect(kept.gaps).toEqual([]);
});

test('a node that drains: no message is missed in any room, and there is always an open connection', async () => {
  const node = await start({ DRAIN_MS: 6_000 });
  const proxy = await proxied(node);
  const client = await enter(proxy.url, 'alice');
  const states: string[] = [];
  client.on('state', (state) => states.push(state));
  const rooms = [await joined(client, randomRoom('kept')), await joined(client, randomRoom('plain'))];
  const bob = await enter(stays.url, 'bob');
  const numbers = rooms.map(({ room }) => publishing(bob.room(room.name)));
  const { connection } = client;
  proxy.target = stays.url;
  node.kill('SIGTERM');
  await until(() => client.connection !== connection, 10_000, 'it has moved');
  await node.exited;
  for (const [index, told] of rooms.entries()) {
    await numbers[index]?.reached(numbers[index].last + 10);
    const all = (await numbers[index]?.stop()) ?? [];
    // In a plain room the new node may be ahead of the old one.
    await until(() => told.numbers.length >= all.length, 10_000, 'all messages have come');
    expect(numbersOf(told)).toEqual(all);
    expect(told.gaps).toEqual([]);
  }
  expect(states).toEqual(['open'].slice(states.length === 0 ? 1 : 0));
  expect(proxy.connections).toBe(1);
});

test('Redis is restarted: publishes wait for it and are taken once, and a room with history misses nothing', async () => {
  const told = await joined(await enter(stays.url, 'alice'), randomRoom('kept'));
  const numbers = publishing((await enter(stays.url, 'bob')).room(told.room.name));
  await numbers.reached(10);
  await redis.kill();
  const { last } = numbers;
  await redis.start();
  await numbers.reached(last + 10);
  await expectWhole(told, await numbers.stop());
  expect(told.gaps).toEqual([]);
});

test('a line that goes silent is left within two intervals, for one that works', async () => {
  const node = await start({ PING_INTERVAL_MS: 300 });
  const proxy = await proxied(node);
  const told = await joined(await enter(proxy.url, 'alice'), randomRoom('kept'));
  const silentAt = performance.now();
  proxy.mode = 'blackhole';
  await until(() => told.room.state === 'joining', 5_000, 'the silence is found');
  // Two intervals, and what a busy machine adds.
  expect(performance.now() - silentAt).toBeLessThan(2 * 300 + 1_000);
  proxy.cut();
  proxy.mode = 'pass';
  await until(() => told.room.state === 'joined', 10_000, 'it is in the room again');
  expect(told.gaps).toEqual([]);
});

test('a token is renewed on the open connection before it ends', async () => {
  let count = 0;
  const expiresAt: number[] = [];
  const getToken = () => {
    const exp = Math.floor(Date.now() / 1000) + 2;
    expiresAt[count++] = exp * 1_000;
    return mintToken({ sub: 'alice', rooms: everywhere, exp });
  };
  const client = await enter(stays.url, 'alice', { getToken });
  const room = client.room(randomRoom('plain'));
  await room.subscribe();
  const { connection } = client;
  await until(() => count >= 3, 15_000, 'the token was renewed twice');
  await until(() => Date.now() > (expiresAt[0] ?? 0) + 500, 15_000, 'the first token has ended');
  await room.publish('still here');
  expect(client.connection).toBe(connection);
});

test('a page that is loaded again goes on from the position that it saved', async () => {
  const name = randomRoom('kept');
  const before = await enter(stays.url, 'alice');
  const { room } = await joined(before, name);
  await room.publish(1);
  await until(() => room.position?.offset === 1, 5_000, 'the message has come');
  const saved = JSON.stringify(room.position);
  await before.close();
  await (await enter(stays.url, 'bob')).room(name).publish(2);
  const after = (await enter(stays.url, 'alice')).room(name, { since: JSON.parse(saved) });
  for await (const message of after) {
    expect(message).toMatchObject({ data: 2, recovered: true });
    break;
  }
});

test('a room that the backend chose is resumed after a loss by a user who may subscribe; others are told why not', async () => {
  const node = await start({ API_KEY: apiKey });
  const proxy = await proxied(node);
  const name = randomRoom('kept');
  const rights = { alice: everywhere, bob: { 'other:*': ['subscribe'] } };
  const clients = await Promise.all(
    Object.entries(rights).map(async ([user, rooms]) => {
      const client = await enter(proxy.url, user, { getToken: () => mintToken({ sub: user, rooms }) });
      const chosen = new Promise<Room>((resolve) => client.on('subscribed', resolve));
      await until(() => client.state === 'open', 5_000, 'it is connected');
      await call(node, 'POST', `/api/rooms/${encodeURIComponent(name)}/members/${user}`, { body: {} });
      const told = follow(client, (await chosen).name);
      await told.joined;
      return told;
    }),
  );
  const [alice, bob] = clients as [Told, Told];
  const ends: unknown[] = [];
  bob.room.on('state', ({ state, error }) => ends.push([state, error?.code]));
  proxy.cut();
  const publisher = (await enter(stays.url, 'carol')).room(name);
  await publisher.publish(1);
  await until(() => ends.length === 2, 10_000, 'bob is told');
  expect(ends).toEqual([
    ['joining', undefined],
    ['idle', 'forbidden'],
  ]);
  await expectWhole(alice, [1]);
  await call(node, 'POST', `/api/rooms/${encodeURIComponent(name)}/members/bob`, { body: {} });
  await until(() => bob.gaps.length > 0, 5_000, 'bob is back, and knows that he missed something');
  await publisher.publish(2);
  await expectWhole(alice, [1, 2]);
  await expectWhole(bob, [2]);
  expect([alice.gaps, bob.gaps]).toEqual([[], ['unrecovered']]);
});

test('rooms beyond the limit are refused, and all of the others are there again after a loss', async () => {
  const node = await start({ MAX_ROOMS_PER_CONNECTION: 100, REQUEST_RATE: 5 });
  const proxy = await proxied(node);
  const client = await enter(proxy.url, 'alice');
  const rooms = Array.from({ length: 100 }, () => client.room(randomRoom('kept')));
  await Promise.all(rooms.map((room) => room.subscribe()));
  await expect(client.room(randomRoom('kept')).subscribe()).rejects.toMatchObject({ code: 'limit_exceeded' });
  proxy.cut();
  await until(() => rooms.every(({ state }) => state === 'joining'), 5_000, 'the loss is noticed');
  await until(() => rooms.every(({ state }) => state === 'joined'), 10_000, 'all rooms are there again');
});
