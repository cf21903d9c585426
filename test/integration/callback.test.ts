/**
 * Authorise by callback: what clients get in rooms whose rule says `callback`, in which order, and what a backend that does
 * not answer may not delay.
 */
import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { type Asked, type allow, Backend, deny, json } from '../support/backend.ts';
import { type Client, connect, connectWelcomed, errorOf, okOf } from '../support/client.ts';
import { EventStream } from '../support/event-stream.ts';
import { type NodeSettings, spawnNode, startNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { metric, reload } from './admin.ts';
import { roomsFile } from './files.ts';
import { dataOf, randomRoom } from './people.ts';

const asks = { match: 'doc:*', subscribe: 'callback', publish: 'callback', history: {}, presence: true };
const open = { match: 'open:*', subscribe: 'user', publish: 'user' };

async function askingNode(backend: Backend, settings: NodeSettings = {}, ...rules: object[]) {
  const file = roomsFile(...rules, asks, open);
  return startNode({ AUTH_URL: backend.url, ROOMS_FILE: file, ...settings });
}

async function enter(node: { url: string }, sub: string, rooms?: Record<string, string[]>): Promise<Client> {
  return connectWelcomed(node.url, await mintToken({ sub, ...(rooms === undefined ? {} : { rooms }) }));
}

const only =
  (allowed: (asked: Asked) => boolean, more: object = {}) =>
  (...all: Parameters<typeof allow>) =>
    json({ allow: allowed(all[1]), ...more })(...all);

test('the backend decides about a room whose rule says callback; a denial is forbidden, no answer is unavailable', async () => {
  const backend = await Backend.start(only(({ user, action }) => user === 'ann' && action === 'subscribe'));
  const node = await askingNode(backend);
  const [ann, bob] = [await enter(node, 'ann'), await enter(node, 'bob')];
  const room = randomRoom('doc');
  okOf(await ann.request({ type: 'subscribe', room }));
  expect(errorOf(await ann.request({ type: 'publish', room, data: 1 }))).toMatchObject({ code: 'forbidden' });
  expect(errorOf(await bob.request({ type: 'subscribe', room }))).toMatchObject({
    code: 'forbidden',
    message: 'The server that decides about this room does not allow to subscribe to it.',
  });
  backend.answer = (response) => void response.writeHead(500).end();
  expect(errorOf(await ann.request({ type: 'publish', room, data: 1 }))).toMatchObject({ code: 'unavailable' });
  expect(errorOf(await bob.request({ type: 'subscribe', room }))).toMatchObject({ code: 'unavailable' });
  expect(backend.questions(room)).toEqual([
    'subscribe ann',
    'publish ann',
    'subscribe bob',
    'publish ann',
    'subscribe bob',
  ]);
  const [welcome] = ann.frames;
  expect(backend.asked[0]).toEqual({
    ...{ action: 'subscribe', user: 'ann', room, address: '127.0.0.1' },
    connection: welcome?.type === 'welcome' ? welcome.connection : undefined,
  });
  // A subscribe of a member is answered without a question, as in every room.
  okOf(await ann.request({ type: 'subscribe', room }));
  okOf(await ann.request({ type: 'history', room }));
  okOf(await ann.request({ type: 'presence', room }));
  expect(errorOf(await bob.request({ type: 'history', room }))).toMatchObject({ code: 'forbidden' });
  expect(backend.asked).toHaveLength(5);
  expect(await metric(node, 'gateway_callback_seconds_count{action="subscribe",result="denied"}')).toBe(1);
  expect(await metric(node, 'gateway_callback_seconds_count{action="publish",result="error"}')).toBe(1);
  expect(await metric(node, 'gateway_callback_seconds_count{action="connect",result="allowed"}')).toBe(0);
});

test('nobody is asked where a rule or a grant decides, nor about personal rooms', async () => {
  const backend = await Backend.start(deny);
  const node = await askingNode(backend);
  const room = randomRoom('doc');
  const ann = await enter(node, 'ann', { [room]: ['subscribe', 'publish'] });
  for (const each of [room, randomRoom('open')]) {
    await ann.subscribe(each);
    await ann.publish(each, 1);
  }
  await ann.subscribe('@ann');
  expect(errorOf(await ann.request({ type: 'subscribe', room: '@bob' }))).toMatchObject({ code: 'forbidden' });
  expect(errorOf(await ann.request({ type: 'subscribe', room: randomRoom('other') }))).toMatchObject({
    code: 'forbidden',
  });
  expect(backend.asked).toEqual([]);
});

test('later requests for a room wait for its question, in their order; other rooms, pings and messages do not', async () => {
  const backend = await Backend.start();
  const node = await askingNode(backend);
  const [slow, other] = [randomRoom('doc'), randomRoom('open')];
  const ann = await enter(node, 'ann', { [slow]: ['subscribe'] });
  const bob = await enter(node, 'bob', { [slow]: ['publish', 'subscribe'] });
  for (const each of [ann, bob]) await each.subscribe(slow);
  await ann.subscribe(other);
  backend.hold();
  const answers = [1, 2, 3].map((data) => ann.request({ type: 'publish', room: slow, data }));
  const last = ann.request({ type: 'unsubscribe', room: slow });
  await until(() => backend.held === 1, 5_000, 'the first question');
  await ann.publish(other, 'meanwhile');
  await ann.request({ type: 'ping' });
  await bob.publish(slow, 'from bob');
  await ann.next((frame) => frame.type === 'message' && frame.data === 'from bob');
  expect(backend.questions(slow)).toEqual(['publish ann']);
  for (let each = 0; each < 3; each++) await backend.release();
  const offsets = (await Promise.all(answers)).map((answer) => okOf(answer).offset);
  expect(offsets).toEqual([2, 3, 4]);
  okOf(await last);
  await bob.next((frame) => frame.type === 'message' && frame.data === 3);
  expect(dataOf(bob, slow)).toEqual(['from bob', 1, 2, 3]);
});

test('a remembered answer costs no question and keeps the order of publishes', async () => {
  const backend = await Backend.start(json({ allow: true, ttlSeconds: 60 }));
  const node = await askingNode(backend);
  const [ann, room] = [await enter(node, 'ann'), randomRoom('doc')];
  await ann.subscribe(room);
  const numbers = Array.from({ length: 50 }, (_, index) => index);
  const answers = await Promise.all(numbers.map((data) => ann.request({ type: 'publish', room, data })));
  expect(answers.map((answer) => okOf(answer).offset)).toEqual(numbers.map((number) => number + 1));
  const second = await enter(node, 'ann');
  await second.subscribe(room);
  expect(backend.questions(room)).toEqual(['subscribe ann', 'publish ann']);
});

test('what waits behind a question is bounded', async () => {
  const backend = await Backend.start();
  const node = await askingNode(backend, { PUBLISH_RATE: 0 });
  const [ann, room] = [await enter(node, 'ann'), randomRoom('doc')];
  backend.hold();
  for (let data = 0; data < 1_200; data++) ann.send({ type: 'publish', id: data, room, data });
  const refused = await ann.next('error');
  expect(refused).toMatchObject({ id: 1_001, code: 'limit_exceeded' });
  ann.socket.terminate();
});

test('a client that goes while its question is under way publishes nothing, and a node stops without waiting', async () => {
  const backend = await Backend.start();
  const node = await spawnNode({ AUTH_URL: backend.url, ROOMS_FILE: roomsFile(asks) });
  const [ann, room] = [await enter(node, 'ann'), randomRoom('doc')];
  const watcher = await enter(node, 'watcher', { [room]: ['subscribe'] });
  await watcher.subscribe(room);
  backend.hold();
  ann.send({ type: 'publish', room, data: 'never' });
  ann.send({ type: 'subscribe', id: 1, room });
  await until(() => backend.held === 1, 5_000, 'the question');
  await ann.close();
  await backend.release();
  const [bob, carl] = [await enter(node, 'bob'), await enter(node, 'carl')];
  bob.send({ type: 'publish', room, data: 'asked' });
  carl.send({ type: 'subscribe', id: 1, room });
  await until(() => backend.held === 2, 5_000, 'two questions');
  expect(dataOf(watcher, room)).toEqual([]);
  expect(backend.questions(room)).not.toContain('subscribe ann');
  const startedAt = performance.now();
  await node.stop();
  expect(performance.now() - startedAt).toBeLessThan(5_000);
  expect((await carl.closed).code).toBe(4001);
  expect(node.logs.filter(({ level }) => level === 'error' || level === 'fatal')).toEqual([]);
});

test('a question that hangs ends after 2 s as unavailable, and other rooms are served meanwhile', async () => {
  const backend = await Backend.start(() => undefined);
  const node = await askingNode(backend);
  const [ann, room] = [await enter(node, 'ann'), randomRoom('doc')];
  const startedAt = performance.now();
  const asked = ann.request({ type: 'subscribe', room });
  await ann.subscribe(randomRoom('open'));
  expect(performance.now() - startedAt).toBeLessThan(1_500);
  expect(errorOf(await asked)).toMatchObject({ code: 'unavailable' });
  expect(performance.now() - startedAt).toBeGreaterThan(1_950);
  expect(await metric(node, 'gateway_callback_seconds_count{action="subscribe",result="timeout"}')).toBe(1);
});

const membersOf = async (client: Client, room: string) =>
  okOf(await client.request({ type: 'presence', room })).members ?? [];

test('info of a subscribe stands in presence for this room, that of a connect for all, in place of the token’s', async () => {
  const backend = await Backend.start((response, asked, ...more) => {
    const { action, room = '' } = asked;
    const info = action === 'connect' ? { info: 'connection' } : room.endsWith('own') ? { info: { of: 'room' } } : {};
    json({ allow: true, ...info })(response, asked, ...more);
  });
  const node = await askingNode(backend, { AUTH_CONNECT: true });
  const room = randomRoom('doc');
  const ann = await connectWelcomed(node.url, await mintToken({ sub: 'ann', info: 'token' }));
  for (const each of [room, `${room}own`]) await ann.subscribe(each);
  expect(await membersOf(ann, room)).toMatchObject([{ user: 'ann', info: 'connection' }]);
  expect(await membersOf(ann, `${room}own`)).toMatchObject([{ user: 'ann', info: { of: 'room' } }]);
  okOf(await ann.request({ type: 'auth', token: await mintToken({ sub: 'ann', info: 'newer' }) }));
  expect(await membersOf(ann, room)).toMatchObject([{ info: 'connection' }]);
  expect(backend.questions(undefined)).toEqual(['connect ann']);
});

test('with AUTH_CONNECT each connection is asked for before its welcome: denied 4501, without an answer 4006', async () => {
  const backend = await Backend.start(only(({ user }) => user !== 'bob'));
  const node = await askingNode(backend, { AUTH_CONNECT: true, ANONYMOUS: true });
  const [ann, bob] = await Promise.all(['ann', 'bob'].map((sub) => mintToken({ sub })));
  const refused = await connect(node.url, { token: bob ?? '' });
  expect((await refused.closed).code).toBe(4501);
  expect(refused.frames).toEqual([]);
  // Requests behind it wait for the answer.
  backend.hold();
  const waiting = await connect(node.url, { token: ann ?? '' });
  const room = randomRoom('open');
  const subscribed = waiting.request({ type: 'subscribe', room });
  await until(() => backend.held === 1, 5_000, 'the question');
  expect(waiting.frames).toEqual([]);
  await backend.release();
  okOf(await subscribed);
  expect(waiting.frames.map(({ type }) => type)).toEqual(['welcome', 'ok']);
  // Nobody, who later is somebody: two questions.
  const nobody = await connect(node.url);
  await backend.release();
  expect(await nobody.next('welcome')).toMatchObject({ user: null });
  nobody.send({ type: 'auth', id: 1, token: bob });
  await backend.release();
  expect((await nobody.closed).code).toBe(4501);
  expect(backend.questions(undefined)).toEqual(['connect bob', 'connect ann', 'connect null', 'connect bob']);
  backend.answer = (response) => void response.writeHead(503).end();
  expect((await (await connect(node.url, { token: ann ?? '' })).closed).code).toBe(4006);
  expect(await metric(node, 'gateway_handshakes_rejected_total{reason="callback_denied"}')).toBe(1);
  expect(await metric(node, 'gateway_handshakes_rejected_total{reason="callback_unavailable"}')).toBe(1);
});

test('without AUTH_CONNECT nobody is asked about a connection', async () => {
  const backend = await Backend.start(deny);
  const node = await askingNode(backend);
  await enter(node, 'ann');
  expect(backend.asked).toEqual([]);
});

test('a member is asked for again when ttlSeconds are over: a denial removes it, no answer does not yet', async () => {
  const backend = await Backend.start(json({ allow: true, ttlSeconds: 1, info: 1 }));
  const node = await askingNode(backend);
  const room = randomRoom('doc');
  const [stays, goes] = [await enter(node, 'stays'), await enter(node, 'goes')];
  for (const each of [stays, goes]) await each.subscribe(room);
  backend.answer = only(({ user }) => user === 'stays', { ttlSeconds: 1, info: 2 });
  expect(await goes.next('unsubscribed')).toEqual({ type: 'unsubscribed', room, reason: 'revoked' });
  await until(async () => (await membersOf(stays, room))[0]?.info === 2, 5_000, 'the new info');
  backend.answer = (response) => void response.writeHead(500).end();
  const failed = () => metric(node, 'gateway_callback_seconds_count{action="subscribe",result="error"}');
  await until(async () => (await failed()) > 0, 5_000, 'a question without an answer');
  await stays.request({ type: 'ping' });
  expect(stays.frames.filter(({ type }) => type === 'unsubscribed')).toEqual([]);
});

test('new rules that leave a room to the backend have it asked for the members that are there', async () => {
  const backend = await Backend.start(only(({ user }) => user === 'ann'));
  const file = roomsFile({ ...asks, subscribe: 'user' });
  const node = await spawnNode({ AUTH_URL: backend.url, ROOMS_FILE: file });
  const room = randomRoom('doc');
  const [ann, bob] = [await enter(node, 'ann'), await enter(node, 'bob')];
  for (const each of [ann, bob]) await each.subscribe(room);
  await reload(node, () => writeFileSync(file, JSON.stringify({ rooms: [asks] })));
  expect(await bob.next('unsubscribed')).toMatchObject({ room, reason: 'revoked' });
  expect(backend.questions(room).sort()).toEqual(['subscribe ann', 'subscribe bob']);
  okOf(await ann.request({ type: 'presence', room }));
});

test('a rule that says callback is refused at a reload if there is no AUTH_URL', async () => {
  const file = roomsFile(open);
  const node = await spawnNode({ ROOMS_FILE: file });
  const { msg, mistakes } = await reload(node, () => writeFileSync(file, JSON.stringify({ rooms: [asks] })));
  expect([msg, mistakes]).toEqual([
    expect.stringContaining('cannot be used'),
    [expect.stringMatching(/says "callback" for "doc:\*", and GATEWAY_AUTH_URL is not set/)],
  ]);
});

const post = (node: { port: number }, room: string, token: string | undefined) =>
  fetch(`http://127.0.0.1:${node.port}/rooms/${room}/messages`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    body: '{"data": 1}',
  });

