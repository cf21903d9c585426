/**
 * Whole nodes on a Redis Cluster, as the user of docs/operations.md: its rights are enough for everything that nodes do, and none
 * is without need. The command is taken from the page, and carried out on every server.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { server } from '../../gateway/operations/caller.ts';
import { disconnectUser } from '../../gateway/operations/cluster/users.ts';
import { slotOf } from '../../gateway/redis/cluster/slots.ts';
import { roomsFile } from '../integration/files.ts';
import { carrying, enter, join } from '../integration/people.ts';
import { untilTold, usersIn } from '../integration/presence-members.ts';
import { okOf } from '../support/client.ts';
import { type NodeSettings, spawnNode, startNode } from '../support/node.ts';
import { RedisCluster, roomIn } from '../support/redis-cluster.ts';
import { until } from '../support/until.ts';
import { WebhookReceiver } from '../support/webhook-receiver.ts';

const page = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8');
const documented = (/redis-cli -h host1 (ACL SETUSER [^`]*)```/.exec(page)?.[1] ?? '').match(/[^\s'\\]+/g) ?? [];
const granted = documented.filter((word) => word.startsWith('+')).map((word) => word.slice(1));
const deadlineMs = 10_000;
const reapedMs = 12_000;

/** For which nobody needs a right, and what this test and the servers themselves send. */
const ofOthers = /^(auth|hello|acl\|.*|config\|.*|replconf|psync|keys|select|client\|.*|cluster\|(?!slots|nodes).*)$/;

test('a user with the rights in docs/operations.md is refused nothing that nodes do in a cluster, and each is used', async () => {
  const cluster = await RedisCluster.start({ settings: ['--appendonly', 'yes'] });
  const [, , user = '', ...rules] = documented;
  const password = rules.find((rule) => rule.startsWith('>'))?.slice(1);
  for (const each of cluster.servers) {
    await cluster.ask(each, 'ACL', 'SETUSER', user, ...rules);
    await cluster.ask(each, 'CONFIG', 'RESETSTAT');
  }
  const receiver = await new WebhookReceiver().start();
  const settings: NodeSettings = {
    ...receiver.settings,
    REDIS_URL: cluster.url.replace('//', `//${user}:${password}@`),
    ACK: 'replicated',
    ROOMS_FILE: roomsFile({ match: 'team:*', history: { size: 3, maxBytes: 1_024 }, presence: true, joinLeave: true }),
  };
  const [dying, node] = await Promise.all([spawnNode(settings), startNode(settings)]);
  // One with history in each shard.
  const rooms = await Promise.all(
    [0, 6_000, 12_000].map(async (slot) => roomIn(await cluster.slotsOf(await cluster.ownerOf(slot)), 'team:')),
  );
  for (const room of rooms) {
    const ann = await join(node, 'ann', room, `plain:${room}`);
    await join(dying, 'bob', room);
    await untilTold(ann, room, ['join bob']);
    const cid = await enter(node, 'cid');
    for (const each of [`plain:${room}`, room]) {
      expect(await cid.publish(each, 'once', { key: 'k' })).not.toHaveProperty('duplicate');
      expect(await cid.publish(each, 'again', { key: 'k' })).toMatchObject({ duplicate: true });
      for (const data of [2, 3, 4, 5]) await cid.publish(each, data);
      await ann.next(carrying(each, 5));
    }
    const { epoch, messages } = okOf(await ann.request({ type: 'history', room }));
    expect(messages?.map(({ data }) => data)).toEqual([3, 4, 5]);
    const resumed = await cid.request({ type: 'subscribe', room, since: { epoch, offset: 4 } });
    expect(resumed).toMatchObject({ recovered: true });
    // One that leaves no room for the others.
    await cid.publish(room, 'x'.repeat(900));
    // What is lost is counted anew.
    await cluster.ask(await cluster.ownerOf(slotOf(room)), 'DEL', `rc:{${room}}:users`);
    expect(await usersIn(ann, room)).toEqual(['ann', 'bob', 'cid']);
    await ann.request({ type: 'unsubscribe', room: `plain:${room}` });
  }
  expect(await disconnectUser(node.cluster, server, { user: 'nobody', blockSeconds: 60 })).toMatchObject({
    disconnected: 0,
  });
  dying.kill('SIGKILL');
  const dan = await join(node, 'dan', ...rooms);
  for (const room of rooms) await until(async () => !(await usersIn(dan, room)).includes('bob'), reapedMs, 'bob left');
  for (const room of rooms) {
    await until(() => receiver.story(room).includes('member.left bob'), deadlineMs, 'the backend is told');
    expect(receiver.story(room)[0]).toBe('room.occupied');
  }

  const used = async () => {
    // Replicas also carry out what their primaries tell them.
    const primaries = await Promise.all([0, 6_000, 12_000].map((slot) => cluster.ownerOf(slot)));
    const stats = await Promise.all(primaries.map((each) => cluster.ask(each, 'INFO', 'commandstats')));
    const called = [...stats.join('\n').matchAll(/^cmdstat_([^:]+):calls=[1-9]/gm)].map(([, name = '']) => name);
    return [...new Set(called.filter((name) => !ofOthers.test(name)))].sort();
  };
  await until(async () => (await used()).length >= granted.length, deadlineMs, 'every right was used').catch(
    () => undefined,
  );
  for (const each of cluster.servers) expect((await cluster.ask(each, 'ACL', 'LOG')).trim()).toBe('');
  expect(await used()).toEqual(granted.sort());
  for (const each of cluster.servers) {
    const keys = (await cluster.ask(each, 'KEYS', '*')).split('\n').filter((key) => key !== '');
    expect(keys.filter((key) => !/^rc:\{[^}]+\}:/.test(key))).toEqual([]);
  }
}, 60_000);
