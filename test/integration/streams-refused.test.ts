/**
 * What the paths of the fallback refuse, each with its status and a problem (RFC 9457) that says what to do; and which pages
 * may use them. Nothing is opened or published by any of it.
 */
import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import { onCleanup } from '../support/cleanup.ts';
import { EventStream } from '../support/event-stream.ts';
import { startNode, type TestNode } from '../support/node.ts';
import { forgeToken, mintToken, testSecret } from '../support/token.ts';
import { until } from '../support/until.ts';
import { metric } from './admin.ts';
import { roomsFile } from './files.ts';
import { everywhere, join, tokenOf } from './people.ts';

const token = await tokenOf('user');
const narrow = await mintToken({ sub: 'user', rooms: { 'mine:*': ['subscribe', 'publish'] } });
const bad = forgeToken({ alg: 'HS256' }, { sub: 'user', exp: 99_999_999_999, rooms: everywhere }, `${testSecret}!`);
const node = await startNode({ MAX_MESSAGE_BYTES: 1_024, ROOMS_FILE: roomsFile({ match: 'open:*', history: {} }) });

interface Sent {
  method?: string;
  path: string;
  headers?: Record<string, string>;
  body?: string | Uint8Array;
}

function send({ method = 'GET', path, headers = {}, body }: Sent, to: { port: number } = node): Promise<Response> {
  return fetch(`http://127.0.0.1:${to.port}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, ...headers },
    ...(body === undefined ? {} : { body }),
    signal: AbortSignal.timeout(5_000),
  });
}

async function expectProblem(response: Response, status: number, code: string): Promise<void> {
  const problem = (await response.json()) as { status: number; detail: string };
  expect([response.status, problem]).toEqual([
    status,
    { type: `https://roomcast.dev/problems/${code}`, title: expect.any(String), status, detail: expect.any(String) },
  ]);
  expect(problem.detail.length).toBeGreaterThan(10);
  expect(response.headers.get('content-type')).toBe('application/problem+json');
}

const long = 'x'.repeat(201);
const rooms: [what: string, segment: string][] = [
  ['a space', 'a%20b'],
  ['a zero', 'a%00'],
  ['a line break', 'a%0Ab'],
  ['a quote', 'a%22'],
  ['half an escape', 'a%2'],
  ['no escape', 'a%zz'],
  ['bytes that are no UTF-8', '%ff%fe'],
  ['an overlong slash', '%c0%af'],
  ['letters beyond ASCII', '%C3%A4'],
  ['a dot segment inside', 'a%2F..%2Fb'],
  ['201 characters', long],
  ['201 characters, encoded', '%78'.repeat(201)],
];

