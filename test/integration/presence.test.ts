/**
 * Presence as members see it, on two nodes and on one without Redis: `join` and `leave` frames, once each and
 * cluster-wide, and the answers to `presence`. For failures of nodes and Redis see test/chaos/presence.test.ts.
 */
import { Redis } from 'ioredis';
import { describe, expect, inject, test } from 'vitest';
import { onCleanup } from '../support/cleanup.ts';
import { type Client, connect, connectWelcomed, errorOf, okOf } from '../support/client.ts';
import { startNode, type TestNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { metric } from './admin.ts';
import { names, randomRoom } from './people.ts';
import { joinLeaveFrames, member, presenceOf, presenceRooms, story, untilTold, usersIn } from './presence-members.ts';

const settings = { ROOMS_FILE: presenceRooms(), ANONYMOUS: true, MAX_CONNECTIONS_PER_USER: 0 };
const redis = { REDIS_URL: inject('redisUrl'), REDIS_PREFIX: inject('redisPrefix') };

const clusters: [string, TestNode[]][] = [
  ['two nodes', await Promise.all([0, 1].map(() => startNode({ ...settings, ...redis })))],
  ['one node on memory', [await startNode(settings)]],
];

describe.each(clusters)('%s', (_, nodes) => {
  const [one, other] = [nodes[0], nodes.at(-1)] as [TestNode, TestNode];

  test('all other members get one join and one leave for a user, with info; the user never gets its own', async () => {
    const room = randomRoom('team');
    const first = await member(one, 'first', room);
    await presenceOf(first, room);
    const last = await member(other, 'last', room);
    await untilTold(first, room, ['join last']);
    const ann = await member(one, 'ann', room, { name: 'Ann' });
    await untilTold(first, room, ['join last', 'join ann']);
    await untilTold(last, room, ['join ann']);
    okOf(await ann.request({ type: 'unsubscribe', room }));
    await untilTold(first, room, ['join last', 'join ann', 'leave ann']);
    await untilTold(last, room, ['join ann', 'leave ann']);
    const members = [{ user: 'ann', info: { name: 'Ann' } }];
    expect(joinLeaveFrames(last, room)).toEqual(['join', 'leave'].map((type) => ({ type, room, members })));
    expect(story(ann, room)).toEqual([]);
  });

  test('two tabs are one user: the second causes no join, and only the end of the last one causes a leave', async () => {
    const room = randomRoom('team');
    const watcher = await member(one, 'watcher', room);
    const first = await member(one, 'ann', room);
    await untilTold(watcher, room, ['join ann']);
    const second = await member(other, 'ann', room);
    await until(async () => (await presenceOf(watcher, room)).count === 3, 5_000, 'both tabs are there');
    expect((await presenceOf(watcher, room)).users).toBe(2);
    await first.close();
    await until(async () => (await presenceOf(watcher, room)).count === 2, 5_000, 'one tab is gone');
    expect(story(watcher, room)).toEqual(['join ann']);
    second.socket.terminate();
    await untilTold(watcher, room, ['join ann', 'leave ann']);
    // A join that was in flight when it subscribed may reach it, but never its own.
    for (const tab of [first, second]) expect(story(tab, room)).not.toContain('join ann');
  });

  test('each anonymous connection has its own join and leave, and becomes a user by auth', async () => {
    const room = randomRoom('team');
    const watcher = await member(one, 'watcher', room);
    const ghosts = await Promise.all([one, other].map((node) => connect(node.url)));
    const ids: string[] = [];
    for (const ghost of ghosts) {
      ids.push((await ghost.next('welcome')).connection);
      await ghost.subscribe(room);
      await untilTold(
        watcher,
        room,
        ids.map((id) => `join ${id}`),
      );
    }
    expect(joinLeaveFrames(watcher, room)[0]?.members).toEqual([{ connection: ids[0] }]);
    const page = await presenceOf(watcher, room);
    expect(page).toMatchObject({ count: 3, users: 3 });
    expect(page.members).toContainEqual({ connection: ids[0], user: null });
    ghosts[0]?.send({ type: 'auth', token: await mintToken({ sub: 'ann' }) });
    await ghosts[0]?.next('welcome');
    const before = ids.map((id) => `join ${id}`);
    await untilTold(watcher, room, [...before, 'join ann', `leave ${ids[0]}`]);
    await ghosts[1]?.close();
    await untilTold(watcher, room, [...before, 'join ann', `leave ${ids[0]}`, `leave ${ids[1]}`]);
    expect(await usersIn(watcher, room)).toEqual(['ann', 'watcher']);
  });

  test('the answer has connections, users and info, page by page, and includes the requester and its last change', async () => {
    const room = randomRoom('count');
    const members: Client[] = [];
    for (let index = 0; index < 25; index++) {
      members.push(await member(nodes[index % nodes.length] ?? one, `u${index % 20}`, room, { index }));
    }
    const asking = await member(other, 'asking', room);
    const all = async () => (await presenceOf(members[0] ?? asking, room)).count === 26;
    await until(all, 5_000, 'all nodes have written');
    const whole = await presenceOf(asking, room);
    expect(whole).toMatchObject({ count: 26, users: 21 });
    expect(whole.more).toBeUndefined();
    const connections = (whole.members ?? []).map(({ connection }) => connection);
    expect(connections).toEqual([...new Set(connections)].sort());
    expect(whole.members).toContainEqual({ connection: expect.any(String), user: 'u7', info: { index: 7 } });
    const pages = [];
    for (let after: string | undefined; ; ) {
      const page = await presenceOf(asking, room, { limit: 10, ...(after === undefined ? {} : { after }) });
      expect(page).toMatchObject({ count: 26, users: 21 });
      pages.push(...(page.members ?? []));
      after = page.members?.at(-1)?.connection;
      if (page.more !== true) break;
    }
    expect(pages).toEqual(whole.members);
    await members[0]?.close();
    okOf(await asking.request({ type: 'unsubscribe', room }));
    await until(async () => (await presenceOf(members[1] ?? asking, room)).count === 24, 5_000, 'two are gone');
    expect(members.flatMap((each) => story(each, room))).toEqual([]);
  });

  test('a new info is shown after a refresh, and is neither a join nor a leave', async () => {
    const room = randomRoom('team');
    const watcher = await member(one, 'watcher', room);
    const ann = await member(other, 'ann', room, 'old');
    await untilTold(watcher, room, ['join ann']);
    okOf(await ann.request({ type: 'auth', token: await mintToken({ sub: 'ann', info: 'new' }) }));
    const info = async () => (await presenceOf(watcher, room)).members?.find(({ user }) => user === 'ann')?.info;
    await until(async () => (await info()) === 'new', 5_000, 'the new info');
    expect(await presenceOf(watcher, room)).toMatchObject({ count: 2, users: 2 });
    expect(story(watcher, room)).toEqual(['join ann']);
  });

  test('presence needs the rule, and membership or a grant; join and leave frames come only with joinLeave', async () => {
    const [team, bell, plain] = [randomRoom('team'), randomRoom('bell'), randomRoom('plain')];
    const ann = await member(one, 'ann', team);
    await ann.subscribe(bell);
    await ann.subscribe(plain);
    for (const room of [bell, plain, '@ann']) {
      expect(errorOf(await ann.request({ type: 'presence', room })).code, room).toBe('forbidden');
    }
    const outside = await connectWelcomed(other.url, await mintToken({ sub: 'bob' }));
    expect(errorOf(await outside.request({ type: 'presence', room: team })).code).toBe('forbidden');
    const granted = await connectWelcomed(
      other.url,
      await mintToken({ sub: 'cid', rooms: { 'team:*': ['presence'], 'bell:*': ['presence'] } }),
    );
    await until(async () => (await usersIn(granted, team)).includes('ann'), 5_000, 'the member is there');
    expect(errorOf(await granted.request({ type: 'presence', room: bell })).code).toBe('forbidden');
    await granted.subscribe(bell);
    await untilTold(ann, bell, ['join cid']);
    okOf(await ann.request({ type: 'unsubscribe', room: team }));
    expect(errorOf(await ann.request({ type: 'presence', room: team })).code).toBe('forbidden');
  });

  test('frames are batched: 200 users who come and go cause at most one join and one leave per node and 250 ms', async () => {
    const room = randomRoom('team');
    const watcher = await member(other, 'watcher', room);
    const startedAt = performance.now();
    const users = names('u', 200);
    const clients = await Promise.all(
      users.map((user, index) => member(nodes[index % nodes.length] ?? one, user, room)),
    );
    await until(() => story(watcher, room).length === 200, 10_000, 'all have joined');
    for (const client of clients) client.socket.terminate();
    await until(() => story(watcher, room).length === 400, 10_000, 'all have left');
    const windows = Math.ceil((performance.now() - startedAt) / 250) + 1;
    for (const type of ['join', 'leave']) {
      const frames = joinLeaveFrames(watcher, room).filter((frame) => frame.type === type);
      expect(frames.length).toBeLessThanOrEqual(windows * nodes.length);
      expect(frames.flatMap(({ members }) => members.map((each) => 'user' in each && each.user)).sort()).toEqual(
        users.toSorted(),
      );
    }
    // Users who came in one batch get each other, and never themselves.
    for (const [index, client] of clients.entries()) {
      expect(story(client, room)).not.toContain(`join u${index}`);
      const heard = new Set(story(client, room));
      expect(heard.size).toBe(story(client, room).length);
    }
  }, 30_000);

  test('for every member that stays, the joins and leaves add up to the users present (300 changes)', async () => {
    const room = randomRoom('team');
    const stays = await Promise.all([one, other].map((node, index) => member(node, `stays${index}`, room)));
    const clients = await Promise.all(
      names('u', 30).map((user, index) => member(nodes[index % nodes.length] ?? one, user, room)),
    );
    await Promise.all(
      clients.map(async (client, index) => {
        for (let round = 0; round < 5 + (index % 2); round++) {
          await client.request({ type: round % 2 === 0 ? 'unsubscribe' : 'subscribe', room });
        }
      }),
    );
    // 5 rounds end outside, 6 inside.
    const inside = names('u', 30).filter((_, index) => index % 2 === 1);
    for (const [index, each] of stays.entries()) {
      const wanted = JSON.stringify([...inside, 'stays0', 'stays1'].sort());
      await until(async () => JSON.stringify(await usersIn(each, room)) === wanted, 5_000, 'the list is right');
      const others = new Set([...inside, `stays${1 - index}`]);
      const adding = () => {
        const there = new Set(index === 0 ? [] : ['stays0']);
        for (const line of story(each, room)) {
          const [type, user = ''] = line.split(' ');
          if (type === 'join') there.add(user);
          else there.delete(user);
        }
        return there;
      };
      await until(
        () => [...others].every((user) => adding().has(user)) && adding().size === others.size,
        5_000,
        'all joins and leaves came',
      );
    }
  });
});

test('a slow reader that missed join frames gets a gap with count 0 when it drains, as no message is missing', async () => {
  const [room, side] = [randomRoom('team'), randomRoom('side')];
  const node = await startNode({ ...settings, MAX_BUFFERED_BYTES: 65_536, MAX_MESSAGE_BYTES: 16_384, PUBLISH_RATE: 0 });
  const reader = await member(node, 'reader', room);
  await reader.subscribe(side);
  const watcher = await member(node, 'watcher', room);
  await reader.next('join');
  reader.socket.pause();
  const aside = async () => (await metric(node, 'gateway_slow_connections{policy="drop"}')) === 1;
  for (let sent = 0; !(await aside()); sent += 40) {
    expect(sent).toBeLessThan(4_000);
    await Promise.all(Array.from({ length: 40 }, () => watcher.publish(side, 'x'.repeat(12_000))));
  }
  const ann = await member(node, 'ann', room);
  // It may come after `join reader`, because writes to the store may be late.
  await until(() => story(watcher, room).includes('join ann'), 5_000, 'the join of ann');
  reader.socket.resume();
  const gap = await reader.next((frame) => frame.type === 'gap' && frame.room === room, 10_000);
  expect(gap).toEqual({ type: 'gap', room, reason: 'slow', count: 0 });
  expect(await usersIn(reader, room)).toEqual(['ann', 'reader', 'watcher']);
  await ann.close();
  await untilTold(reader, room, ['join watcher', 'leave ann']);
}, 30_000);

test('a node that stops removes its members, and the last node leaves nothing in Redis', async () => {
  const prefix = `${inject('redisPrefix')}:stop`;
  const [node, rest] = (await Promise.all(
    [0, 1].map(() => startNode({ ...settings, REDIS_URL: inject('redisUrl'), REDIS_PREFIX: prefix })),
  )) as TestNode[] as [TestNode, TestNode];
  const room = randomRoom('team');
  const watcher = await member(rest, 'watcher', room);
  await Promise.all(names('u', 50).map((user) => member(node, user, room)));
  await until(() => story(watcher, room).length === 50, 5_000, 'all have joined');
  await node.stop();
  await until(() => story(watcher, room).length === 100, 2_000, 'all have left');
  expect(await usersIn(watcher, room)).toEqual(['watcher']);
  await rest.stop();
  const admin = new Redis(inject('redisUrl'));
  onCleanup(() => admin.disconnect());
  // Keys that belong to no node stay: the line of writes, and the canary's.
  const left = (await admin.keys(`${prefix}:*`)).filter((key) => !/:(line|canary:\w+)$/.test(key));
  expect(left).toEqual([]);
});
