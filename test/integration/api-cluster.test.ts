/**
 * The calls of the HTTP API that all nodes perform, as the operator's backend uses them: each goes to a node that holds none
 * of the connections in question. A node that was killed is the business of test/chaos/api-node-killed.test.ts.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import { routes } from '../../gateway/http/api/routes.ts';
import type { MessageFrame } from '../../shared/protocol.ts';
import { type Client, connect, connectWelcomed } from '../support/client.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { metric } from './admin.ts';
import { type Answer, apiKey, call, post } from './api.ts';
import { clusterSettings } from './cluster.ts';
import { roomsFile } from './files.ts';
import { enter, join, names, randomRoom, tokenOf } from './people.ts';

let [near, far]: SpawnedNode[] = [];
/** Where the connections are, and where the calls go. */
const members = () => near as SpawnedNode;
const api = () => far as SpawnedNode;

beforeAll(async () => {
  const settings = {
    ...clusterSettings(),
    ...{ API_KEY: apiKey, MAX_CONNECTIONS_PER_USER: 0, REQUEST_RATE: 0, PING_INTERVAL_MS: 500 },
    ROOMS_FILE: roomsFile({ match: 'kept:*', history: {} }, { match: 'closed:*', subscribe: 'server' }),
  };
  [near, far] = await Promise.all(['near', 'far'].map((NODE_ID) => spawnNode({ ...settings, NODE_ID })));
  const both = async () => (await call(api(), 'GET', '/api/nodes')).json.nodes.length === 2;
  await until(both, 10_000, 'both nodes are there');
});

/** Calls, and holds the answer to what the document says of the call. */
async function done(method: string, path: string, body?: object): Promise<Answer['json']> {
  const answer = await call(api(), method, path, body === undefined ? {} : { body });
  expect(answer.status, answer.text).toBe(200);
  expect(answer.headers['content-type']).toBe('application/json');
  const template = path.split('?')[0]?.split('/') ?? [];
  const route = routes.find((each) => each.method === method && matches(each.path.split('/'), template));
  route?.answer.parse(answer.json);
  expect(route).toBeDefined();
  return answer.json;
}

function matches(parts: string[], path: string[]): boolean {
  return parts.length === path.length && parts.every((part, at) => part.startsWith('{') || part === path[at]);
}

const encoded = encodeURIComponent;
const idOf = ({ frames: [welcome] }: Client) => (welcome?.type === 'welcome' ? welcome.connection : '');