test('event streams and publishes by POST are asked for in the same way', async () => {
  const backend = await Backend.start(only(({ user }) => user === 'ann'));
  const node = await askingNode(backend);
  const room = randomRoom('doc');
  const [ann, bob] = [await mintToken({ sub: 'ann' }), await mintToken({ sub: 'bob' })];
  const stream = await EventStream.open(node, room, { token: ann });
  expect((await post(node, room, ann)).status).toBe(200);
  expect((await stream.next('message')).data).toMatchObject({ data: 1, from: 'ann' });
  expect((await EventStream.request(node, room, { token: bob })).response.statusCode).toBe(403);
  expect((await post(node, room, bob)).status).toBe(403);
  expect(backend.asked.map(({ action, connection, address }) => [action, connection === null, address])).toEqual([
    ['subscribe', false, '127.0.0.1'],
    ['publish', true, '127.0.0.1'],
    ['subscribe', false, '127.0.0.1'],
    ['publish', true, '127.0.0.1'],
  ]);
  backend.answer = (response) => void response.writeHead(500).end();
  const { response } = await EventStream.request(node, room, { token: bob });
  const posted = await post(node, room, bob);
  expect([response.statusCode, posted.status]).toEqual([503, 503]);
  expect(response.headers['retry-after']).toBe(posted.headers.get('retry-after'));
});

test('with AUTH_CONNECT streams and publishes by POST of a user who may not connect get 401', async () => {
  const backend = await Backend.start(only(({ user }) => user === 'ann'));
  const node = await askingNode(backend, { AUTH_CONNECT: true });
  const room = randomRoom('open');
  const [ann, bob] = [await mintToken({ sub: 'ann' }), await mintToken({ sub: 'bob' })];
  expect((await EventStream.request(node, room, { token: bob })).response.statusCode).toBe(401);
  expect((await post(node, room, bob)).status).toBe(401);
  expect((await post(node, room, ann)).status).toBe(200);
  expect(backend.questions(undefined)).toEqual(['connect bob', 'connect bob', 'connect ann']);
});
