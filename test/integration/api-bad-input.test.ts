/**
 * Everything that is wrong with a request to the HTTP API: it gets a clear problem, nothing is changed by it, and the node
 * goes on as before. For every route, from its table.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import type { Route } from '../../gateway/http/api/route.ts';
import { routes } from '../../gateway/http/api/routes.ts';
import type { Client } from '../support/client.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { type Headers, httpRequest, RawSocket, valuesOf } from '../support/raw-socket.ts';
import { until } from '../support/until.ts';
import { metric } from './admin.ts';
import { type Answer, apiKey, type CallOptions, call, post } from './api.ts';
import { roomsFile } from './files.ts';
import { dataOf, join, randomRoom } from './people.ts';

/** Largest body of a publish, with the GATEWAY_MAX_MESSAGE_BYTES below. */
const maxMessageBody = 2_000 + 4_096;
const maxBroadcastBody = 1_048_576;

let node: SpawnedNode;
let room: string;
let member: Client;
/** Of the member. */
let connection: string;

beforeAll(async () => {
  const rules = roomsFile({ match: '*', subscribe: 'user', history: {}, presence: true });
  node = await spawnNode({ API_KEY: apiKey, MAX_MESSAGE_BYTES: 2_000, ROOMS_FILE: rules });
  room = randomRoom();
  member = await join(node, 'ann', room);
  const [welcome] = member.frames;
  connection = welcome?.type === 'welcome' ? welcome.connection : '';
});

const withBody = routes.filter(({ body }) => body !== undefined);
const withMessage = withBody.filter(({ body }) => 'data' in (body?.schema.shape ?? {}));
const withRoom = routes.filter(({ path }) => path.includes('{room}'));
const withUser = routes.filter(({ path }) => path.includes('{user}'));
const titleOf = ({ method, path }: Route) => `${method} ${path}`;
const of = (list: readonly Route[]) => list.map((route) => [titleOf(route), route] as const);

/** Of the member: a call that is done, although it is wrong, does something to her. */
function pathOf({ path }: Route, params: { room?: string; user?: string; id?: string } = {}): string {
  const all = { room: encodeURIComponent(room), user: 'ann', id: connection, ...params };
  return path.replaceAll(/\{(room|user|id)\}/g, (_, name: keyof typeof all) => all[name]);
}

/** A good body for the route, with `fields` over it. */
const bodyOf = (route: Route, fields: object = {}) => ({
  ...(withMessage.includes(route) ? { data: 'bad' } : {}),
  ...(route.path === '/api/broadcast' ? { rooms: [room] } : {}),
  ...fields,
});

function ask(route: Route, { path = pathOf(route), ...options }: CallOptions & { path?: string } = {}) {
  const body = route.body === undefined ? {} : { body: bodyOf(route) };
  return call(node, route.method, path, { ...body, ...options });
}

/** A problem of RFC 9457 with a sentence; and the member has got none of what was asked for. */
async function expectProblem(answer: Answer, status: number, code: string, detail: RegExp | string = /\w+/) {
  expect(answer.status, answer.text).toBe(status);
  expect(answer.headers['content-type']).toBe('application/problem+json');
  expect(answer.json).toMatchObject({
    type: `https://roomcast.dev/problems/${code}`,
    title: expect.stringMatching(/\w+/),
    status,
    detail: expect.stringMatching(detail),
  });
  const marker = `still served ${randomRoom()}`;
  expect((await post(node, room, { data: marker })).status).toBe(200);
  await member.next((frame) => frame.type === 'message' && frame.data === marker);
  expect(dataOf(member, room).filter((data) => !`${data}`.startsWith('still served'))).toEqual([]);
}

describe.each(of(routes.filter(({ open }) => !open)))('%s', (_, route) => {
  test('without the right key is 401, whatever else is wrong', async () => {
    const wrong = { authorization: 'Bearer wrong', 'content-type': 'text/plain' };
    await expectProblem(await ask(route, { headers: wrong }), 401, 'unauthorized', /GATEWAY_API_KEY/);
  });
});

