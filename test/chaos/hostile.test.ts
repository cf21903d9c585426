/**
 * Clients that mean harm, thousands at once and of many kinds, beside 200 good ones: the good ones lose nothing, and afterwards the
 * node has its memory and its rooms back. One kind alone: hostile-input.test.ts and limits-frames.test.ts in test/integration.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { clientFrame, handshake } from '../../gateway/cli/load/frames.ts';
import { metric } from '../integration/admin.ts';
import { onCleanup } from '../support/cleanup.ts';
import { spawnNode, usualFlags } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { httpRequest } from '../support/raw-socket.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { crowd } from './crowd.ts';

const many = 1_000;
const some = 200;
const good = 200;
const seconds = 20;
const atOnce = 100;
const memoryBackMs = 60_000;

/** Begins with `first`; `going` is called when the node has answered, and again each time it says something. */
async function attacker(port: number, first: string | Buffer, going?: (socket: Socket) => void): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  onCleanup(() => void socket.destroy());
  socket.on('error', () => undefined);
  await Promise.race([once(socket, 'connect'), once(socket, 'close')]);
  if (going === undefined) socket.pause();
  else socket.on('data', () => going(socket));
  socket.write(first);
  return socket;
}

async function attack(count: number, begin: (index: number) => Promise<Socket>): Promise<Socket[]> {
  const all: Socket[] = [];
  while (all.length < count) {
    const length = Math.min(atOnce, count - all.length);
    all.push(...(await Promise.all(Array.from({ length }, (_, index) => begin(all.length + index)))));
  }
  return all;
}

const subscribe = (room: string) => clientFrame(JSON.stringify({ type: 'subscribe', id: 1, room }));
const unsubscribe = (room: string) => clientFrame(JSON.stringify({ type: 'unsubscribe', room }));

test('of 4,000 hostile connections and 400 hostile requests 200 good clients notice no loss, and memory comes back', async () => {
  const redis = await ownRedis();
  // The collector runs as often as it must for the memory to show what is kept.
  const node = await spawnNode({ REDIS_URL: redis.url, MAX_CONNECTIONS_PER_USER: 0 }, undefined, [
    ...usualFlags,
    '--max-old-space-size=512',
  ]);
  const { port } = node;
  const talking = crowd({ port, name: 'good', connections: good, rooms: 20 });
  await talking.connect();
  const talk = (forSeconds: number) => talking.run({ messagesPerSecond: 40, warmSeconds: 0, seconds: forSeconds });
  expect(await talk(2)).toMatchObject({ fault: undefined });
  const connections = () => metric(node, 'gateway_connections');
  const heap = () => metric(node, 'nodejs_heap_size_used_bytes');
  const before = await connections();

  const token = await mintToken({ sub: 'mallory', rooms: { '*': ['subscribe', 'publish'] } });
  const upgrade = handshake('/ws', 'node', [`Authorization: Bearer ${token}`]);
  const withToken = { Host: 'node', Authorization: `Bearer ${token}` };
  const attacks = async (): Promise<Socket[]> => {
    const garbage = await attack(many, (index) => {
      const bytes = Buffer.concat([upgrade, Buffer.from([0xff, index & 0xff, 0x00, 0x7f])]);
      return attacker(port, bytes, (socket) => socket.write(clientFrame(`garbage ${index} {"type":`)));
    });
    const deaf = await attack(many, async (index) => {
      const socket = await attacker(port, upgrade);
      socket.write(subscribe(`good:${index % 20}`));
      return socket;
    });
    const silent = await attack(many, () => attacker(port, handshake('/ws', 'node', []), () => undefined));
    const flapping = await attack(many, (index) =>
      attacker(port, upgrade, (socket) =>
        socket.write(Buffer.concat([subscribe(`f${index}`), unsubscribe(`f${index}`)])),
      ),
    );
    const posts = await attack(some, () => {
      const headers = { ...withToken, 'Content-Type': 'application/json', 'Content-Length': '1000' };
      return attacker(port, httpRequest({ method: 'POST', path: '/rooms/good:1/messages', headers }), () => undefined);
    });
    const streams = await attack(some, (index) =>
      attacker(port, httpRequest({ path: `/rooms/good:${index % 20}/events`, headers: withToken })),
    );
    return [...garbage, ...deaf, ...silent, ...flapping, ...posts, ...streams];
  };
  const [trial, hostile] = await Promise.all([talk(seconds), attacks()]);
  process.stdout.write(`p99 of the good ${(trial.p99Us / 1_000).toFixed(0)} ms\n`);
  expect(trial).toMatchObject({ fault: undefined, lost: 0 });

  for (const socket of hostile) socket.destroy();
  await until(async () => (await connections()) === before, memoryBackMs, 'the hostile connections are gone');
  // Once more, so that what is grown once (tables, code) is not taken for a leak.
  const afterFirst = await heap();
  for (const socket of await attacks()) socket.destroy();
  await until(async () => (await connections()) === before, memoryBackMs, 'the hostile connections are gone again');
  expect(await talk(2)).toMatchObject({ fault: undefined });
  await until(async () => (await heap()) < 1.1 * afterFirst, memoryBackMs, 'the memory is back');
  await until(async () => (await metric(node, 'gateway_rooms')) <= 20, memoryBackMs, 'the rooms are gone');
}, 300_000);

test.each([
  [1, 100_000],
  [50, 10_000],
])(
  '%i connections that send %i publishes at once are cut, and 200 others lose nothing',
  async (flooders, publishes) => {
    const redis = await ownRedis();
    const node = await spawnNode({
      REDIS_URL: redis.url,
      PUBLISH_RATE: 0,
      REQUEST_RATE: 0,
      MAX_CONNECTIONS_PER_USER: 0,
    });
    const talking = crowd({ port: node.port, name: 'good', connections: good, rooms: 20 });
    await talking.connect();
    const token = await mintToken({ sub: 'mallory', rooms: { flood: ['subscribe', 'publish'] } });
    const one = clientFrame(JSON.stringify({ type: 'publish', room: 'flood', data: 'x' }));
    const flood = Buffer.concat(Array.from({ length: publishes }, () => one));
    const trial = talking.run({ messagesPerSecond: 40, warmSeconds: 0, seconds: 10 });
    const upgrade = handshake('/ws', 'node', [`Authorization: Bearer ${token}`]);
    const sockets = await attack(flooders, async () => {
      const socket = connect(node.port, '127.0.0.1');
      onCleanup(() => void socket.destroy());
      socket.on('error', () => undefined);
      socket.write(upgrade);
      await once(socket, 'data');
      socket.resume();
      return socket;
    });
    const closed = sockets.map((socket) => once(socket, 'close'));
    for (const socket of sockets) socket.write(flood);
    await Promise.all(closed);
    expect(await metric(node, 'gateway_connections_closed_total{code="4007"}')).toBeGreaterThan(flooders / 2);
    // 4005 would say that the node took itself for one that had stood still.
    expect(await metric(node, 'gateway_connections_closed_total{code="4005"}')).toBe(0);
    expect(await trial).toMatchObject({ fault: undefined, lost: 0 });
  },
  120_000,
);
