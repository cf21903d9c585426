/**
 * SIGTERM to a node with clients: it asks them to move one after the other, serves them until they have moved, and
 * loses no message; it ends as soon as all have moved, and when the drain time is over at the latest.
 */
import { connect as connectTcp } from 'node:net';
import { describe, expect, inject, test } from 'vitest';
import type { GatewayFrame } from '../../shared/protocol.ts';
import { onCleanup } from '../support/cleanup.ts';
import { type Client, connect, okOf } from '../support/client.ts';
import { faultProxy } from '../support/fault-proxy.ts';
import { type NodeSettings, type SpawnedNode, spawnNode } from '../support/node.ts';
import { handshake, RawSocket, valuesOf } from '../support/raw-socket.ts';
import { until, within } from '../support/until.ts';
import { get, metric } from './admin.ts';
import { CountingMember, publishNumbers } from './counting-member.ts';
import { carrying, enter, join, messagesOf, names, randomRoom } from './people.ts';

const redis = (): NodeSettings => ({ REDIS_URL: inject('redisUrl'), REDIS_PREFIX: inject('redisPrefix') });
const longMs = 600_000;

async function drainBegins(node: SpawnedNode): Promise<void> {
  node.kill('SIGTERM');
  await until(() => node.logs.some(({ msg }) => msg === 'draining'), 5_000, 'the node drains');
}

function refusesTcp(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectTcp(port, '127.0.0.1');
    onCleanup(() => socket.destroy());
    socket.on('connect', () => resolve(false));
    socket.on('error', () => resolve(true));
  });
}

async function expectExit(node: SpawnedNode, deadlineMs: number): Promise<void> {
  expect(await within(node.exited, deadlineMs, 'the node ends')).toEqual({ code: 0, signal: null });
}

test('at once: not ready, no new connections, 503 for a pending handshake; clients get no frame during the notice', async () => {
  const node = await spawnNode({ DRAIN_NOTICE_MS: 2_000, DRAIN_MS: 900 });
  const client = await join(node, 'user', 'room');
  const late = await RawSocket.connect(node.port);
  // The kernel has accepted the connection; this shows that the node has, too.
  await late.write(Buffer.from('GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n'));
  expect((await late.response()).status).toBe(200);
  const began = performance.now();
  await drainBegins(node);

  const readyz = await get(node, '/readyz');
  expect([readyz.status, await readyz.text()]).toEqual([503, 'draining\n']);
  expect((await get(node, '/healthz')).status).toBe(200);
  await until(() => refusesTcp(node.port), 1_000, 'the public port is closed');
  await late.write(handshake());
  const refusal = await late.response();
  // The body of the first answer comes before it.
  expect(refusal.head).toContain('HTTP/1.1 503 ');
  expect(valuesOf(refusal, 'retry-after')).toHaveLength(1);
  expect(await metric(node, 'gateway_handshakes_rejected_total{reason="draining"}')).toBe(1);
  expect(client.frames.some(({ type }) => type === 'reconnect')).toBe(false);

  expect(await client.next('reconnect')).toEqual({ type: 'reconnect', afterMs: 0, reason: 'draining' });
  expect(performance.now() - began).toBeGreaterThanOrEqual(1_990);
  expect(await client.closed).toMatchObject({ code: 4001 });
  await expectExit(node, 3_000);
});

test('each client has a slot, evenly spread; it is closed with 4001 a third of the time later, and served until then', async () => {
  const drainMs = 6_000;
  const node = await spawnNode({ ...redis(), DRAIN_MS: drainMs });
  const [room, count] = [randomRoom(), 40];
  const clients = await Promise.all(names('user', count).map((user) => join(node, user, room)));
  const unwelcome = await connect(node.url);
  await drainBegins(node);
  const began = performance.now();
  const sinceThen = () => performance.now() - began;
  const stays = clients.map(async (client) => {
    await client.next('reconnect', 2 * drainMs);
    const askedAt = sinceThen();
    // Every client is still served, also the last one.
    okOf(await client.request({ type: 'subscribe', room: randomRoom() }));
    await client.publish(room, 'still here');
    expect(await client.closed).toMatchObject({ code: 4001 });
    return { askedAt, closedAt: sinceThen() };
  });
  const times = await Promise.all(stays);
  expect(await unwelcome.closed).toMatchObject({ code: 4001 });
  expect(unwelcome.frames).toEqual([]);
  await expectExit(node, 4_000);

  const asked = times.map(({ askedAt }) => askedAt).sort((one, other) => one - other);
  const thirds = [0, 1, 2].map((third) => asked.filter((at) => Math.floor((3 * at) / ((drainMs * 2) / 3)) === third));
  for (const third of thirds) expect(third.length).toBeGreaterThan(count / 5);
  for (const { askedAt, closedAt } of times) {
    expect(closedAt - askedAt).toBeGreaterThan(drainMs / 3 - 500);
    expect(closedAt).toBeLessThan(drainMs + 1_500);
  }
}, 30_000);

