/**
 * Members that may have missed `join` or `leave` frames get one `gap` with a count of 0, so that they ask for
 * `presence` again. Such frames are not in history, and may never have been sent. All messages come in order as usual.
 *
 * Dying nodes: presence.test.ts in test/chaos. Missed messages: healing.test.ts there.
 */
import { Redis } from 'ioredis';
import { describe, expect, test } from 'vitest';
import type { GatewayFrame, Position } from '../../shared/protocol.ts';
import { onCleanup } from '../support/cleanup.ts';
import { type Client, errorOf, okOf } from '../support/client.ts';
import { spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until } from '../support/until.ts';
import { metric } from './admin.ts';
import { publishNumbers, range } from './counting-member.ts';
import { roomsFile } from './files.ts';
import { enter, join, messagesOf, names, randomRoom } from './people.ts';
import { presenceOf, story, untilTold, usersIn } from './presence-members.ts';

const redis = await ownRedis();
const admin = new Redis(redis.url);
onCleanup(() => admin.disconnect());
const history = { size: 10_000 };
const node = await spawnNode({
  REDIS_URL: redis.url,
  MAX_BUFFERED_BYTES: 65_536,
  MAX_MESSAGE_BYTES: 16_384,
  PUBLISH_RATE: 0,
  ROOMS_FILE: roomsFile(
    { match: 'team:*', presence: true, joinLeave: true, history },
    { match: 'silent:*', presence: true, history },
    { match: 'plain:*', presence: true, joinLeave: true },
  ),
});
const publisher = await enter(node, 'publisher');

/** Redis drops all subscriptions; resolves when the node is subscribed again. */
async function interrupt(): Promise<void> {
  const reconnects = () => metric(node, 'gateway_backplane_reconnects_total');
  const before = await reconnects();
  await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
  await until(async () => (await reconnects()) > before, 10_000, 'the node is connected again');
}

const gapsOf = (client: Client, room: string) =>
  client.frames.filter((frame) => frame.type === 'gap' && frame.room === room);
const offsetsOf = (client: Client, room: string) => messagesOf(client, room).map(({ offset }) => offset);

async function untilAt(client: Client, room: string, offset: number): Promise<void> {
  await until(() => offsetsOf(client, room).at(-1) === offset, 10_000, `offset ${offset}`);
}

test('a lost subscription causes one gap in a room with joinLeave, and none in a room without it', async () => {
  const [team, silent] = [randomRoom('team'), randomRoom('silent')];
  const members = await Promise.all(names('m', 3).map((user) => join(node, user, team, silent)));
  for (let round = 1; round <= 3; round++) {
    for (const room of [team, silent]) await publishNumbers(publisher, room, 0, 5);
    // Sent while there is no subscription.
    await Promise.all([interrupt(), ...[team, silent].map((room) => publishNumbers(publisher, room, 0, 40))]);
    for (const room of [team, silent]) await publishNumbers(publisher, room, 0, 5);
    for (const member of members) {
      for (const room of [team, silent]) {
        await untilAt(member, room, round * 50);
        expect(offsetsOf(member, room)).toEqual(range(1, round * 50 + 1));
      }
      const gap = { type: 'gap', room: team, reason: 'backplane', count: 0 };
      expect(gapsOf(member, team)).toEqual(Array(round).fill(gap));
      expect(gapsOf(member, silent)).toEqual([]);
    }
  }
}, 40_000);