describe('events', () => {
  test.each(rooms)('a room name with %s gets 400', async (_what, segment) => {
    await expectProblem(await send({ path: `/rooms/${segment}/events` }), 400, 'bad_request');
  });

  test('a dot segment, which most clients would resolve themselves, gets 400', async () => {
    for (const segment of ['%2e', '%2e%2e', '..', '.%2E']) {
      const { response } = await EventStream.request(node, '', { token, path: `/rooms/${segment}/events` });
      expect(response.statusCode, segment).toBe(400);
    }
  });

  test('a name is decoded once: an encoded slash is part of it, and an encoded percent sign stays one', async () => {
    for (const [segment, room] of [
      ['a%2Fb', 'a/b'],
      ['a%252Fb', 'a%2Fb'],
      ['a+b', 'a+b'],
      ['%61', 'a'],
    ] as const) {
      const stream = await EventStream.open(node, '', { token, path: `/rooms/${segment}/events` });
      expect(stream.events[0]?.data.room).toBe(room);
      stream.abort();
    }
  });

  test.each([
    '5',
    ':5',
    'epoch:',
    'epoch:-1',
    'epoch:1.5',
    'epoch:1e3',
    'epoch:99999999999999999',
    `${'e'.repeat(65)}:1`,
    'epoch: 1',
  ])('the position %s gets 400, in the query and in the header', async (since) => {
    const path = '/rooms/open:a/events';
    await expectProblem(await send({ path: `${path}?since=${encodeURIComponent(since)}` }), 400, 'bad_request');
    await expectProblem(await send({ path, headers: { 'last-event-id': since } }), 400, 'bad_request');
  });

  test.each([
    ['no token', {}, 401, 'unauthorized'],
    ['a bad signature', { authorization: `Bearer ${bad}` }, 401, 'unauthorized'],
    ['no JWT', { authorization: 'Bearer x' }, 401, 'unauthorized'],
    ['an empty one', { authorization: 'Bearer' }, 401, 'unauthorized'],
    ['another scheme', { authorization: 'Basic eDp5' }, 401, 'unauthorized'],
    ['a token for other rooms', { authorization: `Bearer ${narrow}` }, 403, 'forbidden'],
  ])('%s is refused', async (_what, headers, status, code) => {
    const response = await fetch(`http://127.0.0.1:${node.port}/rooms/open:a/events`, { headers });
    await expectProblem(response, status, code);
    expect(response.headers.get('www-authenticate')).toBe(status === 401 ? 'Bearer' : null);
  });

  test('the personal room of another user is refused, the own one is not', async () => {
    await expectProblem(await send({ path: '/rooms/@other/events' }), 403, 'forbidden');
    const own = await EventStream.open(node, '@user', { token });
    expect(own.events[0]?.data.room).toBe('@user');
  });

  test.each(['POST', 'PUT', 'DELETE', 'PATCH', 'HEAD', 'TRACY'])('%s gets 405 with Allow', async (method) => {
    const stream = await EventStream.request(node, 'open:a', { token, method });
    expect([stream.response.statusCode, stream.response.headers.allow]).toEqual([405, 'GET, OPTIONS']);
    await stream.untilEnded();
    if (method === 'HEAD') expect(stream.text).toBe('');
  });

  test.each([
    '/rooms/a',
    '/rooms/a/',
    '/rooms//events',
    '/rooms/a/b/events',
    '/rooms/a/events/',
    '/rooms/a/%65vents',
    '/ROOMS/a/events',
    '//rooms/a/events',
  ])('%s is no path of the fallback', async (path) => {
    const { response } = await EventStream.request(node, '', { token, path });
    expect([400, 404]).toContain(response.statusCode);
  });
});

describe('polls', () => {
  const path = '/rooms/open:a/messages';

  test.each(rooms)('a room name with %s gets 400', async (_what, segment) => {
    await expectProblem(await send({ path: `/rooms/${segment}/messages` }), 400, 'bad_request');
  });

  test.each(['5', 'epoch:-1', 'epoch:99999999999999999', 'epoch: 1'])('the position %s gets 400', async (since) => {
    await expectProblem(await send({ path: `${path}?since=${encodeURIComponent(since)}` }), 400, 'bad_request');
  });

  test.each(['26', '-1', '1.5', '1e1', ' 1', '', 'soon', '025'])('the wait "%s" gets 400', async (wait) => {
    await expectProblem(await send({ path: `${path}?wait=${encodeURIComponent(wait)}` }), 400, 'bad_request');
  });

  test.each([
    ['no token', {}, 401, 'unauthorized'],
    ['a bad signature', { authorization: `Bearer ${bad}` }, 401, 'unauthorized'],
    ['a token for other rooms', { authorization: `Bearer ${narrow}` }, 403, 'forbidden'],
  ])('%s is refused', async (_what, headers, status, code) => {
    const response = await fetch(`http://127.0.0.1:${node.port}${path}`, { headers });
    await expectProblem(response, status, code);
    expect(response.headers.get('www-authenticate')).toBe(status === 401 ? 'Bearer' : null);
  });

  test('in a room without history a poll gets 403, which says what turns it on', async () => {
    for (const query of ['', '?since=epoch:1']) {
      const response = await send({ path: `/rooms/mine:a/messages${query}` });
      const text = await response.clone().text();
      await expectProblem(response, 403, 'forbidden');
      expect(text).toContain('history');
    }
  });
});