describe('lists', () => {
  test('rooms are those of all nodes by name, with a prefix, a page at a time', async () => {
    const prefix = `${randomRoom('list')}/`;
    const rooms = names(prefix, 5);
    await join(members(), 'ann', ...rooms);
    await join(api(), 'bob', rooms[1] ?? '');
    const all = await done('GET', `/api/rooms?prefix=${encoded(prefix)}`);
    expect(all).toEqual({ rooms: rooms.map((room, at) => ({ room, members: at === 1 ? 2 : 1 })) });
    const page = await done('GET', `/api/rooms?prefix=${encoded(prefix)}&limit=2`);
    expect(page).toEqual({ rooms: all.rooms.slice(0, 2), more: true });
    const rest = await done('GET', `/api/rooms?prefix=${encoded(prefix)}&after=${encoded(page.rooms[1].room)}`);
    expect(rest).toEqual({ rooms: all.rooms.slice(2) });
    expect(await done('GET', `/api/rooms?prefix=${encoded(prefix)}x`)).toEqual({ rooms: [] });
  });

  test('connections are found by user, room and node, a page at a time, and tell of each what there is', async () => {
    const [room, user] = [randomRoom(), `é/%"${randomRoom()}`];
    const before = Date.now();
    const clients = [await join(members(), user, room), await enter(members(), user), await join(api(), user, room)];
    const path = `/api/connections?user=${encoded(user)}`;
    const listed = async () => {
      const { connections } = await done('GET', path);
      return connections.every(({ rttMs }: { rttMs: number | null }) => rttMs !== null) ? connections : undefined;
    };
    const all = await until(listed, 10_000, 'each has answered a ping');
    // Nodes come in the order of their names.
    const expected = [clients[2], clients[0], clients[1]].map((client) => idOf(client as Client));
    expect(all.map(({ connection }: { connection: string }) => connection)).toEqual(expected);
    expect(all[1]).toEqual({
      ...{ connection: expected[1], user, node: 'near', address: '127.0.0.1', openedAt: expect.any(Number) },
      ...{ rooms: 1, bufferedBytes: 0, rttMs: expect.any(Number) },
    });
    for (const { openedAt } of all) {
      expect(openedAt).toBeGreaterThan(before - 1_000);
      expect(openedAt).toBeLessThan(Date.now() + 1_000);
    }
    const idsOf = async (query: string) =>
      (await done('GET', `${path}&${query}`)).connections.map(({ connection }: { connection: string }) => connection);
    expect(await idsOf(`room=${encoded(room)}`)).toEqual(expected.slice(0, 2));
    expect(await idsOf('node=near')).toEqual(expected.slice(1));
    expect(await idsOf('node=elsewhere')).toEqual([]);
    expect(await idsOf('limit=2')).toEqual(expected.slice(0, 2));
    expect(await idsOf(`limit=2&after=${encoded(expected[1] ?? '')}`)).toEqual(expected.slice(2));
  });

  test('an answer has at most 256 KiB: the rest is on further pages', async () => {
    // In JSON each character has six.
    const user = '\u0001'.repeat(200);
    const clients = await Promise.all(Array.from({ length: 250 }, () => enter(members(), user)));
    const found: string[] = [];
    let pages = 0;
    for (let more = true; more; pages++) {
      const after = found.length === 0 ? '' : `&after=${encoded(found.at(-1) ?? '')}`;
      const answer = await call(api(), 'GET', `/api/connections?user=${encoded(user)}&limit=1000${after}`);
      expect(Buffer.byteLength(answer.text)).toBeLessThanOrEqual(262_144);
      found.push(...answer.json.connections.map(({ connection }: { connection: string }) => connection));
      more = answer.json.more ?? false;
    }
    expect(found.toSorted()).toEqual(clients.map(idOf).sort());
    expect(pages).toBe(2);
  });

  test('nodes tell what they are, and stats add all of them up', async () => {
    const user = `counted ${randomRoom()}`;
    await Promise.all([join(members(), user, randomRoom()), join(api(), user, randomRoom())]);
    const { nodes } = await done('GET', '/api/nodes');
    expect(nodes.map(({ node }: { node: string }) => node)).toEqual(['far', 'near']);
    expect(nodes[1]).toMatchObject({ draining: false, version: expect.stringMatching(/^\d/) });
    expect(await done('GET', '/api/nodes?limit=1')).toMatchObject({ nodes: [{ node: 'far' }], more: true });
    const { nodes: behind, more } = await done('GET', '/api/nodes?after=far&limit=1');
    expect([behind.map(({ node }: { node: string }) => node), more]).toEqual([['near'], undefined]);
    const stats = await done('GET', '/api/stats');
    expect(stats).toMatchObject({ nodes: 2, connections: nodes[0].connections + nodes[1].connections });
    expect(stats.users).toBeLessThan(stats.connections);
    const rate = async () => {
      await post(api(), randomRoom(), { data: 1 });
      return (await done('GET', '/api/stats')).publishedPerSecond > 0;
    };
    await until(rate, 10_000, 'publishes are counted');
  });
});

