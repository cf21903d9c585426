/**
 * The HTTP API as the operator's backend uses it, on a cluster of two nodes: each call goes to a node that holds no member.
 * Every answer is held to the schema that the OpenAPI document shows.
 */
import { beforeAll, describe, expect, inject, test } from 'vitest';
import { routes } from '../../gateway/http/api/routes.ts';
import type { MessageFrame } from '../../shared/protocol.ts';
import { personalRoom } from '../../shared/room.ts';
import { connectWelcomed } from '../support/client.ts';
import { type SpawnedNode, spawnNode, startNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { get, metric, scrape } from './admin.ts';
import { type Answer, apiKey, call, post } from './api.ts';
import { roomsFile } from './files.ts';
import { carrying, join, messagesOf, names, randomRoom } from './people.ts';

const secondKey = 'another-key-for-the-tests';
let [near, far]: SpawnedNode[] = [];
/** Where the members are, and where the calls go. */
const members = () => near as SpawnedNode;
const api = () => far as SpawnedNode;

beforeAll(async () => {
  const settings = {
    REDIS_URL: inject('redisUrl'),
    REDIS_PREFIX: inject('redisPrefix'),
    API_KEY: `${apiKey}, ${secondKey}`,
    ROOMS_FILE: roomsFile(
      { match: 'kept:*', subscribe: 'user', publish: 'user', history: {}, presence: true },
      { match: 'closed:*', subscribe: 'user', publish: 'server' },
    ),
  };
  [near, far] = await Promise.all([spawnNode(settings), spawnNode(settings)]);
});

/** The answer is what the document says of the call. */
function expectDone(name: string, answer: Answer): void {
  expect(answer.status, answer.text).toBe(200);
  expect(answer.headers['content-type']).toBe('application/json');
  routes.find((route) => route.name === name)?.answer.parse(answer.json);
}

describe('publishing', () => {
  test('reaches members on another node, with the id that the answer tells, and without a sender', async () => {
    const room = randomRoom();
    const member = await join(members(), 'ann', room);
    const answer = await post(api(), room, { data: { greeting: 'hello' } });
    expectDone('publish', answer);
    expect(Object.keys(answer.json)).toEqual(['id']);
    const frame = (await member.next('message')) as MessageFrame;
    expect(frame).toEqual({
      type: 'message',
      room,
      id: answer.json.id,
      data: { greeting: 'hello' },
      at: expect.any(Number),
    });
  });

  test('tells the position in a room with history, names the sender, and goes where no client may publish', async () => {
    const [kept, closed] = [randomRoom('kept'), randomRoom('closed')];
    const member = await join(members(), 'ann', kept, closed);
    const first = await post(api(), kept, { data: 1, from: 'Bob "é" 😀' });
    expectDone('publish', first);
    expect(first.json).toEqual({ epoch: expect.any(String), offset: 1 });
    expect((await post(api(), kept, { data: 2 })).json).toEqual({ epoch: first.json.epoch, offset: 2 });
    expectDone('publish', await post(api(), closed, { data: 3 }));
    expect(await member.next(carrying(kept, 1))).toMatchObject({ from: 'Bob "é" 😀', offset: 1 });
    expect(await member.next(carrying(closed, 3))).not.toHaveProperty('from');
  });

  test.each([
    '1.0e+2',
    '{ "a" :\t[1,  2 ] }',
    '"\\u00e9\\ud83d\\ude00"',
    '"é😀"',
    '{"__proto__":{"x":1},"a":1,"a":2}',
    '9007199254740993',
    'null',
  ])('hands `data` on byte for byte: %s', async (data) => {
    const room = randomRoom();
    const member = await join(members(), 'ann', room);
    const raw: string[] = [];
    member.socket.on('message', (text) => raw.push(String(text)));
    expectDone('publish', await call(api(), 'POST', `/api/rooms/${room}/messages`, { body: `{"data": ${data} }` }));
    await member.next('message');
    expect(raw.at(-1)).toContain(`"data":${data},`);
  });

  test('with a key is done once, whichever node is asked; and no user can take a key of the server', async () => {
    for (const room of [randomRoom(), randomRoom('kept')]) {
      const member = await join(members(), 'ann', room);
      await member.publish(room, 'of a client', { key: 'order-1' });
      const first = await post(api(), room, { data: 'of the server', key: 'order-1', from: 'ann' });
      expect(first.json).not.toHaveProperty('duplicate');
      const again = await post(members(), room, { data: 'again', key: 'order-1' });
      expectDone('publish', again);
      const { epoch, offset } = first.json;
      expect(again.json).toEqual(epoch === undefined ? { duplicate: true } : { epoch, offset, duplicate: true });
      await post(api(), room, { data: 'last' });
      await member.next(carrying(room, 'last'));
      expect(messagesOf(member, room).map(({ data }) => data)).toEqual(['of a client', 'of the server', 'last']);
    }
  });

  test('to a user reaches the personal room, whatever the name is', async () => {
    for (const user of ['ann@example.org', 'a/b c%', 'é😀', '..']) {
      const token = await mintToken({ sub: user });
      const member = await connectWelcomed(members().url, token);
      const room = personalRoom(user);
      await member.subscribe(room);
      const answer = await call(api(), 'POST', `/api/users/${encodeURIComponent(user)}/messages`, {
        body: { data: 1 },
      });
      expectDone('publishToUser', answer);
      expect(await member.next('message')).toMatchObject({ room, data: 1, id: answer.json.id });
    }
  });

  test('to 1,000 rooms has a result for each, in their order', async () => {
    const rooms = names(`${randomRoom()}:`, 999);
    const kept = randomRoom('kept');
    const member = await join(members(), 'ann', rooms[0] ?? '', rooms[998] ?? '', kept);
    const answer = await call(api(), 'POST', '/api/broadcast', {
      body: { rooms: [...rooms, kept], data: 'all', key: 'k' },
    });
    expectDone('broadcast', answer);
    expect(answer.json.results.map(({ room }: { room: string }) => room)).toEqual([...rooms, kept]);
    for (const room of [rooms[0] ?? '', rooms[998] ?? '', kept]) await member.next(carrying(room, 'all'));
    expect(answer.json.results.at(-1)).toEqual({ room: kept, epoch: expect.any(String), offset: 1 });
    const again = await call(members(), 'POST', '/api/broadcast', { body: { rooms: [kept], data: 'all', key: 'k' } });
    expect(again.json.results).toEqual([{ ...answer.json.results.at(-1), duplicate: true }]);
  });
});

describe('reading', () => {
  test('history gives pages in ascending order, up and down, and none of another epoch', async () => {
    const room = randomRoom('kept');
    for (let data = 1; data <= 5; data++) await post(api(), room, { data, key: `k${data}` });
    const path = `/api/rooms/${encodeURIComponent(room)}/messages`;
    const read = async (query = '') => {
      const answer = await call(members(), 'GET', `${path}${query}`);
      expectDone('history', answer);
      return { ...answer.json, messages: answer.json.messages.map(({ data }: MessageFrame) => data) };
    };
    const all = await read();
    const { epoch } = all;
    expect(all).toEqual({ epoch, offset: 5, first: 1, messages: [1, 2, 3, 4, 5] });
    expect(await read('?limit=2')).toEqual({ ...all, messages: [4, 5], more: true });
    expect(await read(`?after=1&limit=2&epoch=${encodeURIComponent(epoch)}`)).toEqual({
      ...all,
      messages: [2, 3],
      more: true,
    });
    expect(await read('?before=3')).toEqual({ ...all, messages: [1, 2] });
    expect(await read('?after=0&epoch=another')).toEqual({ ...all, messages: [] });
  });

  test('history of large messages is cut at 256 KiB, and goes on from there', async () => {
    const room = randomRoom('kept');
    for (let data = 1; data <= 6; data++) await post(api(), room, { data: `${data}${'x'.repeat(60_000)}` });
    const path = `/api/rooms/${encodeURIComponent(room)}/messages?after=`;
    const page = await call(api(), 'GET', `${path}0`);
    expectDone('history', page);
    expect(page.json.more).toBe(true);
    expect(page.text.length).toBeLessThanOrEqual(262_144);
    const { offset } = page.json.messages.at(-1);
    const rest = await call(api(), 'GET', `${path}${offset}`);
    expect(rest.json.messages.at(-1).offset).toBe(6);
    expect(rest.json.messages[0].offset).toBe(offset + 1);
  });

  test('members are those of all nodes, a page at a time', async () => {
    const room = randomRoom('kept');
    await join(members(), 'ann', room);
    await join(api(), 'bob', room);
    await join(api(), 'bob', room);
    const path = `/api/rooms/${encodeURIComponent(room)}/members`;
    await until(async () => (await call(api(), 'GET', path)).json.count === 3, 5_000, 'three members');
    const answer = await call(api(), 'GET', path);
    expectDone('members', answer);
    expect(answer.json).toMatchObject({ count: 3, users: 2 });
    const page = await call(members(), 'GET', `${path}?limit=2`);
    expectDone('members', page);
    const after = encodeURIComponent(page.json.members.at(-1).connection);
    const rest = await call(members(), 'GET', `${path}?limit=2&after=${after}`);
    expect(page.json.more).toBe(true);
    expect([...page.json.members, ...rest.json.members]).toEqual(answer.json.members);
  });

  test.each(['messages', 'members'])(
    '%s of a room whose rule has none are 403, which says what to do',
    async (what) => {
      const answer = await call(api(), 'GET', `/api/rooms/${randomRoom('closed')}/${what}`);
      expect(answer).toMatchObject({ status: 403, json: { type: 'https://roomcast.dev/problems/forbidden' } });
      expect(answer.json.detail).toMatch(/"match": "closed:\*", has no (history|presence); add/);
    },
  );
});

describe('the door', () => {
  test('opens for each of the keys, in either header, and tells how to come in otherwise', async () => {
    const room = randomRoom();
    const post1 = (headers: Record<string, string | undefined>) => post(api(), room, { data: 1 }, { headers });
    for (const key of [apiKey, secondKey]) {
      expect((await post1({ authorization: `Bearer ${key}` })).status).toBe(200);
      expect((await post1({ authorization: `bearer  ${key}` })).status).toBe(200);
      expect((await post1({ authorization: undefined, 'x-api-key': key })).status).toBe(200);
      expect((await post1({ authorization: 'Basic abc', 'x-api-key': key })).status).toBe(200);
    }
    for (const [authorization, header] of [
      [undefined, undefined],
      ['', ''],
      [`Bearer ${apiKey}x`, undefined],
      [`Bearer ${apiKey.slice(1)}`, undefined],
      [`Bearer ${apiKey}, ${secondKey}`, undefined],
      [`Basic ${apiKey}`, undefined],
      [apiKey, undefined],
      ['Bearer', undefined],
      [undefined, `Bearer ${apiKey}`],
      [undefined, `${apiKey},${secondKey}`],
      [`Bearer ${await mintToken({ sub: 'ann' })}`, undefined],
    ]) {
      const answer = await post1({ authorization, 'x-api-key': header });
      expect(answer, `${authorization} ${header}`).toMatchObject({
        status: 401,
        json: { type: 'https://roomcast.dev/problems/unauthorized', title: 'Unauthorized', status: 401 },
      });
      expect(answer.headers['www-authenticate']).toBe('Bearer realm="roomcast"');
      expect(answer.headers['content-type']).toBe('application/problem+json');
    }
  });

  test('is not there without the setting: 404 for every call', async () => {
    const node = await startNode();
    for (const [method, path] of routes.map((route) => [route.method, route.path] as const)) {
      expect((await call(node, method, path.replaceAll(/\{\w+\}/g, 'a'))).status).toBe(404);
    }
  });

  test('is on the admin port only', async () => {
    for (const path of ['/api/openapi.json', '/api/rooms/a/messages']) {
      expect((await call({ adminPort: api().port }, 'GET', path)).status).toBe(404);
    }
    const document = await get(api(), '/api/openapi.json');
    expect(document.status).toBe(200);
    expect(await document.json()).toMatchObject({ openapi: '3.1.0' });
    expect((await call(api(), 'HEAD', '/api/openapi.json')).text).toBe('');
  });

  test('counts by route and status, and no label holds a room or a key', async () => {
    const node = await startNode({ API_KEY: apiKey });
    const room = randomRoom();
    await post(node, room, { data: 1 });
    await post(node, room, {});
    await post(node, room, { data: 1 }, { headers: { authorization: undefined } });
    await call(node, 'GET', `/api/${room}`);
    const template = '/api/rooms/{room}/messages';
    const count = (status: number, route = template) =>
      metric(node, `gateway_http_requests_total{route="${route}",status="${status}"}`);
    expect([await count(200), await count(400), await count(401), await count(404, 'other')]).toEqual([1, 1, 1, 1]);
    expect(await metric(node, `gateway_http_request_seconds_count{route="${template}"}`)).toBe(3);
    expect(await metric(node, 'gateway_messages_published_total{source="api"}')).toBe(1);
    expect(await metric(node, 'gateway_messages_published_total{source="client"}')).toBe(0);
    const all = [...(await scrape(node)).keys()].join('\n');
    expect(all).not.toContain(room);
    expect(all).not.toContain(apiKey);
  });
});
