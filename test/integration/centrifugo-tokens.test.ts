/** Subscription tokens of the client protocol of Centrifugo, with its unmodified client for JavaScript. */
import { beforeAll, expect, test } from 'vitest';
import { connect, okOf } from '../support/client.ts';
import type { StartedNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import {
  clientOf,
  connectAs,
  type Heard,
  have,
  listen,
  RawClient,
  startCentrifugo,
  subscribe,
} from './centrifugo-member.ts';
import { join, randomRoom, tokenOf } from './people.ts';

const closed = { match: 'closed:*', subscribe: 'server', publish: 'user', history: {}, presence: true };

let node: StartedNode;
beforeAll(async () => {
  node = await startCentrifugo({}, closed);
});

const inSeconds = (more: number) => Math.floor(Date.now() / 1000) + more;

test('a subscription token gives the right to its room, whatever the rules say, and its info is shown', async () => {
  const room = randomRoom('closed');
  const client = await connectAs(node, 'guest');
  const refused = listen(client, room);
  refused.subscription.subscribe();
  await until(() => refused.events.includes('unsubscribed 103'), 5_000, 'it is refused without a token');
  client.removeSubscription(refused.subscription);
  const token = await mintToken({ sub: 'guest', channel: room, info: { role: 'reader' } });
  const member = await subscribe(client, room, { token });
  await client.publish(room, 'hello');
  expect(await have(member, 1)).toEqual(['hello']);
  const { clients } = await member.subscription.presence();
  expect(Object.values(clients)).toMatchObject([{ user: 'guest', connInfo: { role: 'reader' } }]);
  const other = listen(client, randomRoom('closed'));
  other.subscription.subscribe();
  await until(() => other.events.includes('unsubscribed 103'), 5_000, 'it gives no right to another room');
});

test('a right by subscription token survives a refresh of the connection, and its position a lost connection', async () => {
  const room = randomRoom('closed');
  const client = clientOf(node, { getToken: () => mintToken({ sub: 'guest', exp: inSeconds(4) }) });
  client.connect();
  await client.ready(5_000);
  const member = await subscribe(client, room, { token: await mintToken({ sub: 'guest', channel: room }) });
  const other = await connectAs(node, 'other');
  client.disconnect();
  await other.publish(room, 1);
  client.connect();
  expect(await have(member, 1)).toEqual([1]);
  expect(member.events.at(-1)).toBe('subscribed, recovered: true');
  const refreshed = new Promise((resolve) => {
    // @ts-expect-error: not public; the only place where the answer to a refresh can be seen.
    const handle = client._refreshResponse.bind(client);
    // @ts-expect-error: as above.
    client._refreshResponse = (result: unknown) => {
      handle(result);
      resolve(result);
    };
  });
  await refreshed;
  await other.publish(room, 2);
  expect(await have(member, 2)).toEqual([1, 2]);
});

test('a subscription token is refreshed before it ends, and the membership goes on', async () => {
  const room = randomRoom('closed');
  const client = await connectAs(node, 'guest');
  let asked = 0;
  const getToken = () => {
    asked++;
    return mintToken({ sub: 'guest', channel: room, exp: inSeconds(asked === 1 ? 3 : 3_600) });
  };
  const member = await subscribe(client, room, { getToken });
  await until(() => asked === 2, 5_000, 'a new token is asked for');
  // It waits behind the refresh.
  await member.subscription.presenceStats();
  expect(member.events).toEqual(['subscribing 0', 'subscribed']);
});

test('when a subscription token ends, so does the membership, with 2501; and the client comes back with a new one', async () => {
  const room = randomRoom('closed');
  const raw = await RawClient.connect(node, 'guest');
  const token = await mintToken({ sub: 'guest', channel: room, exp: inSeconds(2) });
  raw.send(JSON.stringify({ id: 2, subscribe: { channel: room, token } }));
  expect(await raw.answer(2)).toMatchObject({ subscribe: { expires: true, ttl: 1, recoverable: true } });
  await until(() => raw.replies.some(({ push }) => push !== undefined), 5_000, 'it ends');
  const pushed = raw.replies.filter(({ push }) => push !== undefined);
  expect(pushed).toEqual([
    { push: { channel: room, unsubscribe: { code: 2501, reason: 'the token of this subscription has expired' } } },
  ]);
  const later = await mintToken({ sub: 'guest', channel: room });
  raw.send(JSON.stringify({ id: 3, sub_refresh: { channel: room, token: later } }));
  expect(await raw.answer(3)).toMatchObject({ error: { code: 103 } });
  raw.send(JSON.stringify({ id: 4, subscribe: { channel: room, token: later } }));
  expect(await raw.answer(4)).toMatchObject({ subscribe: { expires: true, recoverable: true } });
  raw.send(JSON.stringify({ id: 5, sub_refresh: { channel: room, token: later } }));
  expect(await raw.answer(5)).toMatchObject({ sub_refresh: { expires: true, ttl: expect.any(Number) } });
});

test('an expired subscription token is told as 109, a bad one as 103', async () => {
  const room = randomRoom('closed');
  const raw = await RawClient.connect(node, 'guest');
  const claims = { sub: 'guest', channel: room };
  const ask = async (id: number, token: string) => {
    raw.send(JSON.stringify({ id, subscribe: { channel: room, token } }));
    return raw.answer(id);
  };
  const expired = await mintToken({ ...claims, exp: inSeconds(-60) });
  expect(await ask(2, expired)).toMatchObject({ error: { code: 109 } });
  const forged = await mintToken(claims, 'another-secret-of-more-than-32-bytes-length');
  expect(await ask(3, forged)).toMatchObject({ error: { code: 103 } });
  expect(await ask(4, 'no token')).toMatchObject({ error: { code: 103 } });
  // That of a connection has no channel.
  expect(await ask(5, await tokenOf('guest'))).toMatchObject({ error: { code: 103 } });
  const endless = await mintToken({ ...claims, exp: undefined as unknown as number });
  expect(await ask(6, endless)).toMatchObject({ subscribe: { recoverable: true } });
  expect(((await raw.answer(6)) as { subscribe: object }).subscribe).not.toHaveProperty('expires');
});

test('a subscription token of another user or room closes the connection', async () => {
  const room = randomRoom('closed');
  for (const claims of [
    { sub: 'other', channel: room },
    { sub: 'guest', channel: randomRoom('closed') },
  ]) {
    const raw = await RawClient.connect(node, 'guest');
    raw.send(JSON.stringify({ id: 2, subscribe: { channel: room, token: await mintToken(claims) } }));
    expect(await raw.end()).toBe('3500 invalid token');
  }
});

test('an anonymous connection stays anonymous, and its right by subscription token ends with that', async () => {
  const room = randomRoom('closed');
  const open = await startCentrifugo({ ANONYMOUS: true }, closed);
  const raw = await RawClient.open(open);
  raw.send(JSON.stringify({ id: 1, connect: {} }));
  await raw.answer(1);
  const token = await mintToken({ sub: undefined as unknown as string, channel: room, exp: inSeconds(3) });
  raw.send(JSON.stringify({ id: 2, subscribe: { channel: room, token } }));
  expect(await raw.answer(2)).toMatchObject({ subscribe: { expires: true } });
  raw.send(JSON.stringify({ id: 3, refresh: { token: await tokenOf('mallory') } }));
  expect(await raw.answer(3)).toMatchObject({ error: { code: 103 } });
  raw.send(JSON.stringify({ id: 4, refresh: { token: 'bad' } }));
  expect(await raw.answer(4)).toMatchObject({ error: { code: 101 } });
  raw.send(JSON.stringify({ id: 5, refresh: { token: await mintToken({ sub: 'mallory', exp: inSeconds(-60) }) } }));
  expect(await raw.answer(5)).toMatchObject({ error: { code: 101 } });
  const ended = () => raw.replies.some(({ push }) => (push as { unsubscribe?: object } | undefined)?.unsubscribe);
  await until(ended, 8_000, 'the subscription ends with its token');
});

test('a subscription token opens no connection, of neither protocol', async () => {
  const token = await mintToken({ sub: 'guest', channel: randomRoom('closed') });
  const client = clientOf(node, { token });
  const ended = new Promise((resolve) => client.on('disconnected', resolve));
  client.connect();
  expect(await ended).toEqual({ code: 3500, reason: 'invalid token' });
  const native = await connect(node.url, { token });
  expect((await native.closed).code).toBe(4501);
});

test('a member that wants all or nothing is refused with 112, and is no member', async () => {
  const room = randomRoom('kept');
  const native = await join(node, 'native', room);
  await native.publish(room, 1);
  const raw = await RawClient.connect(node, 'guest');
  const ask = async (id: number, channel: string, epoch: string) => {
    raw.send(JSON.stringify({ id, subscribe: { channel, recover: true, offset: 1, epoch, flag: 3 } }));
    return raw.answer(id);
  };
  expect(await ask(2, room, '_')).toMatchObject({ error: { code: 112 } });
  expect(await ask(3, randomRoom('plain'), 'any')).toMatchObject({ error: { code: 112 } });
  await native.publish(room, 2);
  raw.send(JSON.stringify({ id: 4, presence_stats: { channel: room } }));
  expect(await raw.answer(4)).toMatchObject({ error: { code: 103 } });
  raw.send(JSON.stringify({ id: 5, history: { channel: randomRoom('plain') } }));
  expect(await raw.answer(5)).toMatchObject({ error: { code: 108 } });
  expect(raw.replies.filter(({ push }) => push !== undefined)).toEqual([]);
});

test('a position without an epoch is one of the current epoch, whatever that is', async () => {
  const room = randomRoom('kept');
  const native = await join(node, 'native', room);
  for (const data of [1, 2, 3]) await native.publish(room, data);
  const since = (offset: number) => ({ since: { offset, epoch: '' } });
  const client = await connectAs(node, 'guest');
  const fromState = listen(client, room, { getState: async () => ({ offset: 1, epoch: '' }) });
  fromState.subscription.subscribe();
  expect(await have(fromState, 2)).toEqual([2, 3]);
  expect(fromState.events).toEqual(['subscribing 0', 'subscribed, recovered: true']);
  const others = await Promise.all(
    [0, 3, 4].map(async (offset) => subscribe(await connectAs(node, `from ${offset}`), room, since(offset))),
  );
  await native.publish(room, 4);
  expect(await have(others[0] as Heard, 4)).toEqual([1, 2, 3, 4]);
  expect(await have(others[1] as Heard, 1)).toEqual([4]);
  // Ahead of the room: messages of an older epoch are missing.
  expect(others.map(({ events }) => events.at(-1))).toEqual(
    [true, true, false].map((recovered) => `subscribed, recovered: ${recovered}`),
  );
});

test('getState of the client is asked when messages are missing, and the subscription goes on from the state', async () => {
  const room = randomRoom('kept');
  const native = await join(node, 'native', room);
  await native.publish(room, 1);
  const asked: string[] = [];
  const client = await connectAs(node, 'guest');
  const getState = async () => {
    asked.push('state');
    const { epoch, offset } = okOf(await native.request({ type: 'history', room, limit: 1 }));
    return { epoch, offset };
  };
  const member = await subscribe(client, room, { getState });
  await native.publish(room, 2);
  expect(await have(member, 1)).toEqual([2]);
  expect(asked).toEqual(['state']);
});
