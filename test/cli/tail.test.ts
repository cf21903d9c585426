/**
 * `roomcast tail` as a process, against real nodes: what it prints, how it goes on over ends of the connection, and how it
 * ends.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, inject, test } from 'vitest';
import { reload } from '../integration/admin.ts';
import { folder } from '../integration/files.ts';
import { enter, everywhere, join, randomRoom, tokenOf } from '../integration/people.ts';
import { outcomeOf, type Program, runCommand } from '../integration/program.ts';
import { faultProxy } from '../support/fault-proxy.ts';
import { endWithThisProcess } from '../support/lifeline.ts';
import { type NodeSettings, type SpawnedNode, spawnNode, startNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { mintToken } from '../support/token.ts';
import { until, within } from '../support/until.ts';

const command = fileURLToPath(new URL('../../gateway/cli/roomcast.mjs', import.meta.url));
const rules = joinPath(folder(), 'rooms.json');
writeFileSync(
  rules,
  JSON.stringify({
    rooms: [
      { match: 'kept:*', subscribe: 'user', publish: 'user', history: { size: 5 } },
      { match: 'watched:*', subscribe: 'user', publish: 'user', presence: true, joinLeave: true },
    ],
  }),
);

let node: SpawnedNode;
let token: string;
beforeAll(async () => {
  node = await spawnNode({ ROOMS_FILE: rules });
  token = await tokenOf('alice');
});

const as = (url: string, text = token) => ({ ROOMCAST_URL: url, ROOMCAST_TOKEN: text });
const lines = (program: Program) => program.output().trim().split('\n').filter(Boolean);
const parsed = (program: Program) => lines(program).map((line) => JSON.parse(line));

/** Starts it, and waits until it is in the room. */
async function tail(url: string, room: string, ...options: string[]): Promise<Program> {
  const program = runCommand(['tail', room, ...options], as(url));
  const subscribed = () => /subscribed/.test(program.errors() + program.output());
  await until(subscribed, 10_000, 'tail is in the room');
  return program;
}

async function expectLines(program: Program, count: number): Promise<string[]> {
  await until(() => lines(program).length >= count, 10_000, `${count} lines`);
  return lines(program);
}

test('prints time, place, user and data of each message, and joins and leaves', async () => {
  const room = randomRoom('watched');
  const following = await tail(node.url, room);
  const bob = await join(node, 'bob\u001b[31m', room);
  await expectLines(following, 1);
  await bob.publish(room, { text: 'a\nb' });
  await bob.close();
  const [came, message, went] = await expectLines(following, 3);
  expect(came).toBe('-- join: bob\\u001b[31m');
  expect(message).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z \S+ bob\\u001b\[31m \{"text":"a\\nb"\}$/);
  expect(went).toBe('-- leave: bob\\u001b[31m');
});

test('with --count it ends with 0 after so many messages; with --json it prints the frames', async () => {
  const room = randomRoom('kept');
  const following = await tail(node.url, room, '--count', '2', '--json');
  const bob = await enter(node, 'bob');
  for (const data of [1, 2, 3]) await bob.publish(room, data);
  expect(await following.ended()).toBe(0);
  const [subscribed, ...messages] = parsed(following);
  expect(subscribed).toMatchObject({ type: 'subscribed', room, offset: 0, missing: false });
  expect(messages).toMatchObject([
    { type: 'message', room, offset: 1, data: 1, from: 'bob' },
    { type: 'message', room, offset: 2, data: 2 },
  ]);
});

test('--since goes on behind a position, or says that messages are not kept any more', async () => {
  const room = randomRoom('kept');
  const bob = await enter(node, 'bob');
  const { epoch } = await bob.publish(room, 1);
  for (const data of [2, 3, 4, 5, 6, 7]) await bob.publish(room, data);
  const all = await tail(node.url, room, '--since', `${epoch}:4`, '--count', '3');
  expect(await all.ended()).toBe(0);
  expect(lines(all).map((line) => line.split(' ').at(-1))).toEqual(['5', '6', '7']);
  const late = await tail(node.url, room, '--since', `${epoch}:1`);
  expect(await expectLines(late, 1)).toEqual([
    `-- gap: messages behind ${epoch}:1 are not kept any more; it goes on at ${epoch}:7`,
  ]);
  const plain = await tail(node.url, randomRoom(), '--since', `${epoch}:1`);
  expect(await expectLines(plain, 1)).toEqual(['-- gap: messages may be missing here: this room keeps none']);
});

