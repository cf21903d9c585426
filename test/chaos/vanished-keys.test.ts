/**
 * Keys that nodes write, deleted or replaced by another type, while their node lives and when it is killed. No
 * node ends, no other room notices; the log names a key of another type, which is deleted; and all is right again.
 * Three nodes as processes and a Redis for each test. Keys of leases alone: test/chaos/presence-keys.test.ts.
 */
import type { Redis } from 'ioredis';
import { describe, expect, test } from 'vitest';
import { redisClient } from '../contract/redis-node.ts';
import { apiKey, call } from '../integration/api.ts';
import { roomsFile } from '../integration/files.ts';
import { join } from '../integration/people.ts';
import { type Client, connectWelcomed } from '../support/client.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { WebhookReceiver } from '../support/webhook-receiver.ts';

/** 10 s, and a second until the next beat. */
const rightAgainMs = 11_000;

/** Keys of a room. */
const names = ['members', 'users', 'counted', 'nodes', 'ended', 'position', 'messages'];

/** `replaced`: by a list, which no key is. */
const faults = ['deleted', 'replaced'] as const;

async function inflict(admin: Redis, key: string, fault: (typeof faults)[number]): Promise<void> {
  // In one step: nodes write it again.
  if (fault === 'replaced') await admin.multi().del(key).rpush(key, 'item').exec();
  else await admin.del(key);
}

async function cluster() {
  const redis = await ownRedis();
  const receiver = await new WebhookReceiver().start();
  const open = { subscribe: 'user', publish: 'user', presence: true, joinLeave: true };
  const settings = {
    ...receiver.settings,
    REDIS_URL: redis.url,
    API_KEY: apiKey,
    REQUEST_RATE: 0,
    ROOMS_FILE: roomsFile({ match: 'k:*', ...open, history: {} }),
  };
  const start = (index: number) => spawnNode({ ...settings, NODE_ID: `n${index}` });
  const nodes = (await Promise.all([start(0), start(1), start(2)])) as [SpawnedNode, SpawnedNode, SpawnedNode];
  const admin = redisClient(redis.url);
  const told = (key: string) =>
    nodes.some(({ logs }) =>
      logs.some(({ msg = '', reason, key: of }) => msg.includes('of another type') && [reason, of].includes(key)),
    );
  return { admin, receiver, nodes, told };
}

async function usersOf(client: Client, room: string): Promise<string> {
  const answer = await client.request({ type: 'presence', room });
  if (answer.type !== 'ok') return answer.type;
  return [...new Set(answer.members?.map(({ user }) => user))].toSorted().join();
}

async function comers(node: SpawnedNode, user: string, rooms: string[]): Promise<Client> {
  const client = await connectWelcomed(
    node.url,
    await mintToken({ sub: user, rooms: { '*': ['presence', 'history'] } }),
  );
  for (const room of rooms) await client.subscribe(room);
  return client;
}

describe.each(faults)('keys of rooms: %s', (fault) => {
  test.each(['lives', 'is killed'])(
    'and the node %s: members, history and webhooks are right again',
    async (fate) => {
      const { admin, receiver, nodes, told } = await cluster();
      const [dying, living, third] = nodes;
      const rooms = names.map((name) => `k:${name}`);
      const ann = await comers(dying, 'ann', [...rooms, 'k:other']);
      const bob = await comers(living, 'bob', [...rooms, 'k:other']);
      for (const room of [...rooms, 'k:other']) await ann.publish(room, 'before');
      await until(() => receiver.story('k:other').includes('member.joined bob'), 10_000, 'all are told');
      const keyOf = (name: string) => `rc:{k:${name}}:${name}`;
      for (const name of names) await inflict(admin, keyOf(name), fault);
      if (fate === 'is killed') dying.kill('SIGKILL');

      expect((await bob.publish('k:other', 'other')).offset).toBe(2);
      const carol = await comers(third, 'carol', ['k:other']);
      // Whoever uses a room finds a key of another type in it.
      for (const name of names) {
        await carol.request({ type: 'subscribe', room: `k:${name}` });
        await carol.request({ type: 'presence', room: `k:${name}` });
        await carol.request({ type: 'history', room: `k:${name}`, limit: 1 });
      }
      for (const name of fault === 'replaced' ? names : []) {
        await until(() => told(keyOf(name)), rightAgainMs, `the log names ${keyOf(name)}`);
      }
      await carol.request({ type: 'unsubscribe', room: 'k:other' });
      for (const room of rooms) await carol.request({ type: 'unsubscribe', room });
      const there = fate === 'lives' ? 'ann,bob' : 'bob';
      for (const room of [...rooms, 'k:other']) {
        await until(async () => (await usersOf(bob, room)) === there, rightAgainMs, `${there} are in ${room}`);
        const { epoch, offset } = await until(() => bob.publish(room, 'after'), 5_000, `${room} takes messages`);
        await bob.next((frame) => frame.type === 'message' && frame.room === room && frame.data === 'after');
        expect([room, typeof epoch, (offset ?? 0) > 0]).toEqual([room, 'string', true]);
      }
      await bob.close();
      if (fate === 'lives') await ann.close();
      for (const room of [...rooms, 'k:other']) {
        await until(
          () => receiver.story(room).at(-1) === 'room.vacated',
          2 * rightAgainMs,
          `the end of ${room} is told`,
        );
      }
      for (const { errors } of nodes) expect(errors()).toBe('');
    },
    180_000,
  );
});