describe('messages', () => {
  const json = { 'content-type': 'application/json' };
  const path = '/rooms/mine:a/messages';
  const post = (more: Partial<Sent>) => send({ method: 'POST', path, headers: json, body: '{"data":1}', ...more });

  test.each<[string, string | Uint8Array]>([
    ['nothing', ''],
    ['no JSON', '{'],
    ['a list', '[1]'],
    ['a string', '"data"'],
    ['null', 'null'],
    ['no data', '{"key":"a"}'],
    ['an empty key', '{"data":1,"key":""}'],
    ['a number as the key', '{"data":1,"key":5}'],
    ['a key of 129 bytes', `{"data":1,"key":"${'k'.repeat(129)}"}`],
    ['half of a surrogate pair in the key', '{"data":1,"key":"\\ud800"}'],
    ['data twice', '{"data":1,"data":2}'],
    ['data twice, once escaped', '{"data":1,"\\u0064ata":2}'],
    ['a nesting of 65', `{"data":${'['.repeat(65)}${']'.repeat(65)}}`],
    ['bytes that are no UTF-8', Buffer.from([0x7b, 0x22, 0x64, 0x61, 0x74, 0x61, 0x22, 0x3a, 0x22, 0xff, 0x22, 0x7d])],
    ['a byte order mark', '\ufeff{"data":1}'],
  ])('a body of %s gets 400, and nothing is published', async (_what, body) => {
    const member = await join(node, 'member', 'mine:a');
    await expectProblem(await post({ body }), 400, 'bad_request');
    expect((await post({})).status).toBe(200);
    expect(await member.next('message')).toMatchObject({ data: 1 });
    expect(member.frames.filter(({ type }) => type === 'message')).toHaveLength(1);
  });

  test('__proto__ and constructor are fields like any unknown ones, and in data they are data', async () => {
    const member = await join(node, 'member', 'mine:a');
    const response = await post({ body: '{"__proto__":{"key":"x"},"constructor":1,"data":{"__proto__":{"a":1}}}' });
    expect([response.status, await response.json()]).toEqual([200, {}]);
    const message = JSON.stringify(await member.next('message'));
    expect(message).toContain('"data":{"__proto__":{"a":1}}');
    expect(message).not.toContain('"key"');
  });

  test.each(rooms)('a room name with %s gets 400', async (_what, segment) => {
    await expectProblem(await post({ path: `/rooms/${segment}/messages` }), 400, 'bad_request');
  });

  test.each(['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data', 'application/jsonp', ''])(
    'Content-Type %s gets 415, so that a form of a foreign page cannot publish',
    async (type) => {
      const response = await post({ headers: { 'content-type': type } });
      await expectProblem(response, 415, 'unsupported');
    },
  );

  test('Content-Type may have parameters and capital letters', async () => {
    expect((await post({ headers: { 'content-type': 'Application/JSON; charset=utf-8' } })).status).toBe(200);
  });

  test('a body over the limit gets 413, told by its length or not', async () => {
    const body = JSON.stringify({ data: 'x'.repeat(2_000) });
    await expectProblem(await post({ body }), 413, 'too_large');
    const socket = connect(node.port, '127.0.0.1');
    onCleanup(() => socket.destroy());
    let answer = '';
    socket.on('data', (text) => {
      answer += text;
    });
    const head = `POST ${path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\n`;
    socket.write(`${head}Transfer-Encoding: chunked\r\n\r\n800\r\n${'x'.repeat(2_048)}\r\n0\r\n\r\n`);
    await until(() => answer.startsWith('HTTP/1.1 413 ') && answer.includes('"status":413'), 5_000, 'the refusal');
  });

  test('a body that is refused and goes on for ever is cut after 2 s, and the client has read why', async () => {
    const socket = connect(node.port, '127.0.0.1');
    onCleanup(() => socket.destroy());
    let answer = '';
    socket.on('data', (text) => {
      answer += text;
    });
    socket.on('error', () => socket.destroy());
    const head = `POST ${path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\n`;
    socket.write(`${head}Transfer-Encoding: chunked\r\n\r\n`);
    const more = setInterval(() => socket.write(`800\r\n${'x'.repeat(2_048)}\r\n`), 10);
    onCleanup(() => clearInterval(more));
    await until(() => answer.includes('"status":413'), 5_000, 'the refusal');
    await until(() => socket.destroyed || socket.readableEnded, 5_000, 'the end of the connection');
  });

  test.each([
    ['no token', { authorization: '' }, 401, 'unauthorized'],
    ['a bad signature', { authorization: `Bearer ${bad}` }, 401, 'unauthorized'],
    ['a room that the token does not name', { authorization: `Bearer ${narrow}` }, 403, 'forbidden'],
  ])('%s is refused', async (_what, headers, status, code) => {
    await expectProblem(await post({ path: '/rooms/open:a/messages', headers: { ...json, ...headers } }), status, code);
  });

  test.each(['PUT', 'DELETE', 'PATCH', 'HEAD', 'TRACY'])('%s gets 405 with Allow', async (method) => {
    const { response } = await EventStream.request(node, '', { token, path, method });
    expect([response.statusCode, response.headers.allow]).toEqual([405, 'GET, POST, OPTIONS']);
  });

  test('an aborted body publishes nothing, and harms nobody', async () => {
    const member = await join(node, 'member', 'mine:a');
    const socket = connect(node.port, '127.0.0.1');
    const head = `POST ${path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\n`;
    await new Promise<void>((resolve) => socket.write(`${head}Content-Length: 10\r\n\r\n{"data"`, () => resolve()));
    socket.destroy();
    expect((await post({ body: '{"data":"after"}' })).status).toBe(200);
    expect(await member.next('message')).toMatchObject({ data: 'after' });
  });
});

