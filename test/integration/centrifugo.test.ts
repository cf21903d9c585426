/** The client protocol of Centrifugo, with its unmodified client for JavaScript. */
import { beforeAll, expect, test } from 'vitest';
import { type StartedNode, startNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { clientOf, connectAs, have, listen, startCentrifugo, subscribe } from './centrifugo-member.ts';
import { dataOf, join, randomRoom, tokenOf } from './people.ts';

let node: StartedNode;
beforeAll(async () => {
  node = await startCentrifugo(
    {},
    { match: 'kept:long:*', history: { size: 1_000 } },
    { match: 'kept:short:*', history: { size: 2 } },
  );
});

test('members of both protocols get each message of a room once, in one order, with the same offsets', async () => {
  const room = randomRoom('kept');
  const native = await join(node, 'native', room);
  const member = await subscribe(await connectAs(node, 'guest'), room);
  for (let data = 0; data < 30; data++) {
    if (data % 2 === 0) native.send({ type: 'publish', id: `p${data}`, room, data });
    else await member.subscription.publish(data);
  }
  await have(member, 30);
  await until(() => dataOf(native, room).length === 30, 5_000, 'the native member has all');
  expect(member.publications.map(({ data }) => data)).toEqual(dataOf(native, room));
  expect(member.publications.map(({ offset }) => offset)).toEqual(Array.from({ length: 30 }, (_, index) => index + 1));
  const senders = new Set(member.publications.map(({ info, data }) => `${info?.user} ${data % 2}`));
  expect(senders).toEqual(new Set(['native 0', 'guest 1']));
});

test('data reaches a member byte for byte, also what JSON.parse would change', async () => {
  const room = randomRoom();
  const texts: string[] = [];
  const client = await connectAs(node, 'guest');
  const member = await subscribe(client, room);
  const native = await join(node, 'native', room);
  // @ts-expect-error: the transport is not public; it is where the text of a frame can be seen.
  const transport = client._transport._transport as { onmessage: (event: { data: string }) => void };
  const { onmessage } = transport;
  transport.onmessage = (event) => {
    texts.push(event.data);
    onmessage.call(transport, event);
  };
  native.send(`{"type":"publish","id":1,"room":"${room}","data":{"a":[1.0,\n12345678901234567890],"from":"x","at":1}}`);
  await have(member, 1);
  expect(texts.join()).toContain('"data":{"a":[1.0, 12345678901234567890],"from":"x","at":1},"info":{"user":"native"');
});

test('presence, presence_stats, history and unsubscribe are answered, and joins and leaves are told', async () => {
  const room = randomRoom('kept');
  const token = await mintToken({ sub: 'guest', rooms: { '*': ['subscribe', 'publish'] }, info: { name: 'Guest' } });
  const client = await connectAs(node, 'guest', { token });
  const member = await subscribe(client, room);
  const native = await join(node, 'native', room);
  await until(() => member.events.includes('join native'), 5_000, 'the join is told');
  const { clients } = await member.subscription.presence();
  expect(Object.values(clients).map(({ user, connInfo }) => [user, connInfo])).toEqual(
    expect.arrayContaining([
      ['guest', { name: 'Guest' }],
      ['native', undefined],
    ]),
  );
  expect(await member.subscription.presenceStats()).toEqual({ numClients: 2, numUsers: 2 });
  for (let data = 1; data <= 5; data++) await member.subscription.publish(data);
  const { epoch, offset, publications } = await member.subscription.history({ limit: 2 });
  expect([offset, publications.map(({ data }) => data)]).toEqual([5, [1, 2]]);
  const dataOfHistory = async (options: object) =>
    (await member.subscription.history(options)).publications.map(({ data }) => data);
  expect(await dataOfHistory({ limit: 0 })).toEqual([]);
  expect(await dataOfHistory({ limit: -1 })).toEqual([1, 2, 3, 4, 5]);
  expect(await dataOfHistory({ limit: 2, since: { offset: 3, epoch } })).toEqual([4, 5]);
  expect(await dataOfHistory({ limit: 2, reverse: true })).toEqual([5, 4]);
  expect(await dataOfHistory({ limit: 2, since: { offset: 3, epoch }, reverse: true })).toEqual([2, 1]);
  await expect(dataOfHistory({ limit: 2, since: { offset: 3, epoch: 'other' } })).rejects.toMatchObject({ code: 112 });
  await native.close();
  await until(() => member.events.includes('leave native'), 5_000, 'the leave is told');
  member.subscription.unsubscribe();
  await until(
    async () => (await client.publish(room, 6)) && member.events.at(-1) === 'unsubscribed 0',
    5_000,
    'it ends',
  );
  expect(member.publications).toHaveLength(5);
});

test('a client that was away gets what it missed, in order, on any connection', async () => {
  const room = randomRoom('kept:long');
  const client = await connectAs(node, 'guest');
  const member = await subscribe(client, room);
  const native = await join(node, 'native', room);
  await native.publish(room, 1);
  await have(member, 1);
  client.disconnect();
  await Promise.all(Array.from({ length: 699 }, (_, index) => native.publish(room, index + 2)));
  client.connect();
  expect(await have(member, 700)).toEqual(Array.from({ length: 700 }, (_, index) => index + 1));
  expect(member.publications.map(({ offset }) => offset)).toEqual(Array.from({ length: 700 }, (_, index) => index + 1));
  expect(member.events).toEqual(['subscribing 0', 'subscribed', 'subscribing 1', 'subscribed, recovered: true']);
});

test('a client that was away for longer than history reaches is told so', async () => {
  const room = randomRoom('kept:short');
  const client = await connectAs(node, 'guest');
  const member = await subscribe(client, room);
  client.disconnect();
  const native = await join(node, 'native', room);
  for (let data = 1; data <= 5; data++) await native.publish(room, data);
  client.connect();
  await until(() => member.events.includes('subscribed, recovered: false'), 5_000, 'it is told');
  await native.publish(room, 6);
  expect(await have(member, 1)).toEqual([6]);
});

test('an expired token is told as such, so that the client gets a new one; a bad one ends it', async () => {
  const expired = await mintToken({ sub: 'guest', exp: Math.floor(Date.now() / 1000) - 60 });
  const good = await tokenOf('guest');
  const client = clientOf(node, { token: expired, getToken: async () => good });
  const errors: number[] = [];
  client.on('error', ({ error }) => errors.push(error.code));
  client.connect();
  await client.ready(5_000);
  expect(errors).toEqual([109]);
  const bad = clientOf(node, { token: 'bad' });
  const ended = new Promise((resolve) => bad.on('disconnected', resolve));
  bad.connect();
  expect(await ended).toEqual({ code: 3500, reason: 'invalid token' });
});

test('a token is refreshed before it ends, on the open connection', async () => {
  const seconds = (more: number) => Math.floor(Date.now() / 1000) + more;
  let asked = 0;
  const getToken = () => {
    asked++;
    return mintToken({ sub: 'guest', exp: seconds(asked === 1 ? 6 : 3_600) });
  };
  const client = clientOf(node, { getToken });
  const connecting: number[] = [];
  client.on('connecting', ({ code }) => connecting.push(code));
  client.connect();
  await client.ready(5_000);
  await until(() => asked === 2, 6_000, 'a new token is asked for');
  await client.rpc('nothing', {}).catch(({ code }) => expect(code).toBe(108));
  expect(connecting).toEqual([0]);
});

test('without a token a client is anonymous where that is allowed, and refused where it is not', async () => {
  const rule = { match: 'open:*', subscribe: 'anyone', publish: 'anyone' };
  const open = await startCentrifugo({ ANONYMOUS: true }, rule);
  const client = clientOf(open, {});
  client.connect();
  const member = await subscribe(client, randomRoom('open'));
  await member.subscription.publish('hello');
  expect(await have(member, 1)).toEqual(['hello']);
  const closed = clientOf(node, {});
  const ended = new Promise((resolve) => closed.on('disconnected', resolve));
  closed.connect();
  expect(await ended).toEqual({ code: 3500, reason: 'invalid token' });
});

test('pings are answered by the client, and the connection goes on', async () => {
  const node = await startCentrifugo({ PING_INTERVAL_MS: 1_000, PONG_TIMEOUT_MS: 1_000 });
  const client = await connectAs(node, 'guest');
  const connecting: number[] = [];
  let pings = 0;
  client.on('connecting', ({ code }) => connecting.push(code));
  // @ts-expect-error: not public; the only place where a ping can be seen.
  const handle = client._handleServerPing.bind(client);
  // @ts-expect-error: as above.
  client._handleServerPing = (next: () => void) => {
    pings++;
    handle(next);
  };
  // The second ping is only sent after the pong to the first one.
  await until(() => pings >= 2, 5_000, 'two pings come');
  expect(connecting).toEqual([]);
});

test('a right that is missing or taken away ends the subscription, and not the connection', async () => {
  const token = await mintToken({ sub: 'guest', rooms: { 'kept:mine': ['subscribe'] } });
  const client = await connectAs(node, 'guest', { token });
  const foreign = listen(client, 'kept:other');
  foreign.subscription.subscribe();
  await until(() => foreign.events.includes('unsubscribed 103'), 5_000, 'it is refused');
  await expect(client.publish('kept:mine', 1)).rejects.toMatchObject({ code: 103 });
  await subscribe(client, 'kept:mine');
});

test('a drain closes these clients with 3001, so that they connect again elsewhere', async () => {
  const node = await startCentrifugo({ DRAIN_MS: 600 });
  const clients = await Promise.all([1, 2, 3].map((each) => connectAs(node, `guest${each}`)));
  const ends: number[] = [];
  for (const client of clients) {
    client.on('connecting', ({ code }) => {
      ends.push(code);
      client.disconnect();
    });
  }
  await node.stop();
  expect(ends).toEqual([3001, 3001, 3001]);
});

test('without GATEWAY_CENTRIFUGO the endpoint is not there', async () => {
  const node = await startNode();
  const response = await fetch(`http://127.0.0.1:${node.port}/connection/websocket`);
  expect(response.status).toBe(404);
});
