/**
 * The rights that docs/operations.md gives to the user of Redis that nodes come as: enough for everything they do, and
 * none of them without need; and the names that the page lists of keys and channels. The command is taken from the page and
 * carried out on a Redis of the test's own.
 */
import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { server } from '../../gateway/operations/caller.ts';
import { disconnectUser } from '../../gateway/operations/cluster/users.ts';
import { onCleanup } from '../support/cleanup.ts';
import { okOf } from '../support/client.ts';
import { type NodeSettings, spawnNode, startNode } from '../support/node.ts';
import { ownRedisOnDisk } from '../support/own-redis.ts';
import { until } from '../support/until.ts';
import { WebhookReceiver } from '../support/webhook-receiver.ts';
import { roomsFile } from './files.ts';
import { carrying, enter, join } from './people.ts';
import { untilTold, usersIn } from './presence-members.ts';

const page = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8');
/** The words of `ACL SETUSER <user> <rule> ...`. */
const documented = (/redis-cli (ACL SETUSER [^`]*)```/.exec(page)?.[1] ?? '').match(/[^\s'\\]+/g) ?? [];
/** Keys and channels: `rc:{room}:position`, `rc:node:<lease>:rooms`. */
const listed = [...page.matchAll(/^\| `(rc:[^`]+)`/gm)].map(([, name = '']) => name);
const granted = documented.filter((word) => word.startsWith('+')).map((word) => word.slice(1));

const deadlineMs = 10_000;
const reapedMs = 12_000;

interface Restricted {
  url: string;
  /** Carried out for the nodes since their user is there. */
  commands(): Promise<string[]>;
  refusals(): Promise<unknown>;
  /** Takes a key away. */
  lose(key: string): Promise<unknown>;
  /** Of keys and of subscribed channels, each as the page lists it, or as it is where the page does not. */
  names(): Promise<string[]>;
}

/** A Redis with a replica, in which nobody but the user of the page has done anything. */
async function restricted(): Promise<Restricted> {
  const promptly = ['--repl-diskless-sync-delay', '0'];
  const [redis, replica] = [await ownRedisOnDisk(...promptly), await ownRedisOnDisk()];
  const [admin, follower] = [new Redis(redis.url), new Redis(replica.url)];
  onCleanup(() => [admin, follower].map((client) => client.disconnect()));
  await follower.replicaof('127.0.0.1', `${redis.port}`);
  const follows = async () => /master_link_status:up/.test(await follower.info('replication'));
  await until(follows, deadlineMs, 'the replica follows');

  const [, , user = '', ...rules] = documented;
  await admin.call('ACL', 'SETUSER', user, ...rules);
  // An older Redis does not know it, and refuses the rule.
  const isNewer = /redis_version:(7\.[^0]|[89]|\d\d)/.test(await admin.info('server'));
  if (isNewer) await admin.call('ACL', 'SETUSER', user, '+client|setinfo');
  const password = rules.find((rule) => rule.startsWith('>'))?.slice(1);
  await admin.config('RESETSTAT');
  // What this test and the replica send; and AUTH and HELLO, for which nobody needs a right.
  const ofOthers = [
    'auth',
    'hello',
    'acl|log',
    'config|resetstat',
    'replconf',
    'client|setinfo',
    'keys',
    'pubsub|channels',
  ];
  return {
    url: redis.url.replace('//', `//${user}:${password}@`),
    refusals: () => admin.call('ACL', 'LOG'),
    lose: (key) => admin.del(key),
    async names() {
      const names = [...(await admin.keys('*')), ...((await admin.pubsub('CHANNELS')) as string[])];
      return [...new Set(names.map((name) => listed.find((each) => isOf(each, name)) ?? name))].sort();
    },
    async commands() {
      const stats = await admin.info('commandstats');
      const called = [...stats.matchAll(/^cmdstat_([^:]+):calls=[1-9]/gm)].map(([, name = '']) => name);
      return called.filter((name) => !ofOthers.includes(name)).sort();
    },
  };
}

/** Says whether a name in Redis is one of those that the page lists as `pattern`. */
function isOf(pattern: string, name: string): boolean {
  const parts = pattern.replace(/\{room\}/, '{<room>}').split(/<\w+>|…/);
  return new RegExp(`^${parts.map((part) => part.replace(/[{}]/g, '\\$&')).join('[^{}]+')}$`).test(name);
}

test('a user of Redis with the rights in docs/operations.md is refused nothing that nodes do, and each is used', async () => {
  const redis = await restricted();
  const receiver = await new WebhookReceiver().start();
  const settings: NodeSettings = {
    ...receiver.settings,
    REDIS_URL: redis.url,
    ACK: 'replicated',
    ROOMS_FILE: roomsFile({ match: 'team:*', history: { size: 3, maxBytes: 1_024 }, presence: true, joinLeave: true }),
  };
  const [dying, node] = await Promise.all([spawnNode(settings), startNode(settings)]);
  const ann = await join(node, 'ann', 'team:a', 'plain');
  await join(dying, 'bob', 'team:a', 'plain');
  await untilTold(ann, 'team:a', ['join bob']);
  expect(await usersIn(ann, 'team:a')).toEqual(['ann', 'bob']);
  // What is lost is counted anew.
  await redis.lose('rc:{team:a}:users');
  expect(await usersIn(ann, 'team:a')).toEqual(['ann', 'bob']);
  dying.kill('SIGKILL');

  const cid = await enter(node, 'cid');
  for (const room of ['plain', 'team:a']) {
    expect(await cid.publish(room, 'once', { key: 'k' })).not.toHaveProperty('duplicate');
    expect(await cid.publish(room, 'again', { key: 'k' })).toMatchObject({ duplicate: true });
    for (const data of [2, 3, 4, 5]) await cid.publish(room, data);
    await ann.next(carrying(room, 5));
  }
  const [ask, room] = [ann.request.bind(ann), 'team:a'];
  const { epoch, messages } = okOf(await ask({ type: 'history', room }));
  expect(messages?.map(({ data }) => data)).toEqual([3, 4, 5]);
  expect(okOf(await ask({ type: 'history', room, after: 3, epoch })).messages).toHaveLength(2);
  const resumed = await cid.request({ type: 'subscribe', room, since: { epoch, offset: 4 } });
  expect(resumed).toMatchObject({ recovered: true });
  await cid.next(carrying(room, 5));
  expect(await disconnectUser(node.cluster, server, { user: 'nobody', blockSeconds: 60 })).toMatchObject({
    disconnected: 0,
  });
  // One that leaves no room for the others.
  await cid.publish(room, 'x'.repeat(900));
  await cid.request({ type: 'subscribe', room: 'left' });
  await cid.request({ type: 'unsubscribe', room: 'left' });
  const isListed = async () => (await redis.names()).includes('rc:{room}:ended');
  await until(isListed, deadlineMs, 'who has left the room is remembered').catch(() => undefined);
  expect(await redis.names()).toEqual(listed.toSorted());
  await cid.request({ type: 'unsubscribe', room: 'plain' });
  await ann.request({ type: 'unsubscribe', room: 'plain' });

  await untilTold(ann, room, ['join bob', 'join cid', 'leave bob'], reapedMs);
  await until(() => receiver.story(room).includes('member.left bob'), reapedMs, 'the backend is told');
  const isUsed = async () => granted.length > 0 && (await redis.commands()).length >= granted.length;
  await until(isUsed, deadlineMs, 'every right was used').catch(() => undefined);
  expect(await redis.refusals()).toEqual([]);
  expect(await redis.commands()).toEqual(granted.sort());
}, 40_000);
