/** The server API in the form of Centrifugo: what its backend libraries send, and what they get. */
import { beforeAll, expect, test } from 'vitest';
import { type StartedNode, startNode } from '../support/node.ts';
import { until } from '../support/until.ts';
import { apiKey, call } from './api.ts';
import { connectAs, have, startCentrifugo, subscribe } from './centrifugo-member.ts';
import { randomRoom } from './people.ts';

let node: StartedNode;
beforeAll(async () => {
  node = await startCentrifugo({ API_KEY: apiKey });
});

const asLibrary = { authorization: undefined, 'x-api-key': apiKey };

async function method(name: string, body: object | string, headers: Record<string, string | undefined> = asLibrary) {
  const answer = await call(node, 'POST', `/api/${name}`, { body, headers });
  expect([answer.status, answer.headers['content-type']]).toEqual([200, 'application/json']);
  return answer.json;
}

test('publish, broadcast and history: a member gets the data, and positions are told', async () => {
  const [room, other] = [randomRoom('kept'), randomRoom('kept')];
  const member = await subscribe(await connectAs(node, 'guest'), room);
  const first = await method('publish', { channel: room, data: { text: 'hello' }, idempotency_key: 'a' });
  expect(first).toEqual({ result: { offset: 1, epoch: expect.any(String) } });
  expect(await method('publish', { channel: room, data: 'again', idempotency_key: 'a' })).toEqual(first);
  const both = await method('broadcast', { channels: [room, other], data: 2 });
  expect(both.result.responses).toMatchObject([{ result: { offset: 2 } }, { result: { offset: 1 } }]);
  expect(await have(member, 2)).toEqual([{ text: 'hello' }, 2]);
  const { result } = await method('history', { channel: room, limit: 10, reverse: true });
  expect(result).toMatchObject({ offset: 2, publications: [{ data: 2, offset: 2 }, { offset: 1 }] });
  const since = { offset: 1, epoch: 'other' };
  expect(await method('history', { channel: room, limit: 1, since })).toMatchObject({ error: { code: 112 } });
  // Ours has the same path.
  const { json } = await call(node, 'POST', '/api/broadcast', { body: { rooms: [room], data: 3 } });
  expect(json.results).toMatchObject([{ room, offset: 3 }]);
});

test('presence, channels, subscribe, unsubscribe, disconnect and info', async () => {
  const [room, given] = [randomRoom('kept'), randomRoom('given')];
  const client = await connectAs(node, 'ann');
  const events: string[] = [];
  client.on('subscribed', ({ channel }) => events.push(`subscribed ${channel}`));
  client.on('unsubscribed', ({ channel }) => events.push(`unsubscribed ${channel}`));
  client.on('disconnected', ({ code }) => events.push(`disconnected ${code}`));
  await subscribe(client, room);
  const [info] = Object.values((await method('presence', { channel: room })).result.presence);
  expect(info).toMatchObject({ user: 'ann' });
  expect(await method('presence_stats', { channel: room })).toEqual({ result: { num_clients: 1, num_users: 1 } });
  expect(await method('channels', { pattern: room })).toEqual({ result: { channels: { [room]: { num_clients: 1 } } } });
  expect(await method('subscribe', { user: 'ann', channel: given })).toEqual({ result: {} });
  expect(await method('unsubscribe', { user: 'ann', channel: given })).toEqual({ result: {} });
  expect((await method('info', {})).result.nodes).toMatchObject([{ num_clients: expect.any(Number) }]);
  expect(await method('disconnect', { user: 'ann' })).toEqual({ result: {} });
  await until(() => events.length === 3, 5_000, 'all of it happens');
  expect(events).toEqual([`subscribed ${given}`, `unsubscribed ${given}`, 'disconnected 3503']);
});

test('disconnect with a client ends that one only, and only if it is of that user; what would narrow a call is refused where it is not offered', async () => {
  const user = randomRoom('ben');
  const clients = await Promise.all([connectAs(node, user), connectAs(node, user)]);
  const ends: number[] = [];
  const [id] = await Promise.all(
    clients.map(async (client, index) => {
      client.on('disconnected', () => ends.push(index));
      const connected = new Promise<string>((resolve) => client.on('connected', (context) => resolve(context.client)));
      client.disconnect();
      client.connect();
      return connected;
    }),
  );
  ends.length = 0;
  expect(await method('disconnect', { user: 'another', client: id })).toEqual({ result: {} });
  await Promise.all(clients.map((client) => client.rpc('nothing', {}).catch(() => undefined)));
  expect(ends).toEqual([]);
  expect(await method('disconnect', { user, client: id, session: '', whitelist: [] })).toEqual({ result: {} });
  await until(() => ends.length > 0, 5_000, 'it is disconnected');
  await clients[1]?.rpc('nothing', {}).catch(() => undefined);
  expect(ends).toEqual([0]);
  expect(await method('disconnect', { user, client: '', session: null })).toEqual({ result: {} });
  await until(() => ends.length > 1, 5_000, 'an empty client is none, and all of the user are disconnected');
  for (const [name, fields] of [
    ['disconnect', { whitelist: [id] }],
    ['disconnect', { session: 'a' }],
    ['unsubscribe', { channel: 'a', client: id }],
    ['subscribe', { channel: 'a', client: id }],
  ] as const) {
    const { error } = await method(name, { user, ...fields });
    expect(error).toMatchObject({ code: 107, message: expect.stringContaining('not offered') });
  }
});

test('mistakes are errors in their form; without a key there is no answer, and without the setting no such call', async () => {
  expect(await method('publish', { channel: 'no such room name', data: 1 })).toMatchObject({ error: { code: 107 } });
  expect(await method('publish', { channel: 'kept:x' })).toMatchObject({ error: { code: 107 } });
  expect(await method('disconnect', {})).toMatchObject({ error: { code: 107 } });
  const large = 'x'.repeat(65_536);
  for (const [name, channels] of [
    ['publish', { channel: 'kept:x' }],
    ['broadcast', { channels: ['kept:x'] }],
  ] as const)
    expect(await method(name, { ...channels, data: large })).toMatchObject({ error: { code: 107 } });
  expect(await method('presence', { channel: 'plain' })).toMatchObject({ error: { code: 108 } });
  expect(await method('info', {}, { authorization: `apikey ${apiKey}` })).toHaveProperty('result');
  const wrong = { ...asLibrary, 'x-api-key': 'another-key-of-16-or-more' };
  expect((await call(node, 'POST', '/api/info', { body: {}, headers: wrong })).status).toBe(401);
  const native = await startNode({ API_KEY: apiKey });
  expect((await call(native, 'POST', '/api/publish', { body: { channel: 'a', data: 1 } })).status).toBe(404);
});