test('when its connection is cut it resumes, and says so: nothing is missing and nothing comes twice', async () => {
  const room = randomRoom('kept');
  const proxy = await faultProxy(node.url);
  const following = await tail(proxy.url, room);
  const bob = await enter(node, 'bob');
  await bob.publish(room, 'before');
  await expectLines(following, 1);
  proxy.mode = 'reset';
  proxy.cut();
  await until(() => /connecting again in/.test(following.errors()), 5_000, 'it is told');
  for (const data of ['one', 'two']) await bob.publish(room, data);
  proxy.mode = 'pass';
  await expectLines(following, 3);
  await bob.publish(room, 'after');
  const data = (await expectLines(following, 4)).map((line) => JSON.parse(line.split(' ').at(-1) ?? ''));
  expect(data).toEqual(['before', 'one', 'two', 'after']);
  expect(following.errors()).toMatch(/the connection ended \(1006\); connecting again.*\n.*nothing is missing/s);
});

test('when more was published meanwhile than the room keeps, it says so where it is missing', async () => {
  const room = randomRoom('kept');
  const proxy = await faultProxy(node.url);
  const following = await tail(proxy.url, room, '--json');
  const bob = await enter(node, 'bob');
  await bob.publish(room, 0);
  await expectLines(following, 2);
  proxy.mode = 'reset';
  proxy.cut();
  for (let data = 1; data <= 10; data++) await bob.publish(room, data);
  proxy.mode = 'pass';
  await until(() => parsed(following).some(({ missing }) => missing), 10_000, 'it says that messages are missing');
  await bob.publish(room, 11);
  await until(() => parsed(following).at(-1).data === 11, 5_000, 'it goes on');
  const events = parsed(following).map(({ type, missing, data }) => data ?? (missing === true ? 'missing' : type));
  expect(events.filter((event, index) => event !== events[index - 1])).toEqual([
    'subscribed',
    0,
    'interrupted',
    'missing',
    11,
  ]);
});

test('in a plain room each end of the connection is a gap', async () => {
  const room = randomRoom();
  const proxy = await faultProxy(node.url);
  const following = await tail(proxy.url, room);
  proxy.cut();
  expect(await expectLines(following, 1)).toEqual(['-- gap: messages may be missing here: this room keeps none']);
});

test('it prints the gaps that the gateway tells', async () => {
  const redis = await ownRedis();
  const behind = await startNode({ REDIS_URL: redis.url });
  const following = await tail(behind.url, randomRoom());
  await redis.kill();
  await redis.start();
  expect(await expectLines(following, 1)).toEqual(['-- gap: an unknown number of messages are missing (backplane)']);
});

test('when the node is away it tries again until it is back', async () => {
  const room = randomRoom();
  const first = await spawnNode();
  const proxy = await faultProxy(first.url);
  const following = await tail(proxy.url, room);
  first.kill('SIGKILL');
  await until(
    () => /cannot connect.*connecting again/.test(following.errors()),
    10_000,
    'it says that nobody is there',
  );
  const second = await spawnNode();
  proxy.target = second.url;
  await until(() => lines(following).length === 1, 15_000, 'it is back');
  await (await enter(second, 'bob')).publish(room, 'again');
  expect((await expectLines(following, 2)).at(-1)).toMatch(/"again"$/);
});

test.each(['kept', 'plain'])('a node that stops is left without a gap or a double, in a %s room', async (kind) => {
  const room = randomRoom(kind);
  const redis: NodeSettings = { REDIS_URL: inject('redisUrl'), REDIS_PREFIX: inject('redisPrefix') };
  const [first, second] = await Promise.all([
    spawnNode({ ...redis, ROOMS_FILE: rules, DRAIN_MS: 6_000 }),
    spawnNode({ ...redis, ROOMS_FILE: rules }),
  ]);
  const proxy = await faultProxy(first.url);
  const following = await tail(proxy.url, room);
  const bob = await enter(second, 'bob');
  await bob.publish(room, 0);
  await expectLines(following, 1);
  proxy.target = second.url;
  first.kill('SIGTERM');
  let published = 0;
  const moved = () => following.errors().match(/subscribed/g)?.length === 2;
  const publishUntilMoved = async () => {
    await bob.publish(room, ++published);
    return moved();
  };
  await until(publishUntilMoved, 10_000, 'it has moved');
  expect(await within(first.exited, 10_000, 'nobody is left there')).toEqual({ code: 0, signal: null });
  await bob.publish(room, ++published);
  const printed = await expectLines(following, published + 1);
  expect(printed.map((line) => line.split(' ').at(-1))).toEqual(
    Array.from({ length: published + 1 }, (_, index) => `${index}`),
  );
  expect(following.errors()).toContain('the node stops: moving to another one');
});

