/** Protobuf of the client protocol of Centrifugo, with its unmodified client for JavaScript, beside members of all dialects. */
import { randomBytes } from 'node:crypto';
import { Centrifuge } from 'centrifuge/build/protobuf';
import { beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { onCleanup } from '../support/cleanup.ts';
import type { StartedNode } from '../support/node.ts';
import { until } from '../support/until.ts';
import { connectAs, endpointOf, have, listen, startCentrifugo, subscribe } from './centrifugo-member.ts';
import { dataOf, join, randomRoom, tokenOf } from './people.ts';

let node: StartedNode;
beforeAll(async () => {
  node = await startCentrifugo({}, { match: 'kept:long:*', history: { size: 1_000 } });
});

/** Connected, as this user. */
async function connectBinary(user: string, options = {}): Promise<Centrifuge> {
  const client = new Centrifuge(endpointOf(node), { websocket: WebSocket, token: await tokenOf(user), ...options });
  onCleanup(() => client.disconnect());
  client.connect();
  await client.ready(5_000);
  return client;
}

/** What its members publish and hear are bytes. */
const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));
const values = (datas: unknown[]) => datas.map((data) => JSON.parse(Buffer.from(data as Uint8Array).toString()));

test('members of three dialects get each message once, in one order, with the same offsets', async () => {
  const room = randomRoom('kept');
  const native = await join(node, 'native', room);
  const json = await subscribe(await connectAs(node, 'json'), room);
  const protobuf = await subscribe(await connectBinary('protobuf'), room);
  for (let data = 0; data < 30; data++) {
    if (data % 3 === 0) native.send({ type: 'publish', id: `p${data}`, room, data });
    else if (data % 3 === 1) await json.subscription.publish(data);
    else await protobuf.subscription.publish(bytes(data));
  }
  await have(protobuf, 30);
  await have(json, 30);
  await until(() => dataOf(native, room).length === 30, 5_000, 'the native member has all');
  expect(values(protobuf.publications.map(({ data }) => data))).toEqual(dataOf(native, room));
  const places = ({ publications }: typeof json) => publications.map(({ offset, info }) => [offset, info?.user]);
  expect(places(protobuf)).toEqual(places(json));
  expect(new Set(places(protobuf).map(([, user]) => user))).toEqual(new Set(['native', 'json', 'protobuf']));
});

test('any bytes reach members of all dialects, live and from history', async () => {
  const room = randomRoom('kept:long');
  const sizes = [0, 1, 2, 3, 255, 4_096, 40_000];
  // No JSON, nor any other text.
  const sent = sizes.map((size) =>
    Buffer.concat([Buffer.alloc(Math.min(size, 1), 0xff), randomBytes(Math.max(0, size - 1))]),
  );
  const native = await join(node, 'native', room);
  const json = await subscribe(await connectAs(node, 'json'), room);
  const protobuf = await subscribe(await connectBinary('protobuf'), room);
  for (const data of sent) await protobuf.subscription.publish(data);
  const inJson = sent.map((data) => ({ $bytes: data.toString('base64') }));
  expect((await have(protobuf, sizes.length)).map((data) => Buffer.from(data as Uint8Array))).toEqual(sent);
  expect(await have(json, sizes.length)).toEqual(inJson);
  await until(() => dataOf(native, room).length === sizes.length, 5_000, 'the native member has all');
  expect(dataOf(native, room)).toEqual(inJson);
  const { publications } = await protobuf.subscription.history({ limit: -1 });
  expect(publications.map(({ data }) => Buffer.from(data))).toEqual(sent);
});

test('presence, joins, history, errors and a refresh say the same as in JSON', async () => {
  const room = randomRoom('kept');
  const client = await connectBinary('guest');
  const member = await subscribe(client, room);
  const native = await join(node, 'native', room);
  await until(() => member.events.includes('join native'), 5_000, 'the join is told');
  const { clients } = await member.subscription.presence();
  expect(
    Object.values(clients)
      .map(({ user }) => user)
      .sort(),
  ).toEqual(['guest', 'native']);
  expect(await member.subscription.presenceStats()).toEqual({ numClients: 2, numUsers: 2 });
  for (let data = 1; data <= 5; data++) await member.subscription.publish(bytes(data));
  const { epoch } = await member.subscription.history({ limit: 0 });
  const page = await member.subscription.history({ limit: 2, since: { offset: 4, epoch }, reverse: true });
  expect([page.offset, values(page.publications.map(({ data }) => data))]).toEqual([5, [3, 2]]);
  await expect(member.subscription.history({ since: { offset: 3, epoch: 'other' } })).rejects.toMatchObject({
    code: 112,
  });
  await expect(client.rpc('nothing', bytes(1))).rejects.toMatchObject({ code: 108 });
  const foreign = listen(client, 'kept:no room');
  foreign.subscription.subscribe();
  await until(() => foreign.events.includes('unsubscribed 107'), 5_000, 'it is refused');
  await native.close();
  await until(() => member.events.includes('leave native'), 5_000, 'the leave is told');
});

test('a client that was away gets what it missed, in order', async () => {
  const room = randomRoom('kept:long');
  const client = await connectBinary('guest');
  const member = await subscribe(client, room);
  const native = await join(node, 'native', room);
  await native.publish(room, 1);
  await have(member, 1);
  client.disconnect();
  await Promise.all(Array.from({ length: 399 }, (_, index) => native.publish(room, index + 2)));
  client.connect();
  expect(values(await have(member, 400))).toEqual(Array.from({ length: 400 }, (_, index) => index + 1));
  expect(member.events).toEqual(['subscribing 0', 'subscribed', 'subscribing 1', 'subscribed, recovered: true']);
});

test.each(['cf_protocol', 'format'])(
  '%s=protobuf in the URL chooses it without a subprotocol; a text frame closes',
  async (name) => {
    const socket = new WebSocket(`${endpointOf(node)}?${name}=protobuf`);
    onCleanup(() => socket.terminate());
    const end = new Promise((resolve) => socket.on('close', (code, reason) => resolve(`${code} ${reason}`)));
    await new Promise((resolve) => socket.on('open', resolve));
    expect(socket.protocol).toBe('');
    socket.send('{}');
    expect(await end).toBe('3508 not available');
  },
);

test.each<[string, number[]]>([
  ['an empty frame', []],
  ['a length beyond the frame', [5, 8, 1]],
  ['a varint that never ends', Array.from({ length: 11 }, () => 0x80)],
  ['a group', [2, 11, 12]],
  ['no command', [2, 8, 0]],
])('%s closes the connection with 3501', async (_, frame) => {
  const socket = new WebSocket(endpointOf(node), 'centrifuge-protobuf');
  onCleanup(() => socket.terminate());
  const end = new Promise((resolve) => socket.on('close', (code, reason) => resolve(`${code} ${reason}`)));
  await new Promise((resolve) => socket.on('open', resolve));
  expect(socket.protocol).toBe('centrifuge-protobuf');
  socket.send(Buffer.from(frame));
  expect(await end).toBe('3501 bad request');
});
