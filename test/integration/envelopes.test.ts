/**
 * Nodes of two releases beside each other: one writes the envelopes of this release, the other those of the next. Members of
 * both hear everything, in one order, and are told of no gap.
 */
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { readMessage } from '../../gateway/redis/envelope.ts';
import { RedisNames } from '../../gateway/redis/names.ts';
import { changedBuild } from '../support/changed-build.ts';
import { onCleanup } from '../support/cleanup.ts';
import type { Client } from '../support/client.ts';
import { builtProgram, type SpawnedNode, spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until } from '../support/until.ts';
import { metric } from './admin.ts';
import { roomsFile } from './files.ts';
import { dataOf, enter, join, messagesOf, randomRoom } from './people.ts';

const nextRelease = changedBuild({
  file: 'redis/envelope.js',
  place: 'writtenVersion = 1;',
  change: 'writtenVersion = 2;',
});
const redis = await ownRedis();
const rooms = roomsFile(
  { match: 'kept:*', history: { size: 100 }, subscribe: 'anyone' },
  { match: 'team:*', presence: true, joinLeave: true, subscribe: 'anyone' },
);
const settings = { REDIS_URL: redis.url, ROOMS_FILE: rooms, PUBLISH_RATE: 0 };
const nodes = (await Promise.all([builtProgram, nextRelease].map((program) => spawnNode(settings, program)))) as [
  SpawnedNode,
  SpawnedNode,
];

/** All that comes on the channel of a room from now on. */
async function channelOf(room: string): Promise<Buffer[]> {
  const envelopes: Buffer[] = [];
  const ear = new Redis(redis.url);
  onCleanup(() => ear.disconnect());
  ear.on('messageBuffer', (_, bytes: Buffer) => envelopes.push(bytes));
  await ear.subscribe(new RedisNames('rc', 0).channel(room));
  return envelopes;
}

const versionsOf = (envelopes: Buffer[]) => new Set(envelopes.map((bytes) => bytes.toString('latin1', 0, 1)));

async function untilAllCame(members: Client[], room: string, count: number): Promise<void> {
  await until(() => members.every((each) => dataOf(each, room).length === count), 10_000, `${count} messages`);
}

test.each(['plain', 'kept'])(
  'a %s room: every message reaches members of both, in one order, without a gap',
  async (kind) => {
    const room = randomRoom(kind);
    const envelopes = await channelOf(room);
    const members = await Promise.all(nodes.map((node, index) => join(node, `member${index}`, room)));
    const publishers = await Promise.all(nodes.map((node, index) => enter(node, `publisher${index}`)));
    const sent = Array.from({ length: 40 }, (_, index) => ({ index, text: `é😀"\\ ${'x'.repeat(index)}` }));
    for (const data of sent) {
      const key = data.index % 3 === 0 ? { key: `k${data.index}` } : {};
      await publishers[data.index % 2]?.publish(room, data, key);
    }
    await untilAllCame(members, room, sent.length);
    for (const member of members) {
      expect(dataOf(member, room)).toEqual(sent);
      expect(member.frames.filter(({ type }) => type === 'gap')).toEqual([]);
    }
    expect(messagesOf(members[0] as Client, room)).toEqual(messagesOf(members[1] as Client, room));
    for (const node of nodes) expect(await metric(node, 'gateway_messages_dropped_total{reason="unreadable"}')).toBe(0);

    // Both versions were on the way, and the next one says where data lies.
    expect(versionsOf(envelopes)).toEqual(new Set(['1', '2']));
    const found = envelopes.flatMap((bytes) => {
      const { frame, data } = readMessage(bytes) ?? {};
      return frame === undefined || data === undefined ? [] : [frame.subarray(data.start, data.start + data.length)];
    });
    const ofTheNext = sent.filter(({ index }) => index % 2 === 1);
    expect(found.map((bytes) => JSON.parse(Buffer.from(bytes).toString()))).toEqual(ofTheNext);
  },
);

test('presence: who comes and goes on a node of either is told on both, once, without a gap', async () => {
  const room = randomRoom('team');
  const envelopes = await channelOf(room);
  const watchers = await Promise.all(nodes.map((node, index) => join(node, `watcher${index}`, room)));
  await until(() => envelopes.length >= 2, 5_000, 'both watchers are told');
  for (const [index, node] of nodes.entries()) {
    const guest = await join(node, `guest${index}`, room);
    await until(() => watchers.every(hasSeen('join', `guest${index}`)), 5_000, 'it is told that the guest came');
    guest.socket.close();
    await until(() => watchers.every(hasSeen('leave', `guest${index}`)), 5_000, 'it is told that the guest went');
  }
  for (const watcher of watchers) expect(watcher.frames.filter(({ type }) => type === 'gap')).toEqual([]);
  expect(versionsOf(envelopes)).toEqual(new Set(['1', '2']));
});

function hasSeen(type: 'join' | 'leave', user: string): (client: Client) => boolean {
  return ({ frames }) =>
    frames.filter(
      (frame) => frame.type === type && frame.members.some((member) => 'user' in member && member.user === user),
    ).length === 1;
}