describe.each(['team', 'plain'])('Redis, in a room of kind %s', (kind) => {
  const countOf = async (client: Client, room: string) => {
    const { count, users } = await presenceOf(client, room);
    return [count, users];
  };

  test('refuses a command in the middle of a write: presence is unavailable, then exact, and members get a gap', async () => {
    const room = randomRoom(kind);
    const watcher = await join(node, 'watcher', room);
    await untilCounted(watcher, room, [1, 1]);
    await admin.call('ACL', 'SETUSER', 'default', '-hincrby');
    onCleanup(() => admin.call('ACL', 'SETUSER', 'default', '+hincrby'));
    await Promise.all(names('m', 24).map((name, index) => join(node, index % 2 === 0 ? name : 'one', room)));
    const refused = errorOf(await watcher.request({ type: 'presence', room }));
    expect(refused.code).toBe('unavailable');
    await admin.call('ACL', 'SETUSER', 'default', '+hincrby');
    await untilCounted(watcher, room, [25, 14]);
    const gap = { type: 'gap', room, reason: 'backplane', count: 0 };
    await until(() => gapsOf(watcher, room).length > 0, 5_000, 'the gap');
    expect(gapsOf(watcher, room)).toEqual([gap]);
    await join(node, 'late', room);
    await until(() => story(watcher, room).at(-1) === 'join late', 5_000, 'all goes on');
  }, 30_000);

  test('lost the connections by user: whoever asks is told what is right, and members are told to ask', async () => {
    const room = randomRoom(kind);
    const members = await Promise.all(names('m', 24).map((_, index) => join(node, `user${index % 5}`, room)));
    const [watcher] = members as [Client];
    await untilCounted(watcher, room, [24, 5]);
    await admin.del(`rc:{${room}}:users`);
    expect(await countOf(watcher, room)).toEqual([24, 5]);
    const gap = { type: 'gap', room, reason: 'backplane', count: 0 };
    await until(() => gapsOf(watcher, room).length > 0, 5_000, 'the gap');
    expect(gapsOf(watcher, room)).toEqual([gap]);
  });

  async function untilCounted(client: Client, room: string, wanted: number[]): Promise<void> {
    const right = async () => String(await countOf(client, room)) === String(wanted);
    await until(right, 10_000, `${wanted} are there`);
  }
});

describe('a detached member', () => {
  /** Stops reading in a side room until it is stalled. */
  async function stoppedReader(user: string): Promise<Client> {
    const side = randomRoom('side');
    const reader = await join(node, user, side);
    reader.socket.pause();
    const slow = async () => (await metric(node, 'gateway_slow_connections{policy="drop"}')) === 1;
    for (let sent = 0; !(await slow()); sent += 40) {
      expect(sent).toBeLessThan(4_000);
      await publishNumbers(publisher, side, sent, sent + 40, 12_000);
    }
    return reader;
  }

  const behind = async () => (await metric(node, 'gateway_slow_connections{policy="catch-up"}')) === 1;

  test.each<[passes: string, comesBack: string, since: (at: Position) => Position | undefined]>([
    ['a user joins', 'is recovered', (at) => ({ ...at, offset: 2 })],
    ['a user joins', 'is refused', (at) => ({ ...at, epoch: 'another' })],
    ['a user joins', 'is new', () => undefined],
    ['the subscription is lost', 'is recovered', (at) => ({ ...at, offset: 2 })],
    ['the subscription is lost', 'is refused', (at) => ({ ...at, epoch: 'another' })],
    ['nothing happens', 'is recovered', (at) => ({ ...at, offset: 2 })],
  ])(
    'while %s, and that %s: before it goes live it gets a gap with count 0, unless it missed no frame',
    async (passes, comesBack, since) => {
      const room = randomRoom('team');
      await publishNumbers(publisher, room, 0, 10);
      const watcher = await join(node, 'watcher', room);
      const { epoch = '' } = await publisher.publish(room, 'the eleventh');
      // Its user is present already, so it causes no join.
      const reader = await stoppedReader('watcher');
      const answer = reader.request({ type: 'subscribe', room, since: since({ epoch, offset: 0 }) }, 15_000);
      await until(behind, 5_000, 'the reader is stalled');
      if (passes === 'the subscription is lost') {
        await interrupt();
        await until(() => gapsOf(watcher, room).length === 1, 5_000, 'the gap of the live member');
      }
      if (passes === 'a user joins') {
        await join(node, 'ann', room);
        await untilTold(watcher, room, ['join ann']);
      }
      reader.socket.resume();
      okOf(await answer);
      await until(async () => !(await behind()), 10_000, 'the reader is live');
      await publisher.publish(room, 'live');
      await untilAt(reader, room, 12);
      expect(offsetsOf(reader, room)).toEqual(comesBack === 'is recovered' ? range(3, 13) : [12]);
      const gap = { type: 'gap', room, reason: 'slow', count: 0 };
      expect(gapsOf(reader, room)).toEqual(passes === 'nothing happens' ? [] : [gap]);
      const placeOf = (type: GatewayFrame['type']) => reader.frames.findLastIndex((frame) => frame.type === type);
      expect(placeOf('gap')).toBeLessThan(placeOf('message'));
      expect(story(reader, room)).toEqual([]);
      expect(await usersIn(reader, room)).toEqual(await usersIn(watcher, room));
    },
    30_000,
  );
});