test('keys of rooms in which only the killed node has members: deleted, and the rooms are vacated', async () => {
  const { admin, receiver, nodes } = await cluster();
  const rooms = names.map((name) => `k:${name}`);
  await comers(nodes[0], 'ann', rooms);
  await until(() => rooms.every((room) => receiver.story(room).includes('room.occupied')), 10_000, 'all are told');
  for (const name of names) await inflict(admin, `rc:{k:${name}}:${name}`, 'deleted');
  nodes[0].kill('SIGKILL');
  for (const room of rooms) {
    await until(() => receiver.story(room).includes('room.vacated'), 2 * rightAgainMs, `${room} is vacated`);
    expect(receiver.story(room).filter((line) => line === 'room.vacated')).toHaveLength(1);
  }
}, 60_000);

describe('all keys are deleted at once (FLUSHALL)', () => {
  const room = 'k:alone';
  async function alone() {
    const world = await cluster();
    await comers(world.nodes[0], 'ann', [room]);
    await until(() => world.receiver.story(room).includes('member.joined ann'), 10_000, 'she is told');
    const beats = async () => Object.entries(await world.admin.hgetall('rc:nodes'));
    await until(async () => (await beats()).length === 3, rightAgainMs, 'all have a lease');
    const before = Object.fromEntries(await beats());
    const haveSeenAll = async () =>
      (await beats()).every(([lease, beat]) => Number(beat) >= Number(before[lease] ?? 0) + 2);
    await until(haveSeenAll, rightAgainMs, 'all have seen the leases of all');
    return world;
  }

  test('and a node is killed when it has its lease again: the end of the room that it had alone is told', async () => {
    const { admin, nodes, receiver } = await alone();
    await admin.flushall();
    const isBack = async () => {
      const [index = ''] = await admin.keys('rc:node:n0-*:rooms');
      const indexed = await admin.smembers(index);
      const isIndexed = [room, `>${room}`].every((entry) => indexed.includes(entry));
      return isIndexed && (await admin.exists(`rc:{${room}}:nodes`, `rc:{${room}}:members`)) === 2;
    };
    await until(isBack, rightAgainMs, 'the room is written again');
    nodes[0].kill('SIGKILL');
    const end = ['room.vacated', 'member.left ann'];
    const isTold = () => end.every((line) => receiver.story(room).includes(line));
    await until(isTold, 2 * rightAgainMs, 'its end is told');
    expect(receiver.story(room).filter((line) => end.includes(line))).toHaveLength(2);
    expect(await admin.keys(`rc:{${room}}:m*`)).toEqual([]);
  }, 60_000);

  test('and a node is killed in the same moment: other nodes say that it is gone, and who comes is told anew', async () => {
    const { admin, nodes, receiver } = await alone();
    nodes[0].kill('SIGSTOP');
    await admin.flushall();
    nodes[0].kill('SIGKILL');
    const isTold = ({ logs }: SpawnedNode) =>
      logs.some(({ msg, reason }) => msg?.startsWith('a node is gone since all leases were lost') && reason === 'n0');
    for (const node of nodes.slice(1)) await until(() => isTold(node), 2 * rightAgainMs, 'the log names it');
    expect(receiver.story(room)).not.toContain('room.vacated');
    const bob = await comers(nodes[1], 'bob', [room]);
    await until(() => receiver.story(room).at(-1) === 'member.joined bob', rightAgainMs, 'he is told');
    expect(receiver.story(room).filter((line) => line === 'room.occupied')).toHaveLength(2);
    expect(await usersOf(bob, room)).toBe('bob');
  }, 60_000);
});

describe.each(faults)('keys of all rooms: %s', (fault) => {
  test.each(['rc:nodes', 'rc:outbox', 'rc:outbox:sender', 'rc:blocks', 'rc:line'])(
    '%s: the log says so where something is lost, and all is right again when it is gone',
    async (key) => {
      const { admin, receiver, nodes, told } = await cluster();
      const ann = await join(nodes[0], 'ann', 'k:a');
      const bob = await comers(nodes[1], 'bob', ['k:a']);
      await until(() => receiver.story('k:a').includes('member.joined bob'), 10_000, 'all are told');
      const blocked = await call(nodes[2], 'POST', '/api/users/mallory/disconnect', { body: { blockSeconds: 600 } });
      expect(blocked.status).toBe(200);
      await inflict(admin, key, fault);
      const tried = async () => {
        await bob.request({ type: 'publish', room: 'k:a', data: 1 });
        await call(nodes[0], 'POST', '/api/users/eve/disconnect', { body: { blockSeconds: 1 } });
        return fault === 'deleted' || told(key);
      };
      await until(tried, rightAgainMs, `the log names ${key}`);
      nodes[0].kill('SIGKILL');
      await until(async () => (await usersOf(bob, 'k:a')) === 'bob', 3 * rightAgainMs, 'bob alone is in the room');
      await until(() => bob.publish('k:a', 'after'), 5_000, 'the room takes messages');
      await until(() => receiver.story('k:a').includes('member.left ann'), 2 * rightAgainMs, 'the webhook is told');
      const mallory = await mintToken({ sub: 'mallory' });
      for (const node of nodes.slice(1)) await expect(connectWelcomed(node.url, mallory)).rejects.toThrow('4503');
      if (key === 'rc:blocks') {
        const isTold = () => nodes[1].logs.some(({ msg = '' }) => msg.startsWith('redis has lost the blocks'));
        await until(isTold, rightAgainMs, 'the loss is told');
      }
      await ann.closed;
    },
    120_000,
  );
});
