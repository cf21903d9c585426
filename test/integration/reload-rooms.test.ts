/**
 * Room rules that change while nodes run: new rights hold at once, nobody is cut, and whoever cannot stay in a room as it
 * was is told so. A file with mistakes changes nothing.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { expect, inject, test } from 'vitest';
import type { GatewayFrame } from '../../shared/protocol.ts';
import type { Client } from '../support/client.ts';
import { connectWelcomed, errorOf, okOf } from '../support/client.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { metric, reload } from './admin.ts';
import { roomsFile } from './files.ts';
import { carrying, dataOf, randomRoom } from './people.ts';
import { run } from './program.ts';

const open = { match: '*', subscribe: 'user', publish: 'user' };
const reloads = (result: string) => `gateway_reloads_total{what="rooms",result="${result}"}`;

/** In one step: a node may be reading. */
function write(file: string, ...rules: object[]): void {
  writeFileSync(`${file}.new`, JSON.stringify({ rooms: rules }));
  renameSync(`${file}.new`, file);
}

/** Two nodes on one Redis with one file of rules. */
async function startNodes(...rules: object[]) {
  const file = roomsFile(...rules);
  const settings = { REDIS_URL: inject('redisUrl'), REDIS_PREFIX: inject('redisPrefix'), ROOMS_FILE: file };
  const nodes = await Promise.all([spawnNode(settings), spawnNode(settings)]);
  const change = async (...changed: object[]) => {
    const told = await Promise.all(nodes.map((node) => reload(node, () => write(file, ...changed))));
    for (const line of told) expect(line).toMatchObject({ what: 'rooms', rules: changed.length });
  };
  return { nodes: nodes as [SpawnedNode, SpawnedNode], file, change };
}

/** Without a grant: the rules alone count. */
async function enter(node: SpawnedNode, user: string): Promise<Client> {
  return connectWelcomed(node.url, await mintToken({ sub: user }));
}

test('new rights apply at once; clients without the right to a room leave it, and others notice nothing', async () => {
  const { nodes, change } = await startNodes(open);
  const [ann, bob] = [await enter(nodes[0], 'ann'), await enter(nodes[1], 'bob')];
  const [kept, lost, later] = [randomRoom('kept'), randomRoom('lost'), randomRoom('later')];
  for (const room of [kept, lost]) for (const client of [ann, bob]) await client.subscribe(room);

  await change({ ...open, match: 'kept:*' }, { match: 'lost:*', publish: 'user' });
  for (const client of [ann, bob]) {
    expect(await client.next('unsubscribed')).toEqual({ type: 'unsubscribed', room: lost, reason: 'revoked' });
    expect(errorOf(await client.request({ type: 'subscribe', room: lost })).code).toBe('forbidden');
    expect(errorOf(await client.request({ type: 'publish', room: later, data: 1 })).code).toBe('forbidden');
  }
  await ann.publish(lost, 'to nobody');
  await ann.publish(kept, 'to both');
  for (const client of [ann, bob]) {
    await client.next(carrying(kept, 'to both'));
    expect(dataOf(client, lost)).toEqual([]);
    expect(client.frames.filter(({ type }) => type === 'unsubscribed')).toHaveLength(1);
  }

  await change(open);
  for (const client of [ann, bob]) await client.subscribe(lost);
  await bob.publish(lost, 'again');
  await ann.next(carrying(lost, 'again'));
});

test('members leave a room that becomes another kind with `changed`, and find the new kind when they come back', async () => {
  const { nodes, change } = await startNodes(open);
  const [ann, bob] = [await enter(nodes[0], 'ann'), await enter(nodes[1], 'bob')];
  const [room, other] = [randomRoom('turned'), randomRoom('other')];
  for (const client of [ann, bob]) {
    expect(await client.subscribe(room)).not.toHaveProperty('epoch');
    await client.subscribe(other);
  }
  const everybodyComesBack = async (since?: object) => {
    const answers = [];
    for (const client of [ann, bob]) {
      expect(await client.next('unsubscribed')).toEqual({ type: 'unsubscribed', room, reason: 'changed' });
      answers.push(okOf(await client.request({ type: 'subscribe', room, since })));
    }
    return answers;
  };

  const kept = { ...open, match: 'turned:*', history: {}, presence: true, joinLeave: true };
  await change(kept, open);
  const [position] = await everybodyComesBack();
  expect(position).toMatchObject({ offset: 0 });
  expect(await ann.publish(room, 'kept')).toMatchObject({ epoch: position?.epoch, offset: 1 });
  await bob.next(carrying(room, 'kept'));
  expect(await bob.request({ type: 'history', room })).toMatchObject({ messages: [{ data: 'kept' }] });
  await until(async () => okOf(await bob.request({ type: 'presence', room })).users === 2, 5_000, 'both are present');
  const cleo = await enter(nodes[0], 'cleo');
  await cleo.subscribe(room);
  await bob.next((frame) => frame.type === 'join' && JSON.stringify(frame).includes('cleo'));
  await cleo.close();

  await change(open);
  const since = { epoch: position?.epoch, offset: 1 };
  // A resume gets recovered: false, so that the client treats the break as a gap.
  for (const answer of await everybodyComesBack(since)) {
    expect(answer).toMatchObject({ recovered: false });
    expect(answer).not.toHaveProperty('epoch');
  }
  expect(errorOf(await bob.request({ type: 'presence', room })).code).toBe('forbidden');
  await bob.publish(room, 'plain');
  expect(await ann.next(carrying(room, 'plain'))).toHaveProperty('id');

  await ann.publish(other, 'as ever');
  await bob.next(carrying(other, 'as ever'));
  expect([ann, bob].map(({ frames }) => frames.filter(({ type }) => type === 'unsubscribed').length)).toEqual([2, 2]);
}, 30_000);

