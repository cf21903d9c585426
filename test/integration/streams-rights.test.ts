/**
 * Streams whose rights or room change while they are open, and streams over TLS, where the library's socket behaves
 * otherwise than without.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { connectWelcomed } from '../support/client.ts';
import { EventStream } from '../support/event-stream.ts';
import { spawnNode, startNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { metric, reload } from './admin.ts';
import { roomsFile, selfSigned } from './files.ts';
import { randomRoom, tokenOf } from './people.ts';

test('a stream whose right is taken away, or whose room changes its kind, is told so and ends', async () => {
  const open = { match: '*', subscribe: 'user' };
  const file = roomsFile(open);
  const node = await spawnNode({ ROOMS_FILE: file });
  const token = await mintToken({ sub: 'reader' });
  const [lost, turned, kept] = [randomRoom('lost'), randomRoom('turned'), randomRoom('kept')];
  const streams = await Promise.all([lost, turned, kept].map((room) => EventStream.open(node, room, { token })));
  await reload(node, () => {
    const rules = [{ match: 'lost:*' }, { ...open, match: 'turned:*', history: {} }, open];
    writeFileSync(`${file}.new`, JSON.stringify({ rooms: rules }));
    renameSync(`${file}.new`, file);
  });
  expect((await streams[0]?.next('unsubscribed'))?.data).toMatchObject({ room: lost, reason: 'revoked' });
  expect((await streams[1]?.next('unsubscribed'))?.data).toMatchObject({ room: turned, reason: 'changed' });
  await streams[0]?.untilEnded();
  await streams[1]?.untilEnded();
  expect([streams[0]?.complete, streams[2]?.ended]).toEqual([true, false]);
  const refused = await EventStream.request(node, lost, { token });
  expect(refused.response.statusCode).toBe(403);
  const again = await EventStream.open(node, turned, { token });
  expect(again.events[0]?.data).toMatchObject({ offset: 0 });
  expect(await metric(node, 'gateway_connections_closed_total{code="1000"}')).toBeGreaterThanOrEqual(2);
  await until(async () => (await metric(node, 'gateway_streams')) === 2, 5_000, 'two streams are left');
});

test('after the process stood still, every stream ends with 4005, and a publish that waited is refused', {
  timeout: 30_000,
}, async () => {
  const node = await spawnNode({ ROOMS_FILE: roomsFile({ match: 'kept:*', history: {} }) });
  const [room, token] = [randomRoom('kept'), await tokenOf('reader')];
  const stream = await EventStream.open(node, room, { token });
  node.kill('SIGSTOP');
  const stoppedAt = performance.now();
  const post = (data: number) =>
    fetch(`http://127.0.0.1:${node.port}/rooms/${room}/messages`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ data }),
    });
  const waited = [post(1), post(2)];
  await until(() => performance.now() - stoppedAt > 5_600, 10_000, 'it has stood still for long enough');
  node.kill('SIGCONT');
  expect((await stream.next('close')).data).toMatchObject({ code: 4005 });
  for (const response of await Promise.all(waited)) {
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '5']);
  }
  await until(async () => (await post(4)).ok, 5_000, 'it takes messages');
  const again = await EventStream.open(node, room, { token, lastEventId: stream.lastEventId });
  await until(() => again.heard.includes(4), 5_000, 'the fresh message');
  expect(again.heard).not.toContain(1);
  expect(again.heard).not.toContain(2);
});

test('over TLS a stream that stands still and reads again misses nothing', { timeout: 60_000 }, async () => {
  const { certificate, key } = selfSigned();
  const ca = readFileSync(certificate, 'utf8');
  const node = await startNode({
    ...{ TLS_CERT_FILE: certificate, TLS_KEY_FILE: key, PUBLISH_RATE: 0, MAX_BUFFERED_BYTES: 262_144 },
    ROOMS_FILE: roomsFile({ match: 'kept:*', history: { size: 10_000, maxBytes: 1_073_741_824 } }),
  });
  const room = randomRoom('kept');
  const stream = await EventStream.open(node, room, { token: await tokenOf('reader'), ca });
  const publisher = await connectWelcomed(node.url, await tokenOf('publisher'), { ca });
  stream.pause();
  let count = 0;
  const stalled = async () => {
    for (let burst = 0; burst < 40; burst++) await publisher.publish(room, [count++, 'x'.repeat(12_000)]);
    return (await metric(node, 'gateway_slow_connections{policy="catch-up"}')) === 1;
  };
  await until(stalled, 20_000, 'the stream is put aside');
  stream.resume();
  await until(() => stream.heard.length >= count, 20_000, 'all messages');
  expect(stream.heard.map((data) => (data as [number])[0])).toEqual(
    Array.from({ length: count }, (_, number) => number),
  );
  for (let burst = 0; burst < 20; burst++) await publisher.publish(room, [count++, '']);
  await until(() => stream.heard.length >= count, 5_000, 'live messages');
  expect(await metric(node, 'gateway_buffered_bytes')).toBe(0);
});