test('it ends as soon as the last client has moved, and at once without clients', async () => {
  const settings = { DRAIN_NOTICE_MS: 300, DRAIN_MS: longMs };
  const node = await spawnNode(settings);
  const client = await enter(node, 'user');
  await drainBegins(node);
  await client.next('reconnect');
  await client.close();
  await expectExit(node, 5_000);

  const empty = await spawnNode({ ...settings, DRAIN_NOTICE_MS: longMs });
  await drainBegins(empty);
  await expectExit(empty, 5_000);
});

test('members that leave the old node once both nodes sent the same message miss nothing in a plain room', async () => {
  const leaving = await spawnNode({ ...redis(), DRAIN_NOTICE_MS: 200, DRAIN_MS: 3_000 });
  const staying = await spawnNode({ ...redis(), PUBLISH_RATE: 0 });
  const room = randomRoom();
  const before = await Promise.all(names('user', 20).map((user) => join(leaving, user, room)));
  const publisher = await enter(staying, 'publisher');
  let [sent, moved] = [0, 0];
  const publishing = (async () => {
    while (moved < before.length) await publisher.publish(room, sent++);
    await publisher.publish(room, 'last');
  })();
  const members = before.map(async (old, index) => {
    await old.next('reconnect', 10_000);
    const client = await join(staying, `user${index}`, room);
    // Until then the new node may be ahead of the old one.
    const idsOf = (each: Client) => messagesOf(each, room).map(({ id }) => id);
    await until(() => idsOf(old).some((id) => idsOf(client).includes(id)), 10_000, 'both nodes sent the same message');
    await old.close();
    moved++;
    await client.next(carrying(room, 'last'), 10_000);
    const byId = new Map([...messagesOf(old, room), ...messagesOf(client, room)].map(({ id, data }) => [id, data]));
    return [...byId.values()];
  });
  await drainBegins(leaving);
  const [received] = await Promise.all([Promise.all(members), publishing, expectExit(leaving, 10_000)]);
  expect(sent).toBeGreaterThan(20);
  for (const data of received) expect(data).toEqual([...Array.from({ length: sent }, (_, index) => index), 'last']);
}, 30_000);

describe('a publish under way', () => {
  async function behindProxy() {
    const proxy = await faultProxy(inject('redisUrl'));
    const node = await spawnNode({ ...redis(), REDIS_URL: proxy.url });
    return { proxy, node, client: await enter(node, 'user') };
  }

  test('gets its `ok` before its connection is closed', async () => {
    const { proxy, node, client } = await behindProxy();
    proxy.mode = 'blackhole';
    const answers = names('room', 5).map((room) => client.request({ type: 'publish', room, data: 1 }));
    okOf(await client.request({ type: 'unsubscribe', room: 'a' }));
    await drainBegins(node);
    proxy.mode = 'pass';
    for (const answer of answers) okOf(await answer);
    expect(await client.closed).toMatchObject({ code: 4001 });
    await expectExit(node, 5_000);
  });

  test('without an answer of Redis gets its error, and does not delay the end', async () => {
    const { proxy, node, client } = await behindProxy();
    proxy.mode = 'blackhole';
    const answer = client.request({ type: 'publish', room: 'room', data: 1 });
    okOf(await client.request({ type: 'unsubscribe', room: 'a' }));
    await drainBegins(node);
    expect(await answer).toMatchObject({ type: 'error', code: 'timeout' } satisfies Partial<GatewayFrame>);
    expect(await client.closed).toMatchObject({ code: 4001 });
    await expectExit(node, 5_000);
  });
});

test('stopped readers do not delay it, and readers that read get all their messages before 4001', async () => {
  // Each buffer holds far more than the kernel may still take; otherwise the kernel might take all, and the close frame
  // too.
  const node = await spawnNode({ PUBLISH_RATE: 0, MAX_BUFFERED_BYTES: 16_777_216 });
  const room = randomRoom();
  const readers = await Promise.all(names('stopped', 6).map((user) => CountingMember.join(node, user, [room])));
  for (const reader of readers) reader.stopReading();
  const publisher = await enter(node, 'publisher');
  let end = 0;
  const allWait = async () => {
    await publishNumbers(publisher, room, end, end + 40, 12_000);
    end += 40;
    return (await metric(node, 'gateway_slow_connections{policy="drop"}')) === readers.length;
  };
  await until(allWait, 15_000, 'all readers are stalled');
  const began = performance.now();
  await drainBegins(node);
  const [deaf = [], reading = []] = [readers.slice(0, 3), readers.slice(3)];
  for (const reader of reading) reader.readAgain();
  for (const reader of reading) {
    expect(await reader.closed).toMatchObject({ code: 4001 });
    expect(reader.heard(room).length).toBeGreaterThan(100);
  }
  await expectExit(node, 5_000);
  expect(performance.now() - began).toBeLessThan(6_000);
  for (const reader of deaf) reader.readAgain();
  for (const reader of deaf) expect((await reader.closed).code).toBe(1006);
}, 30_000);
