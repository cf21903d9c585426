/**
 * What anybody may send to the two ports of a node: requests and handshakes as bytes, frames as bytes, bodies and queries.
 * Whatever comes, an answer has its form and its headers, none is a fault of the gateway, and the node serves the next one.
 */
import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import fc from 'fast-check';
import { beforeAll, expect } from 'vitest';
import { apiKey, call } from '../integration/api.ts';
import { roomsFile } from '../integration/files.ts';
import { connect } from '../support/client.ts';
import { type StartedNode, startNode } from '../support/node.ts';
import { buildFrame } from '../support/raw-frame.ts';
import { handshake, httpRequest, RawSocket } from '../support/raw-socket.ts';
import { bytesOf, fuzz, nearly, someBytes } from './kit.ts';

const patienceMs = 60;
let node: StartedNode;

beforeAll(async () => {
  const open = { subscribe: 'anyone', publish: 'anyone' };
  const rules = [
    { match: 'kept*', ...open, history: {} },
    { match: 'a*', ...open },
  ];
  node = await startNode({ ANONYMOUS: true, API_KEY: apiKey, REQUEST_RATE: 0, ROOMS_FILE: roomsFile(...rules) });
});

/** What comes back until the connection ends, or nothing more comes for a while. */
async function answerTo(port: number, bytes: Buffer, cutAt: number): Promise<string> {
  const socket = connectTcp({ port, host: '127.0.0.1', noDelay: true });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  let came = '';
  socket.setEncoding('latin1').on('data', (text) => {
    came += text;
  });
  socket.write(bytes.subarray(0, cutAt));
  if (cutAt < bytes.length) {
    await new Promise(setImmediate);
    socket.write(bytes.subarray(cutAt));
  }
  const quiet = new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, patienceMs);
    socket.on('data', () => timer.refresh());
    socket.on('close', () => {
      clearTimeout(timer);
      resolve();
    });
  });
  await quiet;
  socket.destroy();
  return came;
}