test('a client that left a room while joinLeave was off gets no frames when it is on again', async () => {
  const telling = { ...open, presence: true, joinLeave: true };
  const { nodes, change } = await startNodes(telling);
  const [ann, bob] = [await enter(nodes[0], 'ann'), await enter(nodes[0], 'bob')];
  const room = randomRoom();
  for (const client of [ann, bob]) await client.subscribe(room);
  await change(open);
  for (const client of [ann, bob]) await client.next('unsubscribed');
  await change(telling);
  await bob.subscribe(room);
  const cleo = await enter(nodes[0], 'cleo');
  await cleo.subscribe(room);
  const cleoJoins = (frame: GatewayFrame) => frame.type === 'join' && JSON.stringify(frame).includes('cleo');
  await bob.next(cleoJoins);
  okOf(await ann.request({ type: 'unsubscribe', room: randomRoom() }));
  expect(ann.frames.filter(cleoJoins)).toEqual([]);
});

test('the history of a room follows the new rule, and its members stay', async () => {
  const rule = (size: number) => ({ ...open, history: { size } });
  const { nodes, change } = await startNodes(rule(10));
  const ann = await enter(nodes[0], 'ann');
  const room = randomRoom();
  await ann.subscribe(room);
  for (let data = 1; data <= 5; data++) await ann.publish(room, data);
  await change(rule(2));
  await ann.publish(room, 6);
  await ann.next(carrying(room, 6));
  expect(await ann.request({ type: 'history', room })).toMatchObject({
    first: 5,
    messages: [{ data: 5 }, { data: 6 }],
  });
  expect(ann.frames.some(({ type }) => type === 'unsubscribed')).toBe(false);
});

test('a file with mistakes changes nothing, and every mistake is logged', async () => {
  const { nodes, file } = await startNodes(open);
  const [node] = nodes;
  const ann = await enter(node, 'ann');
  const room = randomRoom();
  await ann.subscribe(room);
  const refused = async (content: string, ...mistakes: RegExp[]) => {
    const told = { level: 'error', files: [file], mistakes: mistakes.map((each) => expect.stringMatching(each)) };
    expect(await reload(node, () => writeFileSync(file, content))).toMatchObject(told);
    await ann.publish(room, content.length);
    await ann.next(carrying(room, content.length));
    okOf(await ann.request({ type: 'subscribe', room: randomRoom() }));
  };
  await refused('{"rooms": [', /is not JSON/);
  const bad = { rooms: [{ match: 'a b' }, { match: 'a', slow: 'quick' }, { ...open, publish: 'all' }] };
  await refused(JSON.stringify(bad), /rooms\.0\.match/, /rooms\.1\.slow/, /rooms\.2\.publish/);
  await refused('{}', /rooms/);
  expect(await metric(node, reloads('refused'))).toBeGreaterThanOrEqual(3);
  expect(ann.frames.some(({ type }) => type === 'unsubscribed')).toBe(false);
});

test('a change is noticed without a signal, and logged once', async () => {
  const { nodes, file } = await startNodes(open);
  const clients = await Promise.all(nodes.map((node) => enter(node, 'ann')));
  write(file);
  for (const client of clients) {
    const refused = async () =>
      (await client.request({ type: 'publish', room: randomRoom(), data: 1 })).type === 'error';
    await until(refused, 10_000, 'nothing is allowed any more');
  }
  for (const node of nodes) {
    expect(node.logs.filter(({ what }) => what === 'rooms')).toMatchObject([{ level: 'info', rules: 0 }]);
    expect(await metric(node, reloads('taken'))).toBe(1);
  }
});

test('the demo rooms of development mode stay after the new rules', async () => {
  const file = roomsFile();
  const program = run({ GATEWAY_PORT: '0', GATEWAY_ADMIN_PORT: '0', GATEWAY_ROOMS_FILE: file });
  const printed = (pattern: RegExp) => until(() => pattern.exec(program.output())?.[1], 10_000, `${pattern}`);
  const url = `ws://127.0.0.1:${await printed(/127\.0\.0\.1:(\d+)/)}/ws`;
  const client = await connectWelcomed(url, `${await printed(/Token:\s+(\S+)/)}`);
  await client.subscribe('demo:before');
  write(file, { ...open, match: 'other' });
  program.kill('SIGHUP');
  await printed(/("read again[^"]*")/);
  await client.publish('other', 'by the new rule');
  expect(await client.subscribe('demo:after')).toMatchObject({ offset: 0 });
  await client.publish('demo:before', 'still here');
  await client.next(carrying('demo:before', 'still here'));
});
