/**
 * The client library where WebSockets do not get through: event streams and POST, and the way back.
 *
 * The proxy between client and node lets HTTP pass and treats WebSockets as the test says. Waits are short, as the unit tests
 * hold the real ones.
 */
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { WebSocket } from 'ws';
import { type Client, connect, type Options } from '../../shared/client/client.ts';
import { fallback } from '../../shared/client/fallback/fallback.ts';
import { apiKey, call } from '../integration/api.ts';
import { follow, numbersOf, publishing } from '../integration/client-rooms.ts';
import { roomsFile } from '../integration/files.ts';
import { everywhere, randomRoom, tokenOf } from '../integration/people.ts';
import { onCleanup } from '../support/cleanup.ts';
import { type NodeSettings, spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { type UpgradeMode, upgradeProxy } from '../support/upgrade-proxy.ts';

const redis = await ownRedis();
const rules = { match: 'kept:*', history: { size: 1_000 }, presence: true };
const settings: NodeSettings = { REDIS_URL: redis.url, PUBLISH_RATE: 0, ROOMS_FILE: roomsFile(rules) };
const start = (more: NodeSettings = {}) => spawnNode({ ...settings, ...more });
const node = await start();

beforeEach(() => {
  const random = vi.spyOn(Math, 'random').mockReturnValue(0.02);
  return () => random.mockRestore();
});

function enter(url: string, user: string, options: Options = {}): Client {
  const client = connect(url, { WebSocket, fallback, getToken: () => tokenOf(user), ...options });
  onCleanup(() => client.close());
  return client;
}

describe.each<UpgradeMode>(['refuse', 'hang', 403, 404])('WebSockets meet: %s', (mode) => {
  test('plain HTTP serves within 5 s of the start: messages, publishes, history', async () => {
    const proxy = await upgradeProxy(node.port, mode);
    const startedAt = performance.now();
    const client = enter(proxy.url, 'alice');
    const told = follow(client, randomRoom('kept'));
    await told.joined;
    // And what a busy machine adds; test/unit/client/fallback.test.ts has the longest waits.
    expect(performance.now() - startedAt).toBeLessThan(5_000 + 2_000);
    expect(client).toMatchObject({ transport: 'sse', state: 'open', connection: undefined });
    expect(proxy.upgrades).toBe(2);
    expect(await told.room.publish('one', { key: 'k' })).toMatchObject({ offset: 1 });
    expect(await told.room.publish('one', { key: 'k' })).toMatchObject({ offset: 1, duplicate: true });
    await told.room.publish('hidden', { echo: false });
    await told.room.publish('three');
    await until(() => told.numbers.length === 2, 5_000, 'the messages have come');
    expect(told.numbers).toEqual(['one', 'three']);
    expect(told.room.position).toMatchObject({ offset: 3 });
    const data = async (options: object) => (await told.room.history(options)).messages.map((message) => message.data);
    expect(await data({ limit: 2 })).toEqual(['hidden', 'three']);
    expect(await data({ after: 0, limit: 1 })).toEqual(['one']);
  });
});

test('what plain HTTP does not have is a clear error; what it refuses is refused as by a WebSocket', async () => {
  const proxy = await upgradeProxy(node.port, 404);
  const client = enter(proxy.url, 'alice');
  const { room, joined } = follow(client, randomRoom('kept'));
  await joined;
  await expect(room.presence()).rejects.toMatchObject({ code: 'unsupported', message: /WebSocket/ });
  await expect(room.history({ before: 5 })).rejects.toMatchObject({ code: 'unsupported' });
  await expect(client.room(randomRoom('plain')).history()).rejects.toMatchObject({ code: 'forbidden' });
  await expect(client.room('@bob').subscribe()).rejects.toMatchObject({ code: 'forbidden' });
  await expect(client.room('@bob').publish('x')).rejects.toMatchObject({ code: 'forbidden' });
  await expect(room.publish('x'.repeat(70_000))).rejects.toMatchObject({ code: 'too_large' });
  await room.unsubscribe();
  await until(() => proxy.requests === 0, 5_000, 'its stream has ended');
});

test('once WebSockets get through the client moves back: nothing missing, nothing doubled, never without a connection', async () => {
  const proxy = await upgradeProxy(node.port, 404);
  const events = page();
  const client = enter(proxy.url, 'alice');
  const rooms = [follow(client, randomRoom('kept')), follow(client, randomRoom('plain'))] as const;
  await Promise.all(rooms.map(({ joined }) => joined));
  const bob = enter(node.url, 'bob');
  const numbers = rooms.map(({ room }) => publishing(bob.room(room.name)));
  const states: string[] = [];
  client.on('state', (state) => states.push(state));
  for (const each of numbers) await each.reached(20);
  proxy.mode = 'pass';
  events.dispatchEvent(new Event('online'));
  await until(() => client.transport === 'websocket', 10_000, 'it is back on a WebSocket');
  for (const each of numbers) await each.reached(each.last + 20);
  for (const [index, told] of rooms.entries()) {
    const all = (await numbers[index]?.stop()) ?? [];
    await until(() => told.numbers.length >= all.length, 10_000, 'all messages have come');
    expect(numbersOf(told)).toEqual(all);
    expect(told.gaps).toEqual([]);
  }
  expect(states).toEqual([]);
  await until(() => proxy.requests === 0, 5_000, 'the streams have ended');
});

test('a cut of all streams: the room with history misses nothing, the plain one says that it has a gap', async () => {
  const proxy = await upgradeProxy(node.port, 404);
  const client = enter(proxy.url, 'alice');
  const [kept, plain] = [follow(client, randomRoom('kept')), follow(client, randomRoom('plain'))] as const;
  await Promise.all([kept.joined, plain.joined]);
  const own = publishing(client.room(kept.room.name));
  for (let cuts = 0; cuts < 5; cuts++) {
    const { last } = own;
    proxy.cut();
    await own.reached(last + 2);
    await until(() => kept.room.state === 'joined' && plain.room.state === 'joined', 10_000, 'they are back');
  }
  const all = await own.stop();
  await until(() => kept.numbers.length >= all.length, 10_000, 'all messages have come');
  expect(kept.numbers).toEqual(all);
  expect(kept.gaps).toEqual([]);
  expect(plain.gaps).toEqual(Array(5).fill('reconnect'));
  // It knows its way by now.
  expect(proxy.upgrades).toBe(2);
});

test('a node that drains: streams move before they end, in plain rooms too', async () => {
  const leaving = await start({ DRAIN_MS: 6_000 });
  const proxy = await upgradeProxy(leaving.port, 404);
  const client = enter(proxy.url, 'alice');
  const rooms = [follow(client, randomRoom('kept')), follow(client, randomRoom('plain'))] as const;
  await Promise.all(rooms.map(({ joined }) => joined));
  const bob = enter(node.url, 'bob');
  const numbers = rooms.map(({ room }) => publishing(bob.room(room.name)));
  for (const each of numbers) await each.reached(10);
  const states: string[] = [];
  client.on('state', (state) => states.push(state));
  proxy.target = node.port;
  leaving.kill('SIGTERM');
  await leaving.exited;
  for (const [index, told] of rooms.entries()) {
    await numbers[index]?.reached(numbers[index].last + 10);
    const all = (await numbers[index]?.stop()) ?? [];
    await until(() => told.numbers.length >= all.length, 10_000, 'all messages have come');
    expect(numbersOf(told)).toEqual(all);
    expect(told.gaps).toEqual([]);
  }
  expect([states, client.transport]).toEqual([[], 'sse']);
});

test('a token is renewed before it ends, without a break', async () => {
  const proxy = await upgradeProxy(node.port, 404);
  const ends: number[] = [];
  const getToken = () => {
    const exp = Math.floor(Date.now() / 1000) + 3;
    ends.push(exp * 1000);
    return mintToken({ sub: 'alice', rooms: everywhere, exp, iat: exp - 3 });
  };
  const client = enter(proxy.url, 'alice', { getToken });
  const told = follow(client, randomRoom('plain'));
  await told.joined;
  const numbers = publishing(enter(node.url, 'bob').room(told.room.name));
  // Behind the 5 s of tolerance that the gateway gives.
  await until(() => Date.now() > (ends[0] ?? 0) + 5_500, 15_000, 'the first token has ended');
  await told.room.publish('still here');
  await numbers.reached(numbers.last + 5);
  const all = await numbers.stop();
  await until(() => numbersOf(told).length >= all.length, 5_000, 'all messages have come');
  expect([numbersOf(told), told.gaps]).toEqual([all, []]);
  expect(ends.length).toBeGreaterThan(2);
});

test('a token that the gateway does not take ends the client, as with WebSockets', async () => {
  const proxy = await upgradeProxy(node.port, 404);
  const client = enter(proxy.url, 'alice', { getToken: () => 'a.b.c' });
  const errors: unknown[] = [];
  client.on('error', (error) => errors.push(error));
  await until(() => client.state === 'closed', 10_000, 'it has ended');
  expect(errors).toMatchObject([{ code: 'closed', closeCode: 4501 }]);
});

test('a user who is disconnected by an administrator does not come back', async () => {
  const keyed = await start({ API_KEY: apiKey });
  const proxy = await upgradeProxy(keyed.port, 404);
  const client = enter(proxy.url, 'mallory');
  await follow(client, randomRoom('plain')).joined;
  await call(keyed, 'POST', '/api/users/mallory/disconnect', { body: {} });
  await until(() => client.state === 'closed', 10_000, 'it has ended');
});

/** The events of a page, which Node has not. */
function page(): EventTarget {
  const target = new EventTarget();
  vi.stubGlobal('addEventListener', target.addEventListener.bind(target));
  vi.stubGlobal('removeEventListener', target.removeEventListener.bind(target));
  onCleanup(() => vi.unstubAllGlobals());
  return target;
}
