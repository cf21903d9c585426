/**
 * Event streams and HTTP publishes under the commands of an operator, on another node: listed, removed, disconnected and
 * blocked like every other connection.
 */
import { expect, test } from 'vitest';
import { listConnections } from '../../gateway/operations/cluster/lists.ts';
import {
  disconnectConnection,
  disconnectUser,
  kickUser,
  subscribeUser,
} from '../../gateway/operations/cluster/users.ts';
import { EventStream } from '../support/event-stream.ts';
import { startNode } from '../support/node.ts';
import { until } from '../support/until.ts';
import { metric } from './admin.ts';
import { caller, clusterSettings, untilThere } from './cluster.ts';
import { join, randomRoom, tokenOf } from './people.ts';

async function twoNodes() {
  const settings = { ...clusterSettings(), PING_INTERVAL_MS: 100 };
  const [asked, other] = await Promise.all([
    startNode({ ...settings, NODE_ID: 'asked' }),
    startNode({ ...settings, NODE_ID: 'other', TRUSTED_PROXIES: '127.0.0.1' }),
  ]);
  await untilThere(asked, 'asked', 'other');
  return { asked, other };
}

test('a stream is listed with the address of its client, and is disconnected by its id', async () => {
  const { asked, other } = await twoNodes();
  const room = randomRoom();
  const stream = await EventStream.open(other, room, {
    token: await tokenOf('ann'),
    headers: { 'x-forwarded-for': '192.0.2.7' },
  });
  await join(other, 'bob');
  // By then the stream was pinged, too.
  const pinged = async () => (await metric(other, 'gateway_ping_rtt_seconds_count')) >= 3;
  await until(pinged, 10_000, 'the other connection has answered three pings');
  const { connections } = await listConnections(asked.cluster, caller, { user: 'ann', room, limit: 10 });
  expect(connections).toEqual([
    {
      ...{ connection: expect.any(String), user: 'ann', node: 'other', address: '192.0.2.7' },
      // It has no way to answer a ping.
      ...{ openedAt: expect.any(Number), rooms: 1, bufferedBytes: 0, rttMs: null },
    },
  ]);
  const { connection = '' } = connections[0] ?? {};
  expect(await disconnectConnection(asked.cluster, caller, connection)).toEqual({ disconnected: 1 });
  expect((await stream.next('close')).data).toMatchObject({ code: 4503 });
  await stream.untilEnded();
  expect((await listConnections(asked.cluster, caller, { user: 'ann', limit: 10 })).connections).toEqual([]);
});

test('a stream follows its own room only: it does not become a member of another one, and ends when removed', async () => {
  const { asked, other } = await twoNodes();
  const [room, another] = [randomRoom(), randomRoom()];
  const [stream, socket] = [
    await EventStream.open(other, room, { token: await tokenOf('ann') }),
    await join(other, 'ann'),
  ];
  expect(await subscribeUser(asked.cluster, caller, { user: 'ann', room: another })).toEqual({ subscribed: 1 });
  await socket.next('subscribed');
  expect(await subscribeUser(asked.cluster, caller, { user: 'ann', room })).toEqual({ subscribed: 2 });
  const publisher = await join(asked, 'publisher');
  await publisher.publish(another, 'not for the stream');
  await publisher.publish(room, 'for the stream');
  expect((await stream.next('message')).data).toMatchObject({ room, data: 'for the stream' });
  expect(stream.events.map(({ name }) => name)).toEqual(['ok', 'message']);
  expect(await kickUser(asked.cluster, caller, { user: 'ann', room: another })).toEqual({ removed: 1 });
  expect(stream.ended).toBe(false);
  expect(await kickUser(asked.cluster, caller, { user: 'ann', room })).toEqual({ removed: 2 });
  expect((await stream.next('unsubscribed')).data).toEqual({ type: 'unsubscribed', room, reason: 'kicked' });
  await stream.untilEnded();
  expect(stream.complete).toBe(true);
});

test('a blocked user loses the stream, opens no other one and publishes nothing by HTTP, until the block ends', async () => {
  const { asked, other } = await twoNodes();
  const [room, token] = [randomRoom(), await tokenOf('ann')];
  const stream = await EventStream.open(other, room, { token });
  const watcher = await join(asked, 'watcher', room);
  const publish = () =>
    fetch(`http://127.0.0.1:${other.port}/rooms/${room}/messages`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ data: 'hello' }),
    });
  await disconnectUser(asked.cluster, caller, { user: 'ann', blockSeconds: 3_600 });
  expect((await stream.next('close')).data).toMatchObject({ code: 4503 });
  const refused = await EventStream.request(other, room, { token });
  expect(refused.response.statusCode).toBe(403);
  await until(() => refused.text !== '', 5_000, 'the problem comes');
  expect(JSON.parse(refused.text)).toMatchObject({ status: 403, detail: expect.stringContaining('administrator') });
  const unpublished = await publish();
  expect([unpublished.status, await unpublished.json()]).toEqual([403, JSON.parse(refused.text)]);
  expect(await metric(other, 'gateway_handshakes_rejected_total{reason="blocked"}')).toBe(2);
  await disconnectUser(asked.cluster, caller, { user: 'ann', blockSeconds: 0 });
  await EventStream.open(other, room, { token });
  expect((await publish()).status).toBe(200);
  await watcher.next('message');
  expect(watcher.frames.filter(({ type }) => type === 'message')).toHaveLength(1);
});
