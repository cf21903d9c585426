/**
 * The seams for other protocols: a node gets a toy dialect and a toy transport besides the built-in ones, and their
 * clients are members like all others.
 */
import { expect, test } from 'vitest';
import { roomcast } from '../../gateway/protocol/roomcast/dialect.ts';
import { connect } from '../support/client.ts';
import { startNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { metric } from './admin.ts';
import { roomsFile } from './files.ts';
import { dataOf, enter, join, randomRoom, tokenOf } from './people.ts';
import { ToyClient, toyDialect } from './toy-dialect.ts';
import { LineClient, ToyTransport } from './toy-transport.ts';

const kept = { match: 'kept:*', history: {}, presence: true, joinLeave: true };
const all = { '*': ['subscribe', 'publish', 'history', 'presence'] };

async function start(...rules: object[]) {
  const toy = toyDialect();
  const lines = new ToyTransport(roomcast);
  const node = await startNode(
    { ROOMS_FILE: roomsFile(kept, ...rules), PUBLISH_RATE: 0, MAX_BUFFERED_BYTES: 262_144, DRAIN_MS: 300 },
    { dialects: [roomcast, toy], transports: [lines] },
  );
  return { toy, lines, node };
}

test.each(['room', 'kept'])(
  'members of every dialect and transport get each message of a %s: once, in one order, in their own form',
  async (topic) => {
    const { lines, node } = await start();
    const room = randomRoom(topic);
    const native = await join(node, 'native', room);
    const toy = await ToyClient.connect(node.url, await tokenOf('toy'));
    const line = await LineClient.connect(lines.port, await tokenOf('line'));
    toy.send('subscribe', 's', room);
    line.send({ type: 'subscribe', id: 's', room });
    await Promise.all([toy.next('ok', 's'), line.next((frame) => frame.type === 'ok')]);
    const published = Array.from({ length: 60 }, (_, index) => index);
    for (const data of published) {
      if (data % 3 === 0) native.send({ type: 'publish', id: `p${data}`, room, data });
      if (data % 3 === 1) toy.send('publish', `p${data}`, room, data);
      if (data % 3 === 2) line.send({ type: 'publish', id: `p${data}`, room, data });
    }
    const toyHeard = () => toy.heard.flatMap(([verb, , , data]) => (verb === 'message' ? [Number(data)] : []));
    const lineHeard = () => line.frames.flatMap((frame) => (frame.type === 'message' ? [frame.data] : []));
    const haveAll = () => [toyHeard(), lineHeard(), dataOf(native, room)].every(({ length }) => length >= 60);
    await until(haveAll, 5_000, 'all have all messages');
    expect([...dataOf(native, room)].sort((one, other) => Number(one) - Number(other))).toEqual(published);
    expect(toyHeard()).toEqual(dataOf(native, room));
    expect(lineHeard()).toEqual(dataOf(native, room));
    expect(toy.heard.filter(([verb]) => verb === 'ok')).toHaveLength(21);
  },
);

test('a message is encoded once per dialect for any number of members, and never for a dialect without members', async () => {
  const { toy, node } = await start();
  const [spoken, native] = [randomRoom(), randomRoom()];
  const publisher = await join(node, 'publisher', native);
  const members = await Promise.all([1, 2, 3].map(async () => ToyClient.connect(node.url, await tokenOf('toy'))));
  for (const member of members) {
    member.send('subscribe', 's', spoken);
    await member.next('ok', 's');
  }
  for (let data = 0; data < 10; data++) {
    await publisher.publish(native, data);
    await publisher.publish(spoken, data);
  }
  for (const member of members) await member.next('message', spoken, '', '9');
  expect(toy.encoded).toBe(10);
});

test('history, presence, joins, refusals and a resume work in every dialect', async () => {
  const { node } = await start();
  const room = randomRoom('kept');
  const toy = await ToyClient.connect(node.url, await mintToken({ sub: 'toy', rooms: all }));
  toy.send('subscribe', 's', room);
  const [, , epoch] = await toy.next('ok', 's');
  for (const data of [7, 8, 9]) toy.send('publish', `p${data}`, room, data);
  await toy.next('ok', 'p9', epoch ?? '', '3');
  const native = await join(node, 'native', room);
  expect(await toy.next('join', room)).toEqual(['join', room, 'native']);
  await native.close();
  expect(await toy.next('leave', room)).toEqual(['leave', room, 'native']);
  toy.send('history', 'h', room);
  expect(await toy.next('history', 'h')).toEqual(['history', 'h', '7', '8', '9']);
  toy.send('presence', 'w', room);
  expect(await toy.next('presence', 'w')).toEqual(['presence', 'w', '1', 'toy']);
  toy.send('publish', 'no', '@somebody', 1);
  expect(await toy.next('error', 'no')).toEqual(['error', 'no', 'forbidden']);

  const resumed = await ToyClient.connect(node.url, await tokenOf('again'));
  resumed.send('subscribe', 's', room, epoch, 1);
  await resumed.next('message', room, '3');
  expect(resumed.heard.slice(1)).toEqual([
    ['ok', 's', epoch, '1', 'true'],
    ['message', room, '2', '8'],
    ['message', room, '3', '9'],
  ]);
});

test('a slow reader that is not a WebSocket gets a gap with the number of missed messages, and goes live again', async () => {
  const { lines, node } = await start({ match: 'dropping:*', slow: 'drop' });
  const room = randomRoom('dropping');
  const line = await LineClient.connect(lines.port, await tokenOf('line'));
  line.send({ type: 'subscribe', id: 's', room });
  await line.next((frame) => frame.type === 'ok');
  const publisher = await enter(node, 'publisher');
  line.tcp.pause();
  let sent = 0;
  await until(
    async () => {
      for (let burst = 0; burst < 40; burst++)
        await publisher.publish(room, { number: sent++, fill: 'x'.repeat(12_000) });
      return (await metric(node, 'gateway_slow_connections{policy="drop"}')) === 1;
    },
    20_000,
    'the reader is stalled',
  );
  for (let more = 0; more < 5; more++) await publisher.publish(room, { number: sent++ });
  line.tcp.resume();
  const gap = await line.next((frame) => frame.type === 'gap');
  await publisher.publish(room, { number: sent });
  await line.next((frame) => frame.type === 'message' && (frame.data as { number: number }).number === sent);
  const heard = line.frames.filter(({ type }) => type === 'message');
  expect(heard.length + ((gap as { count?: number }).count ?? 0)).toBe(sent + 1);
}, 40_000);

test('a client that offers no dialect of this node is refused with 400', async () => {
  const { node } = await start();
  await expect(connect(node.url, { protocols: ['other.v1'] })).rejects.toMatchObject({ status: 400 });
});

test('a drain asks clients of every dialect and transport to move, and closes those that stay', async () => {
  const { lines, node } = await start();
  const toy = await ToyClient.connect(node.url, await tokenOf('toy'));
  const line = await LineClient.connect(lines.port, await tokenOf('line'));
  await node.stop();
  expect(await toy.next('reconnect')).toEqual(['reconnect', 'draining']);
  expect(await line.next((frame) => frame.type === 'reconnect')).toMatchObject({ reason: 'draining' });
  await until(() => toy.closed && line.tcp.readableEnded, 5_000, 'both are closed');
});
