/**
 * Presence while nodes and Redis fail, with nodes as processes and a Redis of each test's own: whatever happens, a few
 * seconds later every node lists exactly who is there, and members were told of everybody who went, once.
 */
import { expect, test } from 'vitest';
import { metric } from '../integration/admin.ts';
import { folder } from '../integration/files.ts';
import { names, randomRoom } from '../integration/people.ts';
import { member, presenceRooms, story, usersIn } from '../integration/presence-members.ts';
import { onCleanup } from '../support/cleanup.ts';
import { type Client, errorOf } from '../support/client.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { launchRedisProcess } from '../support/redis-process.ts';
import { until } from '../support/until.ts';

/** The promise: so long after the death of a node its members are gone, and everybody was told. */
const convergedMs = 10_000;
/** Longer than a lease, in which nobody may be reaped. */
const leaseAndMoreMs = 7_000;

function spawn(count: number, url: string): Promise<SpawnedNode[]> {
  const settings = { ROOMS_FILE: presenceRooms(), REDIS_URL: url, MAX_CONNECTIONS_PER_USER: 0, REQUEST_RATE: 0 };
  return Promise.all(Array.from({ length: count }, () => spawnNode(settings)));
}

/** Members of the room, a hundred at a time. */
async function crowd(node: SpawnedNode, users: string[], room: string): Promise<Client[]> {
  const clients: Client[] = [];
  for (let from = 0; from < users.length; from += 100) {
    clients.push(...(await Promise.all(users.slice(from, from + 100).map((user) => member(node, user, room)))));
  }
  return clients;
}

/** Resolves when each of them, on whatever node, is answered that exactly these users are there. */
async function untilThere(clients: Client[], room: string, users: string[], deadlineMs: number): Promise<void> {
  const wanted = JSON.stringify(users.toSorted());
  for (const client of clients) {
    const right = async () => JSON.stringify(await usersIn(client, room)) === wanted;
    await until(right, deadlineMs, `${users.length} users in ${room}`);
  }
}

/** Who is there by what a member was told since `from` and who was there before. */
function toldFrom(client: Client, room: string, from: number, before: string[]): string[] {
  const there = new Set(before);
  for (const line of story(client, room).slice(from)) {
    const [type, user = ''] = line.split(' ');
    if (type === 'join') there.add(user);
    else there.delete(user);
  }
  return [...there].sort();
}

/**
 * Leaves were told of nobody else than these, and of each at most once. What was told while the node was not subscribed
 * passed it by; the gap says so, and members ask again. An empty Redis does not even know who went.
 */
function expectToldOnce(watcher: Client, room: string, gone: string[]): void {
  const left = story(watcher, room).filter((line) => line.startsWith('leave'));
  expect(left).toEqual([...new Set(left)]);
  expect(gone.map((user) => `leave ${user}`)).toEqual(expect.arrayContaining(left));
  expect(watcher.frames).toContainEqual({ type: 'gap', room, reason: 'backplane' });
}

function after(ms: number): () => boolean {
  const from = performance.now();
  return () => performance.now() - from > ms;
}

test('kill -9 of a node with 1,000 members of 1,000 users: within 10 s the lists are right and each leave was told once', async () => {
  const redis = await ownRedis();
  const [dying, ...rest] = (await spawn(3, redis.url)) as [SpawnedNode, SpawnedNode, SpawnedNode];
  const room = randomRoom('team');
  const watchers = await Promise.all(rest.map((node, index) => member(node, `watcher${index}`, room, { index })));
  const users = names('u', 1_000);
  await crowd(dying, users, room);
  // One of them has a second tab elsewhere, and so does not leave.
  const tab = await member(rest[0], 'u7', room);
  const everybody = [...users, 'u7', 'watcher0', 'watcher1'];
  await untilThere(watchers, room, everybody, 10_000);
  const from = watchers.map((watcher) => story(watcher, room).length);

  dying.kill('SIGKILL');
  const killedAt = performance.now();
  await dying.exited;
  const gone = users.filter((user) => user !== 'u7');
  const told = () =>
    watchers.every((watcher, index) => story(watcher, room).length === (from[index] ?? 0) + gone.length);
  await until(told, convergedMs - (performance.now() - killedAt), 'every leave was told');
  await untilThere(
    [...watchers, tab],
    room,
    ['u7', 'watcher0', 'watcher1'],
    convergedMs - (performance.now() - killedAt),
  );
  const tookMs = Math.round(performance.now() - killedAt);
  process.stdout.write(`presence: a node with 1,000 members was killed; all was told and right after ${tookMs} ms\n`);
  for (const [index, watcher] of watchers.entries()) {
    expect(story(watcher, room).slice(from[index]).toSorted()).toEqual(gone.map((user) => `leave ${user}`).toSorted());
  }
  const reaped = await Promise.all(rest.map((node) => metric(node, 'gateway_members_reaped_total')));
  expect(reaped.reduce((sum, members) => sum + members, 0)).toBe(1_000);
}, 60_000);