describe.each(of(routes))('%s', (_, route) => {
  test('with a method that it does not have is 405, and tells those it has', async () => {
    const there = routes.filter(({ path }) => path === route.path).map(({ method }) => `${method}`);
    for (const method of ['DELETE', 'PUT', 'PATCH', 'TRACE'].filter((each) => !there.includes(each))) {
      const answer = await call(node, method, pathOf(route));
      await expectProblem(answer, 405, 'unsupported', /This path takes/);
      expect(answer.headers.allow).toBe(there.join(', '));
    }
  });

  test.each([
    ['a parameter that it does not have', '?unknown=1', /unknown is not known here/],
    ['__proto__ as a parameter', '?__proto__=1', /__proto__ is not known here/],
    ['a broken encoding in the query', '?limit=%zz', /percent-encoded/],
    ['a query that is no UTF-8', '?limit=%ff', /percent-encoded/],
    ['thousands of parameters', `?${Array.from({ length: 1_000 }, (_, n) => `p${n}=1`).join('&')}`, /999 more/],
  ])('with %s is 400', async (_, query, detail) => {
    const answer = await ask(route, { path: `${pathOf(route)}${query}` });
    await expectProblem(answer, 400, 'bad_request', detail);
    expect(answer.text.length).toBeLessThan(4_000);
  });
});

describe.each(of(withRoom))('%s', (_, route) => {
  test.each([
    ['a broken encoding', 'a%zz'],
    ['an encoding that is no UTF-8', '%ff'],
    ['half an encoding', 'a%4'],
    ['a name of 201 characters', 'a'.repeat(201)],
    ['a space', 'a%20b'],
    ['NUL', 'a%00b'],
    ['a line end', 'a%0d%0ab'],
    ['a dot segment', '..%2Fa'],
    ['an encoding of an encoding', 'a%2520b%25zz%0a'],
    ['a letter outside ASCII', '%C3%A9'],
    ['a pattern', 'a*'],
    ['a hash tag of Redis', '%7Ba%7D'],
  ])('with a room of %s is 400 and names the parameter', async (_, name) => {
    const answer = await ask(route, { path: pathOf(route, { room: name }) });
    await expectProblem(answer, 400, 'bad_request', /^The path of the request is wrong: room /);
    expect(answer.json.errors).toEqual([{ path: 'room', message: expect.any(String) }]);
  });

  test('decodes the room once', async () => {
    const other = 'twice:%41';
    const listener = await join(node, 'ann', other);
    await post(node, other, { data: 'once' });
    expect(await listener.next('message')).toMatchObject({ room: other, data: 'once' });
  });
});