describe('pages of other origins', () => {
  const page = 'https://app.example';
  const listed = startNode({ ALLOWED_ORIGINS: `${page}, https://*.example.org`, AUTH_COOKIE: 'session' });
  const allowed = (response: Response) => [
    response.headers.get('access-control-allow-origin'),
    response.headers.get('access-control-allow-credentials'),
  ];
  const body = { body: '{"data":1}', method: 'POST', path: '/rooms/mine:a/messages' };
  const headers = (origin: string) => ({ origin, 'content-type': 'application/json' });

  test('a page of an allowed origin may read the answer, a problem too, and may send its cookie', async () => {
    const published = await send({ ...body, headers: headers(page) }, await listed);
    expect([published.status, ...allowed(published)]).toEqual([200, page, 'true']);
    expect(published.headers.get('vary')).toBe('Origin');
    const refused = await send(
      { path: '/rooms/a%20b/events', headers: { origin: 'https://b.example.org' } },
      await listed,
    );
    expect([refused.status, ...allowed(refused)]).toEqual([400, 'https://b.example.org', 'true']);
    const stream = await EventStream.open(await listed, 'mine:a', {
      headers: { origin: page, cookie: `session=${token}` },
    });
    const readable = { 'access-control-allow-origin': page, 'timing-allow-origin': page };
    expect(stream.response.headers).toMatchObject(readable);
  });

  test.each(['https://evil.example', 'null', 'https://app.example.evil.example'])(
    'a page of %s is refused before anything else, and may not read why',
    async (origin) => {
      for (const request of [
        { ...body, headers: headers(origin) },
        { path: '/rooms/mine:a/events', headers: { origin } },
      ]) {
        const response = await send(request, await listed);
        expect(allowed(response)).toEqual([null, null]);
        await expectProblem(response, 403, 'forbidden');
      }
      const preflight = await send({ method: 'OPTIONS', path: body.path, headers: { origin } }, await listed);
      expect([preflight.status, ...allowed(preflight)]).toEqual([403, null, null]);
    },
  );

  test('a preflight names methods and headers, and needs no token', async () => {
    for (const [path, method] of [
      ['/rooms/mine:a/messages', 'GET, POST'],
      ['/rooms/mine:a/events', 'GET'],
    ] as const) {
      const { status, headers } = await send(
        {
          method: 'OPTIONS',
          path,
          headers: { origin: page, 'access-control-request-method': method.slice(-4).trim(), authorization: '' },
        },
        await listed,
      );
      expect(status).toBe(200);
      expect(headers.get('access-control-allow-methods')).toBe(`${method}, OPTIONS`);
      expect(headers.get('access-control-allow-headers')).toBe('authorization, content-type, last-event-id');
      expect(Number(headers.get('access-control-max-age'))).toBeGreaterThan(0);
    }
  });

  test('an image of a foreign page opens no stream by the cookie of its visitor', async () => {
    const open = async (site: string) => {
      const stream = await EventStream.request(await listed, 'mine:a', {
        headers: { cookie: `session=${token}`, 'sec-fetch-site': site },
      });
      stream.abort();
      return stream.response.statusCode;
    };
    expect([await open('cross-site'), await open('same-site'), await open('same-origin'), await open('none')]).toEqual([
      403, 403, 200, 200,
    ]);
  });
});

test('a token in the query is taken only where the operator allows it', async () => {
  const path = `/rooms/mine:a/events?token=${token}`;
  const refused = await EventStream.request(node, '', { path });
  expect(refused.response.statusCode).toBe(401);
  const allowing: TestNode = await startNode({ AUTH_QUERY: true });
  await EventStream.open(allowing, '', { path });
});

test('after all of this no stream is open and no connection is left', async () => {
  await until(async () => (await metric(node, 'gateway_connections')) === 0, 10_000, 'all are gone');
  expect(await metric(node, 'gateway_streams')).toBe(0);
  expect(await metric(node, 'gateway_polls')).toBe(0);
});