async function serves(): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${node.port}/healthz`);
  expect([response.status, await response.text()]).toEqual([200, 'ok\n']);
}

const path = fc.oneof(
  fc.constantFrom(
    '/ws',
    '/healthz',
    '/readyz',
    '/metrics',
    '/',
    '/api/rooms',
    '/api/rooms/a/messages',
    '/rooms/a/messages',
  ),
  fc.constantFrom('/rooms/kept/messages?wait=0&since=e:1', '/rooms/a/events', '/dashboard/live', '/api/openapi.json'),
);
const requestText = fc
  .record({
    path,
    method: fc.constantFrom('GET', 'POST', 'HEAD', 'OPTIONS', 'PUT'),
    headers: fc.constantFrom<Record<string, string>>(
      { Host: 'localhost' },
      { Host: 'localhost', Authorization: `Bearer ${apiKey}` },
      { Host: 'localhost', 'Content-Type': 'application/json', 'Content-Length': '10' },
      { Host: 'localhost', 'Transfer-Encoding': 'chunked', 'Content-Type': 'application/json' },
    ),
    body: fc.constantFrom('', '{"data":1}', 'a\r\n{"data":1}\r\n0\r\n\r\n'),
  })
  .map((request) => httpRequest(request).toString('latin1'));
const telling = ' \r\n:/?%&=.HTTP1GETPOST,;"\0\x7f\xff';

fuzz(
  'http',
  'bytes on a port are answered by HTTP with the headers of every answer, or by an end',
  fc.record({
    bytes: fc.oneof(
      nearly(requestText, telling),
      nearly(fc.constant(handshake().toString('latin1')), telling),
      someBytes(telling),
    ),
    cutAt: fc.nat(120),
    isAdmin: fc.boolean(),
  }),
  async ({ bytes, cutAt, isAdmin }) => {
    const came = await answerTo(isAdmin ? node.adminPort : node.port, bytesOf(bytes), cutAt);
    if (came !== '') expect(came).toMatch(/^HTTP\/1\.1 \d{3} /);
    // The library itself answers what it cannot read.
    const isOurs = came !== '' && !/^HTTP\/1\.1 (101|400 Bad Request\r\nConnection|505|431|100)/.test(came);
    if (isOurs) expect(came.toLowerCase()).toContain('x-content-type-options: nosniff');
    expect(came).not.toMatch(/^HTTP\/1\.1 500/);
    await serves();
  },
  { share: 0.03 },
);

const goodFrames = fc.array(
  fc.record({
    opcode: fc.constantFrom(0, 1, 1, 1, 2, 8, 9, 10, 3, 15),
    fin: fc.boolean(),
    rsv: fc.constantFrom(0, 0, 0, 4, 7),
    masked: fc.constantFrom(true, true, true, false),
    payload: fc.oneof(
      fc.constantFrom('{"type":"ping","id":1}', '{"type":"subscribe","id":2,"room":"a"}', '', '\xff\xfe', '{'),
      someBytes('{}":\x80\xc3', 140),
    ),
  }),
  { maxLength: 6 },
);

fuzz(
  'websocket',
  'bytes on an open connection are answered by frames, or by an end; others are served',
  fc.record({ frames: goodFrames, tail: someBytes('\x81\x82\x88\x89\x8a\xfe\xff\x7f\0', 20) }),
  async ({ frames, tail }) => {
    const bytes = frames.map(({ payload, ...parts }) => buildFrame({ ...parts, payload: bytesOf(payload) }));
    const socket = await RawSocket.connect(node.port);
    await socket.write(handshake());
    expect((await socket.response()).status).toBe(101);
    await socket.write(Buffer.concat([...bytes, bytesOf(tail)]));
    const other = await connect(node.url);
    await other.next('welcome');
    other.send({ type: 'ping', id: 7 });
    expect(await other.next('pong')).toMatchObject({ id: 7 });
    other.socket.terminate();
    socket.destroy();
  },
  { share: 0.03 },
);

const value = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.constantFrom<unknown>('a', ['a'], ['a', 'a'], 0, -1, 1e300, null, {}),
);
const body = fc
  .record(
    {
      ...{ data: value, key: value, as: value, rooms: value, room: value, user: value, forMs: value, code: value },
      ...{ from: value, blockForMs: value, __proto__: value, constructor: value, reason: value },
    },
    { requiredKeys: [] },
  )
  .map((fields) => JSON.stringify(fields));
const segment = fc.oneof(
  fc.constantFrom('a', 'kept', '@ann', '%2F', '%00', '%ff', '..', 'a%20b', '*'),
  fc.string({ maxLength: 8 }).map(encodeURIComponent),
);
const query = fc.oneof(
  fc.constantFrom(
    '',
    '?limit=1',
    '?after=3',
    '?after=x',
    '?limit=1e9',
    '?epoch=e&after=1',
    '?since=e:1&wait=0',
    '?wait=0',
  ),
  someBytes('&=%+?limitaftersincewait0123456789', 20).map((text) => `?wait=0&${encodeURI(text)}`),
);
const calls: [method: string, path: (segment: string) => string][] = [
  ['POST', (room) => `/api/rooms/${room}/messages`],
  ['GET', (room) => `/api/rooms/${room}/messages`],
  ['GET', (room) => `/api/rooms/${room}/members`],
  ['POST', () => '/api/broadcast'],
  ['POST', (user) => `/api/users/${user}/messages`],
  ['POST', (user) => `/api/users/${user}/disconnect`],
  ['POST', (id) => `/api/connections/${id}/disconnect`],
  ['GET', () => '/api/rooms'],
  ['GET', () => '/api/connections'],
  ['POST', (room) => `/rooms/${room}/messages`],
  ['GET', (room) => `/rooms/${room}/messages`],
];

fuzz(
  'bodies',
  'a call of the API or of the fallback is done, or refused with a problem that says what is wrong',
  fc.record({
    which: fc.nat(calls.length - 1),
    segment,
    query,
    body: fc.oneof(body, nearly(body, '{}[]",:\\u0000e'), fc.json(), someBytes('{}[]"', 20)),
  }),
  async (input) => {
    const [method, pathOf] = calls[input.which] ?? ['GET', () => '/'];
    const path = `${pathOf(input.segment)}${input.query}`;
    const port = path.startsWith('/rooms') ? node.port : node.adminPort;
    const options = method === 'POST' ? { body: bytesOf(input.body) } : {};
    const headers = port === node.port ? { authorization: undefined } : {};
    const {
      headers: told,
      json,
      status,
      text,
    } = await call({ adminPort: port }, method, path, { ...options, headers });
    expect(status, `${path}: ${text}`).not.toBe(500);
    expect([200, 202, 400, 403, 404, 405, 409, 413, 415, 422, 429, 501, 503], `${status} ${path}: ${text}`).toContain(
      status,
    );
    expect(told['x-content-type-options']).toBe('nosniff');
    if (status >= 400 && told['content-type'] === 'application/problem+json')
      expect(json.detail.length).toBeGreaterThan(5);
  },
  { share: 0.1 },
);