test('in a plain room, a node that ends before the move is done is a gap', async () => {
  const room = randomRoom();
  const [first, second] = await Promise.all([spawnNode({ DRAIN_MS: 600_000 }), spawnNode()]);
  const [proxy, next] = await Promise.all([faultProxy(first.url), faultProxy(second.url)]);
  const following = await tail(proxy.url, room);
  next.mode = 'blackhole';
  proxy.target = next.url;
  first.kill('SIGTERM');
  await until(() => next.connections === 1, 10_000, 'it knocks at the other node');
  first.kill('SIGKILL');
  await first.exited;
  await until(() => proxy.connections === 1, 5_000, 'the old connection is gone');
  next.mode = 'pass';
  expect(await expectLines(following, 1)).toEqual(['-- gap: messages may be missing here: this room keeps none']);
});

test('a connection over which nothing comes any more is given up', async () => {
  const quick = await spawnNode({ PING_INTERVAL_MS: 100, ROOMS_FILE: rules });
  const room = randomRoom('kept');
  const proxy = await faultProxy(quick.url);
  const following = await tail(proxy.url, room);
  proxy.mode = 'blackhole';
  await until(() => /connecting again/.test(following.errors()), 10_000, 'it is given up');
  await (await enter(quick, 'bob')).publish(room, 'meanwhile');
  proxy.mode = 'pass';
  expect(await expectLines(following, 1)).toEqual([expect.stringMatching(/"meanwhile"$/)]);
});

test('it ends with 1 when its token has ended', async () => {
  // Good for the rest of the 5 s of tolerance; on a slow machine that is over when it comes.
  const exp = Math.floor(Date.now() / 1000) - 3;
  const short = await mintToken({ sub: 'alice', rooms: everywhere, exp });
  const following = runCommand(['tail', randomRoom()], as(node.url, short));
  expect(await following.ended()).toBe(1);
  expect(following.errors()).toMatch(/error: the connection ended \((4002|4501).*give another --token/);
});

test('new room rules: it goes on where the room is another kind, and ends with 1 where its right is gone', async () => {
  const file = joinPath(folder(), 'rooms.json');
  const rule = { match: 'ruled:*', subscribe: 'user', publish: 'user' };
  const write = (...rooms: object[]) => writeFileSync(file, JSON.stringify({ rooms }));
  write(rule);
  const ruled = await spawnNode({ ROOMS_FILE: file });
  const room = randomRoom('ruled');
  const user = as(ruled.url, await mintToken({ sub: 'alice' }));
  const following = runCommand(['tail', room], user);
  await until(() => /subscribed/.test(following.errors()), 10_000, 'tail is in the room');
  await reload(ruled, () => write({ ...rule, history: {} }));
  expect(await expectLines(following, 1)).toEqual([expect.stringMatching(/^-- gap: /)]);
  await outcomeOf(['publish', room, 'x'], user);
  expect((await expectLines(following, 2)).at(-1)).toMatch(/ 1 alice "x"$/);
  await reload(ruled, () => write());
  expect(await following.ended()).toBe(1);
  expect(following.errors()).toMatch(/error: the gateway ended the membership \(revoked\)/);
});

test.each(['SIGINT', 'SIGTERM'] as const)('%s ends it with 0 and without a word', async (signal) => {
  const following = await tail(node.url, randomRoom());
  const before = following.errors();
  following.kill(signal);
  expect(await following.ended()).toBe(0);
  expect([following.output(), following.errors()]).toEqual(['', before]);
});

test('when the reader of its output leaves, it ends without a word', async () => {
  const room = randomRoom();
  const shell = spawn('bash', ['-c', `"${command}" tail "${room}" --json | head -n 1; echo "\${PIPESTATUS[*]}"`], {
    env: { PATH: process.env.PATH, ...as(node.url) },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  endWithThisProcess(shell);
  let [printed, errors] = ['', ''];
  shell.stdout.on('data', (chunk) => (printed += chunk));
  shell.stderr.on('data', (chunk) => (errors += chunk));
  const ended = once(shell, 'close');
  await until(() => printed !== '', 10_000, 'head has its line');
  const bob = await enter(node, 'bob');
  const publishing = setInterval(() => void bob.publish(room, 'x'), 50);
  await within(ended, 10_000, 'the pipe ends').finally(() => clearInterval(publishing));
  expect(printed.trim().split('\n')).toEqual([expect.stringContaining('"subscribed"'), '0 0']);
  expect(errors).toBe('');
});
