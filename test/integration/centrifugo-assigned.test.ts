/** Rooms that a token assigns by its claims `channels` and `subs`, with unmodified clients of Centrifugo in all of their forms. */
import type { Centrifuge } from 'centrifuge';
import type { Centrifuge as BinaryCentrifuge } from 'centrifuge/build/protobuf';
import { beforeAll, expect, test } from 'vitest';
import { redisClient } from '../contract/redis-node.ts';
import { connectWelcomed, errorOf } from '../support/client.ts';
import { type StartedNode, startNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { apiKey, call } from './api.ts';
import { clientOf as clientBy, decode, type Form, forms } from './centrifugo-http.ts';
import { clientOf, RawClient, startCentrifugo } from './centrifugo-member.ts';
import { join, randomRoom } from './people.ts';

const rules = [
  { match: 'closed:*', subscribe: 'server', publish: 'user', history: { size: 1_000 }, presence: true },
  { match: 'open:*', subscribe: 'user', history: {} },
];

let node: StartedNode;
beforeAll(async () => {
  node = await startCentrifugo({ API_KEY: apiKey }, ...rules);
});

/** What a client tells of rooms that it has not asked for. */
interface Told {
  client: Centrifuge;
  events: string[];
  data: unknown[];
}

function tell(centrifuge: Centrifuge | BinaryCentrifuge, form?: Form): Told {
  const client = centrifuge as Centrifuge;
  const told: Told = { client, events: [], data: [] };
  client.on('subscribed', ({ channel, wasRecovering, recovered }) => {
    told.events.push(wasRecovering ? `subscribed ${channel}, recovered: ${recovered}` : `subscribed ${channel}`);
  });
  client.on('unsubscribed', ({ channel }) => told.events.push(`unsubscribed ${channel}`));
  client.on('publication', ({ data }) => told.data.push(form === undefined ? data : decode(form, data)));
  return told;
}

/** Connected with these claims. */
async function enter(claims: object, at: StartedNode = node): Promise<Told> {
  const told = tell(clientOf(at, { token: await mintToken({ sub: 'guest', ...claims }) }));
  told.client.connect();
  await told.client.ready(5_000);
  return told;
}

async function connectRaw(claims: object, connect: object = {}, at: StartedNode = node): Promise<RawClient> {
  const raw = await RawClient.open(at);
  raw.send(JSON.stringify({ id: 1, connect: { token: await mintToken({ sub: 'guest', ...claims }), ...connect } }));
  return raw;
}

/** All replies but pings, which come at any time. */
const toldTo = ({ replies }: RawClient) => replies.filter((reply) => Object.keys(reply).length > 0);

const post = (room: string, data: unknown) => call(node, 'POST', `/api/rooms/${room}/messages`, { body: { data } });
const upTo = (last: number) => Array.from({ length: last }, (_, index) => index + 1);

test('the answer to connect tells each assigned room once, with its position; rules, and whose room it is, do not matter', async () => {
  const [closed, plain, given] = [randomRoom('closed'), randomRoom(), randomRoom('closed')];
  await post(given, 1);
  const raw = await connectRaw({
    channels: [closed, closed, plain, '@other', '__proto__'],
    subs: { [given]: { info: { role: 'reader' }, data: { text: 'hello' } }, [plain]: null },
    info: 'guest',
  });
  const { connect } = (await raw.answer(1)) as { connect: { subs: object } };
  const position = { recoverable: true, positioned: true, epoch: expect.any(String) };
  expect(Object.entries(connect.subs)).toEqual([
    [closed, position],
    [plain, {}],
    ['@other', {}],
    ['__proto__', {}],
    [given, { ...position, offset: 1, data: { text: 'hello' } }],
  ]);
  const present = async (room: string) => (await call(node, 'GET', `/api/rooms/${room}/members`)).json.members;
  await until(async () => (await present(closed)).length === 1, 5_000, 'it is present');
  expect([await present(given), await present(closed)]).toMatchObject([
    [{ info: { role: 'reader' } }],
    [{ info: 'guest' }],
  ]);
  await post(given, 2);
  await until(() => toldTo(raw).length === 2, 5_000, 'a message comes');
  expect(toldTo(raw)[1]).toMatchObject({ push: { channel: given, pub: { data: 2, offset: 2 } } });
});

const allForms: [string, (token: string) => Told][] = [
  ['WebSocket', (token) => tell(clientOf(node, { token }))],
  ...forms.map((form): [string, (token: string) => Told] => [
    form,
    (token) => tell(clientBy(form, node, node, { token }), form),
  ]),
];

test.each(allForms)(
  'by %s a client that was away gets what it missed in its rooms, each message once and in order',
  async (_, open) => {
    const [first, second] = [randomRoom('closed'), randomRoom('closed')];
    const token = await mintToken({ sub: 'guest', channels: [first], subs: { [second]: {} } });
    const { client, events, data } = open(token);
    client.connect();
    await client.ready(5_000);
    await post(first, 1);
    await until(() => data.length === 1, 5_000, 'the first one comes');
    client.disconnect();
    for (const each of upTo(40).slice(1)) await post(first, each);
    client.connect();
    await until(() => data.length >= 40, 5_000, 'all come');
    await post(first, 41);
    await until(() => data.length >= 41, 5_000, 'it goes on');
    expect(data).toEqual(upTo(41));
    const recovered = [first, second].map((room) => `subscribed ${room}, recovered: true`);
    expect(events).toEqual([`subscribed ${first}`, `subscribed ${second}`, ...recovered]);
  },
);

test('while messages come all the time, a client that comes and goes gets each of them once and in order', async () => {
  const room = randomRoom('closed');
  const { client, data } = await enter({ channels: [room] });
  let sent = 0;
  let comesAndGoes = true;
  const publishing = (async () => {
    while (comesAndGoes) {
      sent++;
      await post(room, sent);
    }
  })();
  for (let time = 0; time < 15; time++) {
    const seen = data.length;
    client.disconnect();
    client.connect();
    await client.ready(5_000);
    await until(() => data.length > seen, 5_000, 'a message comes');
  }
  comesAndGoes = false;
  await publishing;
  await until(() => data.length >= sent, 5_000, 'the last one comes');
  expect(data).toEqual(upTo(sent));
});

test('messages that are kept no more are told as such, and the client goes on from the newest', async () => {
  const room = randomRoom('closed');
  const raw = await connectRaw({ channels: [room] }, { subs: { [room]: { recover: true, epoch: '_' } } });
  const { connect } = (await raw.answer(1)) as { connect: { subs: object } };
  const epoch = expect.any(String);
  expect(connect.subs).toEqual({ [room]: { recoverable: true, positioned: true, epoch, was_recovering: true } });
});

test('a room that the next token assigns no more is told as unsubscribed at the next connect', async () => {
  const [kept, gone] = [randomRoom('closed'), randomRoom('closed')];
  let channels = [kept, gone];
  const told = tell(
    clientOf(node, { getToken: () => mintToken({ sub: 'guest', channels, exp: Date.now() / 1_000 + 30 }) }),
  );
  told.client.connect();
  await told.client.ready(5_000);
  channels = [kept];
  told.client.disconnect();
  // @ts-expect-error: not public; as after the end of the token.
  told.client._token = '';
  told.client.connect();
  await until(() => told.events.length === 4, 5_000, 'the change is told');
  expect(told.events.slice(2)).toEqual([`subscribed ${kept}, recovered: true`, `unsubscribed ${gone}`]);
});

test('a refresh ends the membership in rooms that its token assigns no more, but not where a rule gives the right', async () => {
  const [kept, gone, open] = [randomRoom('closed'), randomRoom('closed'), randomRoom('open')];
  const raw = await connectRaw({ channels: [kept, gone, open] });
  await raw.answer(1);
  const token = await mintToken({ sub: 'guest', channels: [kept, randomRoom('closed')] });
  raw.send(JSON.stringify({ id: 2, refresh: { token } }));
  await raw.answer(2);
  for (const room of [kept, gone, open]) await post(room, room);
  await until(() => toldTo(raw).length === 5, 5_000, 'the messages come');
  expect(
    toldTo(raw)
      .slice(1)
      .map(({ id, push }) => id ?? push),
  ).toMatchObject([
    { channel: gone, unsubscribe: { code: 2000 } },
    2,
    { channel: kept, pub: { data: kept } },
    { channel: open, pub: { data: open } },
  ]);
});

test('a gap in an assigned room closes the connection with 3010: the client connects again and hears that messages are missing', async () => {
  const redis = await ownRedis();
  const node = await startCentrifugo({ REDIS_URL: redis.url }, ...rules);
  const room = randomRoom('closed');
  const { client, events, data } = await enter({ channels: [room] }, node);
  const connecting: number[] = [];
  client.on('connecting', ({ code }) => connecting.push(code));
  const native = await join(node, 'native');
  await native.publish(room, 1);
  await until(() => data.length === 1, 5_000, 'the first one comes');
  // Redis loses everything, so the room begins a new epoch.
  await redisClient(redis.url).flushall();
  await native.publish(room, 2);
  await until(() => events.length === 2, 5_000, 'it is told');
  expect([connecting, events[1]]).toEqual([[3010], `subscribed ${room}, recovered: false`]);
  await native.publish(room, 3);
  await until(() => data.includes(3), 5_000, 'it goes on');
});

test('the backend removes a member of an assigned room, and a block ends the connection', async () => {
  const room = randomRoom('closed');
  const { client, events } = await enter({ sub: 'blocked', channels: [room] });
  const ended = new Promise((resolve) => client.on('disconnected', resolve));
  expect((await call(node, 'DELETE', `/api/rooms/${room}/members/blocked`)).json).toEqual({ removed: 1 });
  await until(() => events.length === 2, 5_000, 'it is told');
  expect(events[1]).toBe(`unsubscribed ${room}`);
  await call(node, 'POST', '/api/users/blocked/disconnect', { body: { blockSeconds: 60 } });
  expect(await ended).toMatchObject({ code: 3503 });
});

test('a client that subscribes to an assigned room by itself stays a member', async () => {
  const room = randomRoom('closed');
  const raw = await connectRaw({ channels: [room] });
  raw.send(JSON.stringify({ id: 2, subscribe: { channel: room } }));
  expect(await raw.answer(2)).toMatchObject({ subscribe: { recoverable: true } });
  await post(room, 1);
  await until(() => raw.replies.some(({ push }) => push !== undefined), 5_000, 'the message comes');
});

test('a subscription token that ends does not end the membership in an assigned room', async () => {
  const room = randomRoom('closed');
  const raw = await connectRaw({ channels: [room] });
  await raw.answer(1);
  const exp = Math.floor(Date.now() / 1000) + 2;
  const token = await mintToken({ sub: 'guest', channel: room, exp });
  raw.send(JSON.stringify({ id: 2, sub_refresh: { channel: room, token } }));
  expect(await raw.answer(2)).toMatchObject({ sub_refresh: { expires: true } });
  await until(() => Date.now() > 1000 * exp + 1_500, 5_000, 'the token has ended, and so would the membership');
  await post(room, 'still there');
  await until(() => toldTo(raw).some(({ push }) => push !== undefined), 5_000, 'something is pushed');
  expect(toldTo(raw).flatMap(({ push }) => push ?? [])).toMatchObject([
    { channel: room, pub: { data: 'still there' } },
  ]);
});

test('a client that subscribes to an assigned room by itself, and is refused, is not left out of it in silence', async () => {
  const room = randomRoom('closed');
  const raw = await connectRaw({ channels: [room] });
  await raw.answer(1);
  // 2: only with all that it has missed.
  raw.send(JSON.stringify({ id: 2, subscribe: { channel: room, recover: true, epoch: '_', flag: 2 } }));
  expect(await raw.answer(2)).toMatchObject({ error: { code: 112 } });
  expect(await raw.end()).toBe('3010 insufficient state');
});

test('a client that subscribes to a room that the backend gave it, and is refused, hears that it is in it no more', async () => {
  const room = randomRoom('closed');
  const raw = await connectRaw({ sub: 'given' });
  await raw.answer(1);
  await call(node, 'POST', `/api/rooms/${room}/members/given`);
  raw.send(JSON.stringify({ id: 2, subscribe: { channel: room, recover: true, epoch: '_', flag: 2 } }));
  expect(await raw.answer(2)).toMatchObject({ error: { code: 112 } });
  await until(() => raw.replies.length === 4, 5_000, 'it is told');
  expect(raw.replies[3]).toMatchObject({ push: { channel: room, unsubscribe: { code: 2000 } } });
});

test('more rooms than a connection may have are refused with 106 and a reason; a name that is none with 3500', async () => {
  const few = await startCentrifugo({ MAX_ROOMS_PER_CONNECTION: 2 }, ...rules);
  const raw = await connectRaw({ channels: ['a', 'b', 'c'] }, {}, few);
  expect(await raw.answer(1)).toMatchObject({
    error: { code: 106, message: expect.stringContaining('assigns 3 rooms') },
  });
  expect(await raw.end()).toBe('3500 invalid token');
  for (const claims of [{ channels: 'a' }, { channels: ['no room'] }, { subs: { 'no room': {} } }, { subs: 1 }]) {
    expect(await (await connectRaw(claims)).end()).toBe('3500 invalid token');
  }
  const bad = await connectRaw({}, { subs: { a: { recover: true, offset: -1 } } });
  expect(await bad.answer(1)).toMatchObject({
    error: { code: 107, message: expect.stringContaining('subs has a position') },
  });
});

test('the native protocol gives no rooms by these claims, and no right; without GATEWAY_CENTRIFUGO nobody reads them', async () => {
  const room = randomRoom('closed');
  const client = await connectWelcomed(node.url, await mintToken({ sub: 'guest', channels: [room] }));
  expect(errorOf(await client.request({ type: 'subscribe', room })).code).toBe('forbidden');
  expect(client.frames.some(({ type }) => type === 'subscribed')).toBe(false);
  const native = await startNode();
  await connectWelcomed(native.url, await mintToken({ sub: 'guest', channels: 'of another kind' }));
});