describe.each(of(withBody))('%s', (_, route) => {
  test.each([
    ['text/plain', 'text/plain'],
    ['text/plain with JSON in its name', 'text/plain; application/json'],
    ['a form', 'application/x-www-form-urlencoded'],
    ['a form with files', 'multipart/form-data; boundary=x'],
    ['another JSON', 'application/json-patch+json'],
    ['another charset', 'application/json; charset=iso-8859-1'],
    ['nothing', ''],
    ['none', undefined],
  ])('with the content type of a page of any origin, or another, is 415: %s', async (_, contentType) => {
    const headers = { 'content-type': contentType, origin: 'https://evil.example' };
    const answer = await ask(route, { headers });
    await expectProblem(answer, 415, 'unsupported', /content-type: application\/json/);
    expect(Object.keys(answer.headers).filter((name) => name.startsWith('access-control-'))).toEqual([]);
  });

  test('asked for by a page of another origin (CORS) is allowed nothing', async () => {
    const headers = {
      authorization: undefined,
      origin: 'https://evil.example',
      'access-control-request-method': 'POST',
    };
    const answer = await call(node, 'OPTIONS', pathOf(route), { headers });
    await expectProblem(answer, 401, 'unauthorized');
    expect(Object.keys(answer.headers).filter((name) => name.startsWith('access-control-'))).toEqual([]);
  });

  test('with a compressed body is 415', async () => {
    const answer = await ask(route, { headers: { 'content-encoding': 'gzip' } });
    await expectProblem(answer, 415, 'unsupported', /content-encoding/);
  });

  const deep = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`;
  test.each<readonly [string, string | Buffer, RegExp]>([
    ...(route.body?.optional ? [] : [['no body', '', /not JSON/] as const]),
    ['no JSON', 'data=1', /not JSON/],
    ['half of a JSON', '{"data":1', /not JSON/],
    ['two JSON', '{"data":1}{"data":1}', /not JSON/],
    ['a byte order mark', '\ufeff{"data":1}', /not JSON/],
    ['no UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), /not valid UTF-8/],
    ['a list', '[{"data":1}]', /not a JSON object/],
    ['null', 'null', /not a JSON object/],
    ['65 levels', `{"data":${deep(64)}}`, /more than 64 levels/],
    ['thousands of levels', `{"data":${deep(1_500)}}`, /more than 64 levels/],
    ['a key twice', '{"data":1,"data":2}', /twice/],
    ['a key twice in two spellings', '{"data":1,"d\\u0061ta":2}', /twice/],
  ])('with %s is 400', async (_, body, detail) => {
    await expectProblem(await ask(route, { body }), 400, 'bad_request', detail);
  });

  test('with a field that is not known is 400 and names it, or its beginning', async () => {
    for (const [name, named] of [
      ['dta', 'dta'],
      [`x${'y'.repeat(1_000)}`, `x${'y'.repeat(99)}…`],
    ] as const) {
      const answer = await ask(route, { body: bodyOf(route, { [name]: 1 }) });
      await expectProblem(answer, 400, 'bad_request', /^The body of the request is wrong: /);
      expect(answer.json.errors).toEqual([{ path: named, message: expect.stringMatching(/\w+/) }]);
    }
  });

  test('with __proto__, constructor or toString as a field is 400, and changes no object', async () => {
    for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
      const fields = JSON.stringify(bodyOf(route)).slice(1, -1);
      const body = `{"${name}":{"key":"k","from":"mallory","blockSeconds":1}${fields === '' ? '' : ','}${fields}}`;
      const answer = await ask(route, { body });
      await expectProblem(answer, 400, 'bad_request', /is not known here/);
      expect(answer.json.errors).toEqual([{ path: name, message: expect.any(String) }]);
    }
  });

  const bound = route.path === '/api/broadcast' ? maxBroadcastBody : maxMessageBody;

  test('with a body over the bound is 413, announced or in chunks; at the bound it is read', async () => {
    const body = JSON.stringify(bodyOf(route)).padEnd(bound + 1);
    await expectProblem(await ask(route, { body }), 413, 'too_large', new RegExp(`at most ${bound} bytes`));
    const chunked = await ask(route, { body, headers: { 'transfer-encoding': 'chunked' } });
    await expectProblem(chunked, 413, 'too_large');
    // It is too long for the node to be anything but read: the mistake in it is found.
    const wrong = JSON.stringify(bodyOf(route, { key: '' })).padEnd(bound);
    await expectProblem(await ask(route, { body: wrong }), 400, 'bad_request', /key/);
  });

  test('with a body far over the bound is answered by 413, also where the connection ends then', async () => {
    for (const connection of ['close', 'keep-alive']) {
      const answer = await ask(route, { body: Buffer.alloc(30_000_000, ' '), headers: { connection } });
      await expectProblem(answer, 413, 'too_large');
    }
  });

  test('with "Expect: 100-continue" gets its 100 at once, also where it is refused then', async () => {
    const head = { Host: 'localhost', Authorization: `Bearer ${apiKey}`, 'Content-Type': 'application/json' };
    for (const [length, status] of [
      [bound + 1, 413],
      [2, 400],
    ] as const) {
      const socket = await RawSocket.connect(node.adminPort);
      const headers = { ...head, Expect: '100-continue', 'Content-Length': `${length}` };
      await socket.write(httpRequest({ method: 'POST', path: pathOf(route), headers }));
      expect((await socket.response()).status).toBe(100);
      if (status === 400) await socket.write(Buffer.from('[]'));
      expect((await socket.response()).status).toBe(status);
    }
  });
});

describe.each(of(withMessage))('%s', (_, route) => {
  test.each<[string, object, string]>([
    ['no data', { data: undefined }, 'data'],
    ['a key that is empty', { key: '' }, 'key'],
    ['a key of 129 bytes', { key: `${'é'.repeat(64)}a` }, 'key'],
    ['a key that is a number', { key: 1 }, 'key'],
    ['a key that is null', { key: null }, 'key'],
    ['a key with half a surrogate pair', { key: '\ud800' }, 'key'],
  ])('with %s is 400 and names the field', async (_, fields, field) => {
    const answer = await ask(route, { body: bodyOf(route, fields) });
    await expectProblem(answer, 400, 'bad_request', /^The body of the request is wrong: /);
    expect(answer.json.errors).toEqual([{ path: field, message: expect.stringMatching(/\w+/) }]);
  });
});

describe('POST /api/broadcast', () => {
  const broadcast = (fields: object) => call(node, 'POST', '/api/broadcast', { body: { data: 'bad', ...fields } });

  test.each<[string, unknown, string, RegExp]>([
    ['no rooms', undefined, 'rooms', /list of rooms/],
    ['an empty list', [], 'rooms', /a room at least/],
    ['10,000 rooms', Array.from({ length: 10_000 }, (_, n) => `r${n}`), 'rooms', /at most 1000 rooms/],
    ['100,000 names that are none', Array.from({ length: 100_000 }, () => ''), 'rooms', /at most 1000 rooms/],
    ['a name instead of a list', 'a', 'rooms', /list of rooms/],
    ['an object instead of a list', { 0: 'a', length: 1 }, 'rooms', /list of rooms/],
  ])('with %s is 400', async (_, rooms, path, message) => {
    const answer = await broadcast({ rooms });
    await expectProblem(answer, 400, 'bad_request', message);
    expect(answer.json.errors[0]).toEqual({ path, message: expect.stringMatching(message) });
  });

  test('with a room that is no name, or one that is there twice, publishes to none of them', async () => {
    for (const [rooms, path] of [
      [[room, 'a b'], 'rooms.1'],
      [[room, 7], 'rooms.1'],
      [[room, room], 'rooms'],
    ] as const) {
      const answer = await broadcast({ rooms });
      await expectProblem(answer, 400, 'bad_request');
      expect(answer.json.errors.map((each: { path: string }) => each.path)).toEqual([path]);
    }
  });

  test('names 20 mistakes at most', async () => {
    const answer = await broadcast({ rooms: Array.from({ length: 1_000 }, (_, n) => ` ${n}`) });
    await expectProblem(answer, 400, 'bad_request', /999 more/);
    expect(answer.json.errors).toHaveLength(20);
  });

  test('with data longer than one message may have is 413', async () => {
    const answer = await broadcast({ rooms: [room], data: 'x'.repeat(maxMessageBody) });
    await expectProblem(answer, 413, 'too_large', /^data may have at most/);
  });
});

describe('a query', () => {
  const messages = '/api/rooms/{room}/messages';
  const members = '/api/rooms/{room}/members';

  test.each([
    [messages, 'limit=0', 'limit'],
    [messages, 'limit=1001', 'limit'],
    [messages, 'limit=1e2', 'limit'],
    [messages, 'limit=', 'limit'],
    [messages, 'limit=1&limit=2', 'limit'],
    [messages, 'after=-1', 'after'],
    [messages, 'after=9007199254740992', 'after'],
    [messages, 'before=1.5', 'before'],
    [messages, 'before=%201', 'before'],
    [messages, `epoch=${'e'.repeat(65)}`, 'epoch'],
    [members, 'limit=-1', 'limit'],
    [members, `after=${'c'.repeat(201)}`, 'after'],
    ['/api/rooms', 'limit=0', 'limit'],
    ['/api/rooms', 'limit=1001', 'limit'],
    ['/api/rooms', 'after=', 'after'],
    ['/api/rooms', 'after=a%20b', 'after'],
    ['/api/rooms', 'prefix=chat:*', 'prefix'],
    ['/api/rooms', 'prefix=%00', 'prefix'],
    ['/api/rooms', `prefix=${'p'.repeat(201)}`, 'prefix'],
    ['/api/connections', 'limit=x', 'limit'],
    ['/api/connections', 'limit=1001', 'limit'],
    ['/api/connections', 'user=', 'user'],
    ['/api/connections', `user=${'u'.repeat(201)}`, 'user'],
    ['/api/connections', 'room=a%20b', 'room'],
    ['/api/connections', 'node=', 'node'],
    ['/api/connections', 'node=a%0ab', 'node'],
    ['/api/connections', 'after=nonsense', 'after'],
    ['/api/connections', `after=${'c'.repeat(200)}-1`, 'after'],
    ['/api/connections', 'user=a&user=b', 'user'],
  ])('of %s with ?%s is 400 and names the parameter', async (path, query, name) => {
    const answer = await call(node, 'GET', `${path.replace('{room}', encodeURIComponent(room))}?${query}`);
    await expectProblem(answer, 400, 'bad_request', /^The query of the request is wrong: /);
    expect(answer.json.errors).toEqual([{ path: name, message: expect.stringMatching(/\w+/) }]);
  });
});

describe.each(of(withUser))('%s', (_, route) => {
  test.each([
    ['a broken encoding', '%zz'],
    ['no UTF-8', '%c3'],
    ['201 bytes', 'a'.repeat(201)],
  ])('for a user of %s is 400', async (_, user) => {
    const answer = await ask(route, { path: pathOf(route, { user }) });
    await expectProblem(answer, 400, 'bad_request', /^The path of the request is wrong: user /);
    expect(answer.json.errors).toEqual([{ path: 'user', message: expect.any(String) }]);
  });
});

test('POST /api/users/{user}/messages for a user whose personal room would be longer than 200 characters is 400', async () => {
  const path = `/api/users/${encodeURIComponent('é'.repeat(100))}/messages`;
  await expectProblem(await call(node, 'POST', path, { body: { data: 1 } }), 400, 'bad_request', /no personal room/);
});

describe('POST /api/connections/{id}/disconnect', () => {
  test.each([
    ['a broken encoding', '%zz'],
    ['201 characters', 'c'.repeat(201)],
  ])('with %s is 400', async (_, id) => {
    const answer = await call(node, 'POST', `/api/connections/${id}/disconnect`);
    await expectProblem(answer, 400, 'bad_request');
    expect(answer.json.errors).toEqual([{ path: 'id', message: expect.any(String) }]);
  });
});

describe('POST /api/users/{user}/disconnect', () => {
  test.each([['-1'], ['1.5'], ['"60"'], ['null'], ['true'], ['[1]'], ['31536001'], ['1e400'], ['9007199254740993']])(
    'with blockSeconds of %s is 400, and disconnects nobody',
    async (seconds) => {
      const answer = await call(node, 'POST', '/api/users/ann/disconnect', { body: `{"blockSeconds":${seconds}}` });
      await expectProblem(answer, 400, 'bad_request', /blockSeconds must be a whole number from 0 to 31536000/);
      expect(answer.json.errors).toEqual([{ path: 'blockSeconds', message: expect.any(String) }]);
    },
  );
});

test.each([
  ...['/api', '/api/', '/api?x=1', '/api//broadcast', '/api/broadcast/', '/api/rooms/a/b/messages', '/api/./broadcast'],
  ...[
    '/api/rooms//messages',
    '/api/users//messages',
    '/api/connections//disconnect',
    '/api/rooms/messages',
    '/api/rooms/a/messages/',
  ],
  ...['/api/rooms/a%2Fmessages', '/api/Broadcast', '/api/broadcast;a=1', `/api${'/'.repeat(5_000)}`],
  ...['/api/../metrics', '/api/rooms/..%2Fmetrics', '/api/__proto__', '/api/constructor', '/api/rooms/a/toString'],
])('%s is no call: 404', async (path) => {
  await expectProblem(await call(node, 'POST', path, { body: { data: 1 } }), 404, 'not_found', /openapi\.json/);
  expect((await call(node, 'GET', path, { headers: { authorization: undefined } })).status).toBe(401);
});

test.each([
  '//api/broadcast',
  '/%61pi/broadcast',
  '/ws/../api/broadcast',
  '/API/broadcast',
  '/api\\broadcast',
  '/apix',
])('%s does not lead to the API, which has one spelling', async (path) => {
  const answer = await call(node, 'POST', path, { body: { rooms: [room], data: 'bad' } });
  expect(answer).toMatchObject({ status: 404, headers: { 'content-type': 'text/plain' } });
});

test.each(['http://a/api/broadcast', 'api/broadcast', '*'])(
  '%s is 505, because the library takes only paths',
  async (path) => {
    const answer = await call(node, 'POST', path, { body: { rooms: [room], data: 'bad' } });
    expect(answer).toMatchObject({ status: 505, headers: { connection: 'close' } });
  },
);

test.each<[string, Record<string, string | string[]>]>([
  ['two Hosts', { Host: ['localhost', 'elsewhere'] }],
  ['two lengths', { 'Content-Length': ['2', '30'] }],
  ['a coding besides chunked', { 'Content-Length': [], 'Transfer-Encoding': 'gzip, chunked' }],
  ['a coding twice', { 'Content-Length': [], 'Transfer-Encoding': ['chunked', 'chunked'] }],
])('a request with %s is 400: a proxy might read it differently', async (_, headers) => {
  const socket = await RawSocket.connect(node.adminPort);
  const all = { Host: 'localhost', 'X-API-Key': apiKey, 'Content-Type': 'application/json', 'Content-Length': '30' };
  const body = JSON.stringify({ rooms: [room], data: 'b' }).padEnd(30);
  await socket.write(httpRequest({ method: 'POST', path: '/api/broadcast', headers: { ...all, ...headers }, body }));
  expect((await socket.response()).status).toBe(400);
});

describe('a body', () => {
  const headers = { Host: 'localhost', Authorization: `Bearer ${apiKey}`, 'Content-Type': 'application/json' };

  /** Sends the head of a broadcast and a part of its body, which never ends. */
  async function beginBody(bytes: number, all: number, more: Headers = {}): Promise<RawSocket> {
    const socket = await RawSocket.connect(node.adminPort);
    const head = { ...headers, 'Content-Length': `${all}`, ...more };
    const body = ' '.repeat(bytes);
    await socket.write(httpRequest({ method: 'POST', path: '/api/broadcast', headers: head, body }));
    return socket;
  }

  const counted = (status: number | string) =>
    metric(node, `gateway_http_requests_total{route="/api/broadcast",status="${status}"}`);
  const aborted = () => counted('aborted');
  const refused = () => counted(503);

  test('that is aborted leaves nothing behind, however often', async () => {
    const before = await aborted();
    const times = 40;
    for (let time = 0; time < times; time++) (await beginBody(900_000, 1_000_000)).destroy();
    await until(async () => (await aborted()) === before + times, 5_000, 'all are counted');
    const answer = await call(node, 'POST', '/api/broadcast', {
      body: { rooms: [randomRoom()], data: 'still served' },
    });
    expect(answer.status).toBe(200);
  });

  test('that is aborted while it is refused leaves nothing behind either', async () => {
    for (let time = 0; time < 20; time++) {
      const socket = await beginBody(1_000, 1_000_000, { Authorization: 'Bearer wrong' });
      expect((await socket.response()).status).toBe(401);
      socket.destroy();
    }
    expect((await post(node, room, { data: 'still served' })).status).toBe(200);
    expect(node.logs.filter(({ level }) => level !== 'info' && level !== 'warn')).toEqual([]);
    expect(node.errors()).toBe('');
  });

  test('that is refused has a whole answer at once; if it never comes to its end it is cut after 2 s', async () => {
    const socket = await beginBody(1_000, 1_000_000, { Authorization: 'Bearer wrong' });
    const answer = await socket.response();
    expect(answer.status).toBe(401);
    expect(valuesOf(answer, 'connection')).toEqual(['close']);
    await socket.skip(Number(valuesOf(answer, 'content-length')[0]), 1_000);
    await socket.ended(5_000);
  });

  test('that came together with a head that is refused is read, and the connection goes on', async () => {
    const socket = await RawSocket.connect(node.adminPort);
    const head = { ...headers, Authorization: 'Bearer wrong', 'Content-Length': '2' };
    const one = httpRequest({ method: 'POST', path: '/api/broadcast', headers: head, body: '{}' });
    for (let time = 0; time < 3; time++) {
      await socket.write(one);
      const answer = await socket.response();
      expect(answer.status).toBe(401);
      await socket.skip(Number(valuesOf(answer, 'content-length')[0]));
    }
  });

  test('of many at once is 503 from 32 MiB on, and taken again when they are gone', async () => {
    const before = await aborted();
    const sockets = await Promise.all(Array.from({ length: 40 }, () => beginBody(1_000_000, 1_048_576)));
    const answer = await Promise.any(sockets.map((socket) => socket.response()));
    expect(answer.status).toBe(503);
    expect(valuesOf(answer, 'retry-after')).toEqual(['1']);
    for (const socket of sockets) socket.destroy();
    const gone = async () => (await aborted()) - before + (await refused()) === sockets.length;
    await until(gone, 5_000, 'those that were taken are gone');
    expect(await refused()).toBeLessThan(sockets.length - 20);
    const body = JSON.stringify({ rooms: [randomRoom()], data: 'still served' }).padEnd(1_048_576);
    expect((await call(node, 'POST', '/api/broadcast', { body })).status).toBe(200);
  });
});