test('a node that stands still for 15 s is reaped; when it goes on its members are there again, and all lists agree', async () => {
  const redis = await ownRedis();
  const [still, other] = (await spawn(2, redis.url)) as [SpawnedNode, SpawnedNode];
  const room = randomRoom('team');
  const watcher = await member(other, 'watcher', room);
  const users = names('u', 20);
  const clients = await crowd(still, users, room);
  await untilThere([watcher], room, [...users, 'watcher'], 5_000);
  const from = story(watcher, room).length;
  still.kill('SIGSTOP');
  const over = after(15_000);
  await untilThere([watcher], room, ['watcher'], convergedMs + 2_000);
  expect(story(watcher, room).slice(from).toSorted()).toEqual(users.map((user) => `leave ${user}`).toSorted());
  await until(over, 20_000, '15 s are over');
  still.kill('SIGCONT');
  // A node may cut those it served before it stood still; whoever is still connected has to be there.
  const open = () => users.filter((_, index) => clients[index]?.socket.readyState === watcher.socket.OPEN);
  const agree = async () => {
    const wanted = JSON.stringify([...open(), 'watcher'].sort());
    const told = JSON.stringify(toldFrom(watcher, room, 0, ['watcher']));
    return JSON.stringify(await usersIn(watcher, room)) === wanted && told === wanted;
  };
  await until(agree, 10_000, 'lists, frames and connections agree');
  await until(async () => (await metric(still, 'gateway_backplane_up')) === 1, 10_000, 'it has its way to Redis again');
  const late = await member(still, 'late', room);
  await untilThere([watcher, late], room, [...open(), 'late', 'watcher'], 5_000);
}, 60_000);

test.each([
  ['killed and started again with its append-only file', true],
  ['killed and started again empty', false],
])(
  'Redis is %s: nobody is reaped for a lease time, and the lists end right',
  async (_, keepsFile) => {
    const redis = keepsFile ? await launchRedisProcess(folder()) : await ownRedis();
    onCleanup(() => redis.stop());
    const nodes = (await spawn(2, redis.url)) as [SpawnedNode, SpawnedNode];
    const room = randomRoom('team');
    const watchers = await Promise.all(nodes.map((node, index) => member(node, `watcher${index}`, room)));
    const users = names('u', 40);
    const clients = await crowd(nodes[0], users, room);
    await untilThere(watchers, room, [...users, 'watcher0', 'watcher1'], 5_000);
    await redis.kill();
    // Who goes meanwhile is told afterwards.
    for (const client of clients.slice(0, 10)) client.socket.terminate();
    await until(async () => (await metric(nodes[0], 'gateway_connections')) === 31, 5_000, 'ten are gone');
    await redis.start();
    const stay = [...users.slice(10), 'watcher0', 'watcher1'];
    await untilThere(watchers, room, stay, 10_000);
    await until(after(leaseAndMoreMs), 20_000, 'a lease is over');
    await untilThere(watchers, room, stay, 1_000);
    for (const watcher of watchers) expectToldOnce(watcher, room, keepsFile ? users.slice(0, 10) : []);
    for (const node of nodes) expect(await metric(node, 'gateway_members_reaped_total')).toBe(0);
  },
  60_000,
);

test('Redis stands still for 10 s: questions are refused meanwhile, nobody is reaped, and the lists end right', async () => {
  const redis = await ownRedis();
  const nodes = (await spawn(2, redis.url)) as [SpawnedNode, SpawnedNode];
  const room = randomRoom('team');
  const asking = await member(nodes[0], 'watcher0', room);
  const watchers = [asking, await member(nodes[1], 'watcher1', room)];
  const users = names('u', 40);
  const clients = await crowd(nodes[1], users, room);
  await untilThere(watchers, room, [...users, 'watcher0', 'watcher1'], 5_000);
  await redis.pause();
  const over = after(10_000);
  for (const client of clients.slice(0, 10)) client.socket.terminate();
  const refusal = async () => errorOf(await asking.request({ type: 'presence', room })).code;
  expect(['timeout', 'unavailable']).toContain(await refusal());
  await until(async () => (await refusal()) === 'unavailable', 5_000, 'questions are refused at once');
  await until(over, 20_000, '10 s are over');
  await redis.resume();
  const stay = [...users.slice(10), 'watcher0', 'watcher1'];
  await untilThere(watchers, room, stay, 10_000);
  await until(after(leaseAndMoreMs), 20_000, 'a lease is over');
  await untilThere(watchers, room, stay, 1_000);
  for (const watcher of watchers) expectToldOnce(watcher, room, users.slice(0, 10));
  for (const node of nodes) expect(await metric(node, 'gateway_members_reaped_total')).toBe(0);
}, 60_000);