describe('commands', () => {
  test('a message to a user, then the membership in a room and its end, reach all connections of the user', async () => {
    for (const room of [randomRoom('kept'), randomRoom('closed')]) {
      const user = `ann ${room}`;
      const token = await mintToken({ sub: user });
      const clients = await Promise.all([connect(members().url, { token }), connect(members().url, { token })]);
      for (const client of clients) await client.next('welcome');
      const path = `/api/rooms/${encoded(room)}/members/${encoded(user)}`;
      expect(await done('POST', path)).toEqual({ subscribed: 2 });
      const { epoch, offset } = (await post(api(), room, { data: 'hello' })).json;
      for (const client of clients) {
        const subscribed = await client.next('subscribed');
        expect(subscribed).toEqual({ type: 'subscribed', room, ...(epoch === undefined ? {} : { epoch, offset: 0 }) });
        expect(((await client.next('message')) as MessageFrame).offset).toBe(offset);
      }
      expect(await done('POST', path, {})).toEqual({ subscribed: 2 });
      expect(await done('DELETE', path)).toEqual({ removed: 2 });
      for (const client of clients)
        expect(await client.next('unsubscribed')).toEqual({ type: 'unsubscribed', room, reason: 'kicked' });
      expect(await done('DELETE', path)).toEqual({ removed: 0 });
      // A member stays one without a frame.
      for (const client of clients) expect(client.frames.filter(({ type }) => type === 'subscribed')).toHaveLength(1);
    }
  });

  test('a user is disconnected with 4503, and comes back unless blocked', async () => {
    const user = `gone ${randomRoom()}`;
    const path = `/api/users/${encoded(user)}/disconnect`;
    const [first, second] = [await enter(members(), user), await enter(members(), user)];
    // A node remembers that it was good.
    const known = await tokenOf(user);
    await (await connectWelcomed(members().url, known)).close();
    expect(await done('POST', path)).toEqual({ disconnected: 2 });
    for (const client of [first, second]) expect(await client.closed).toMatchObject({ code: 4503 });
    const back = await enter(members(), user);
    expect(await done('POST', path, { blockSeconds: 3_600 })).toEqual({ disconnected: 1 });
    expect(await back.closed).toMatchObject({ code: 4503 });
    for (const node of [members(), api()]) {
      for (const token of [known, await tokenOf(user)]) {
        const refused = await connect(node.url, { token });
        expect(await refused.closed).toMatchObject({ code: 4503 });
      }
    }
    expect(await done('POST', path, {})).toEqual({ disconnected: 0 });
    const still = await connect(members().url, { token: await tokenOf(user) });
    expect(await still.closed).toMatchObject({ code: 4503 });
    expect(await done('POST', path, { blockSeconds: 0 })).toEqual({ disconnected: 0 });
    await enter(members(), user);
  });

  test('one connection is disconnected by its id, once', async () => {
    const [gone, there] = [await enter(members(), 'two tabs'), await enter(members(), 'two tabs')];
    const path = `/api/connections/${encoded(idOf(gone))}/disconnect`;
    expect(await done('POST', path)).toEqual({ disconnected: 1 });
    expect(await gone.closed).toMatchObject({ code: 4503 });
    expect(await done('POST', path)).toEqual({ disconnected: 0 });
    expect(await done('POST', '/api/connections/no-such-connection/disconnect', {})).toEqual({ disconnected: 0 });
    expect(await there.request({ type: 'ping' })).toMatchObject({ type: 'pong' });
  });

  test('each question is measured, and counted by its route and status', async () => {
    const counted = () => metric(api(), 'gateway_control_seconds_count');
    const before = await counted();
    await done('GET', '/api/nodes');
    await done('DELETE', `/api/rooms/${randomRoom()}/members/nobody`);
    expect(await counted()).toBe(before + 2);
    const route = 'gateway_http_requests_total{route="/api/rooms/{room}/members/{user}"';
    expect(await metric(api(), `${route},status="200"}`)).toBeGreaterThan(0);
    expect(await metric(api(), `${route},status="202"}`)).toBe(0);
  });
});
