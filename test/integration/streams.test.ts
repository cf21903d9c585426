/**
 * Event streams as members of rooms: order and completeness beside WebSockets, resume, presence, limits, rights, and how
 * they end.
 */
import { expect, test } from 'vitest';
import { EventStream } from '../support/event-stream.ts';
import { type NodeSettings, startNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { metric } from './admin.ts';
import { roomsFile } from './files.ts';
import { dataOf, enter, everywhere, join, randomRoom, tokenOf } from './people.ts';

const kept = { match: 'kept:*', history: {}, presence: true, joinLeave: true };

function start(settings: NodeSettings = {}, ...rules: object[]) {
  return startNode({ ROOMS_FILE: roomsFile(kept, ...rules), PUBLISH_RATE: 0, ...settings });
}

test.each(['room', 'kept'])('streams and WebSockets of a %s get each message once and in one order', async (topic) => {
  const node = await start();
  const room = randomRoom(topic);
  const socket = await join(node, 'socket', room);
  const streams = await Promise.all(
    ['one', 'two', 'three'].map(async (user) => EventStream.open(node, room, { token: await tokenOf(user) })),
  );
  const publishers = [await enter(node, 'a'), await enter(node, 'b')];
  const published = Array.from({ length: 200 }, (_, index) => index);
  for (const data of published) publishers[data % 2]?.send({ type: 'publish', room, data });
  await until(
    () => [dataOf(socket, room), ...streams.map(({ heard }) => heard)].every(({ length }) => length >= 200),
    5_000,
    'all have all messages',
  );
  expect([...dataOf(socket, room)].sort((one, other) => Number(one) - Number(other))).toEqual(published);
  for (const { heard, events, response } of streams) {
    expect(heard).toEqual(dataOf(socket, room));
    expect(response.headers).toMatchObject({ 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' });
    const ok = events[0];
    // Between them there may be the joins of the others.
    const messages = events.filter(({ name }) => name === 'message');
    expect(ok).toMatchObject({ name: 'ok', data: { type: 'ok', room } });
    const { epoch } = ok?.data ?? {};
    expect(messages.map(({ id }) => id)).toEqual(
      messages.map(({ data }) => (topic === 'kept' ? `${epoch}:${data.offset}` : '')),
    );
  }
});

test('data with line breaks between its tokens comes as the same JSON', async () => {
  const node = await start();
  const room = randomRoom();
  const stream = await EventStream.open(node, room, { token: await tokenOf('reader') });
  const publisher = await enter(node, 'publisher');
  publisher.send(`{"type":"publish","room":"${room}","data":{\n"a":\r\n[1,\r2],"b":"\\n\\r\u2028"\n}}`);
  expect((await stream.next('message')).data.data).toEqual({ a: [1, 2], b: '\n\r\u2028' });
});

test('a stream continues behind Last-Event-ID, also if no message came before its end, and says if it cannot', async () => {
  const node = await start();
  const room = randomRoom('kept');
  const token = await tokenOf('reader');
  const first = await EventStream.open(node, room, { token });
  first.abort();
  const publisher = await enter(node, 'publisher');
  for (const data of [1, 2, 3]) await publisher.publish(room, data);
  const second = await EventStream.open(node, room, { token, lastEventId: first.lastEventId, since: 'old:9' });
  expect(second.events[0]?.data).toMatchObject({ recovered: true, offset: 0 });
  await until(() => second.heard.length === 3, 5_000, 'the three messages');
  second.abort();
  await publisher.publish(room, 4);
  const third = await EventStream.open(node, room, { token, since: second.lastEventId });
  await third.next('message');
  expect([second.heard, third.heard]).toEqual([[1, 2, 3], [4]]);
  const other = await EventStream.open(node, room, { token, since: 'another:2' });
  expect(other.events[0]).toMatchObject({ data: { recovered: false, offset: 4 }, id: third.lastEventId });
  const plain = await EventStream.open(node, randomRoom(), { token, since: 'another:2' });
  expect(plain.events[0]?.data).toMatchObject({ recovered: false });
});

test('presence counts a stream as a connection: it joins, is listed, and leaves when the client goes', async () => {
  const node = await start();
  const room = randomRoom('kept');
  const watcher = await join(node, 'watcher', room);
  const stream = await EventStream.open(node, room, { token: await tokenOf('reader') });
  expect(await watcher.next('join')).toMatchObject({ members: [{ user: 'reader' }] });
  expect(await watcher.request({ type: 'presence', room })).toMatchObject({ count: 2, users: 2 });
  expect(await metric(node, 'gateway_streams')).toBe(1);
  expect(await metric(node, 'gateway_connections')).toBe(2);
  await join(node, 'third', room);
  // The join of the watcher may be told only now, to the stream too; its own never is.
  const joins = () =>
    stream.events.flatMap(({ name, data }) => (name === 'join' ? [JSON.stringify(data.members)] : []));
  await until(() => joins().some((members) => members.includes('third')), 5_000, 'the join of the third');
  expect(joins().join()).not.toContain('reader');
  stream.abort();
  expect(
    await watcher.next((frame) => frame.type === 'leave' && JSON.stringify(frame).includes('reader')),
  ).toBeTruthy();
  await until(async () => (await metric(node, 'gateway_streams')) === 0, 5_000, 'the stream is gone');
});

test('a drain sends reconnect in the slot of the stream, serves it until its end, and ends it with the code 4001', async () => {
  const node = await start({ DRAIN_MS: 900 });
  const room = randomRoom();
  const stream = await EventStream.open(node, room, { token: await tokenOf('reader') });
  const stopped = node.stop();
  expect((await stream.next('reconnect')).data).toEqual({ type: 'reconnect', afterMs: 0, reason: 'draining' });
  const askedAt = performance.now();
  expect((await stream.next('close')).data).toMatchObject({ code: 4001 });
  expect(performance.now() - askedAt).toBeGreaterThan(200);
  await stream.untilEnded();
  expect(stream.complete).toBe(true);
  expect(stream.retryMs).toBeLessThanOrEqual(5_000);
  await stopped;
});

test('a stream ends at the exp of its token, and the same token then gets 401', async () => {
  const node = await start();
  const room = randomRoom();
  const token = await mintToken({ sub: 'reader', rooms: everywhere, exp: Math.floor(Date.now() / 1000) - 3 });
  const stream = await EventStream.open(node, room, { token });
  expect((await stream.next('close', 8_000)).data).toMatchObject({ code: 4002 });
  await stream.untilEnded();
  const again = await EventStream.request(node, room, { token });
  expect(again.response.statusCode).toBe(401);
});

test('one more connection of a user ends the oldest, whichever kind, and tells a stream to stay away', async () => {
  const node = await start({ MAX_CONNECTIONS_PER_USER: 2 });
  const [room, token] = [randomRoom(), await tokenOf('user')];
  const socket = await enter(node, 'user');
  const streams = [await EventStream.open(node, room, { token }), await EventStream.open(node, room, { token })];
  expect(await socket.closed).toMatchObject({ code: 4506 });
  await enter(node, 'user');
  expect((await streams[0]?.next('close'))?.data).toMatchObject({ code: 4506 });
  expect(streams[0]?.retryMs).toBeGreaterThanOrEqual(60_000);
  expect(streams[1]?.ended).toBe(false);
});

test('a full node and a full address refuse a stream, and count it like a WebSocket', async () => {
  const full = await start({ MAX_CONNECTIONS: 1 });
  const [room, token] = [randomRoom(), await tokenOf('user')];
  const first = await EventStream.open(full, room, { token });
  const refused = await EventStream.request(full, room, { token });
  expect([refused.response.statusCode, refused.response.headers['retry-after']]).toEqual([503, '5']);
  first.abort();
  await until(() => EventStream.open(full, room, { token }), 5_000, 'there is room again');
  expect(await metric(full, 'gateway_handshakes_rejected_total{reason="capacity"}')).toBeGreaterThan(0);

  const crowded = await start({ MAX_CONNECTIONS_PER_IP: 1 });
  const only = await EventStream.open(crowded, room, { token });
  const second = await EventStream.request(crowded, room, { token });
  expect([second.response.statusCode, second.response.headers['retry-after']]).toEqual([429, '5']);
  only.abort();
  await until(() => EventStream.open(crowded, room, { token }), 5_000, 'the address has a place again');
});
