/**
 * Long polls: what they answer and when, on any node; how they end with a drain, a right, a token or a rule; and what they
 * are to limits and presence. Nothing is lost between two polls.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { expect, inject, test } from 'vitest';
import { type NodeSettings, spawnNode, startNode } from '../support/node.ts';
import { beginPoll, poll, positionOf } from '../support/poll.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { metric, reload } from './admin.ts';
import { roomsFile } from './files.ts';
import { enter, everywhere, join, randomRoom, tokenOf } from './people.ts';

const kept = { match: 'kept:*', history: {}, presence: true, joinLeave: true };

function start(settings: NodeSettings = {}, ...rules: object[]) {
  return startNode({ ROOMS_FILE: roomsFile(...rules, kept), PUBLISH_RATE: 0, ...settings });
}

function waiting(node: { adminPort: number }, count: number): Promise<unknown> {
  return until(async () => (await metric(node, 'gateway_polls')) === count, 5_000, `${count} polls wait`);
}

const dataOf = ({ messages }: { messages: { data?: unknown }[] }) => messages.map(({ data }) => data);

test('without since a poll answers the present position at once, and with it what came behind, or the next message', async () => {
  const node = await start();
  const [room, token] = [randomRoom('kept'), await tokenOf('poller')];
  const publisher = await enter(node, 'publisher');
  const first = await poll(node, room, { token });
  expect(first).toEqual({ epoch: expect.any(String), offset: 0, messages: [] });
  for (const data of [1, { text: 'ä\n' }]) await publisher.publish(room, data);
  const second = await poll(node, room, { token, since: positionOf(first) });
  expect(second).toEqual({
    ...{ epoch: first.epoch, offset: 2, recovered: true },
    messages: [
      { type: 'message', room, offset: 1, data: 1, from: 'publisher', at: expect.any(Number) },
      { type: 'message', room, offset: 2, data: { text: 'ä\n' }, from: 'publisher', at: expect.any(Number) },
    ],
  });
  const third = poll(node, room, { token, since: positionOf(second) });
  await waiting(node, 1);
  await publisher.publish(room, 3);
  expect(await third).toMatchObject({ offset: 3, messages: [{ offset: 3, data: 3 }], recovered: true });
  await waiting(node, 0);
});

test('a poll without a message is answered by its own position after wait, at once if that is 0', async () => {
  const node = await start();
  const [room, token] = [randomRoom('kept'), await tokenOf('poller')];
  const since = positionOf(await poll(node, room, { token }));
  const began = performance.now();
  const { answer } = beginPoll(node, room, { token, since, wait: 1 });
  const { headers, text } = await answer;
  const tookMs = performance.now() - began;
  expect(tookMs).toBeGreaterThan(950);
  expect(JSON.parse(text)).toMatchObject({ messages: [], recovered: true });
  expect(positionOf(JSON.parse(text))).toBe(since);
  expect(headers).toMatchObject({ 'content-type': 'application/json', 'cache-control': 'no-store' });
  expect(await poll(node, room, { token, since, wait: 0 })).toMatchObject({ messages: [] });
});

test('data with line breaks between its tokens comes as the same JSON', async () => {
  const node = await start();
  const [room, token] = [randomRoom('kept'), await tokenOf('poller')];
  const since = positionOf(await poll(node, room, { token }));
  const publisher = await enter(node, 'publisher');
  publisher.send(`{"type":"publish","room":"${room}","data":{\n"a":\r\n[1,\r2],"b":"\\n\\r\u2028"\n}}`);
  expect(dataOf(await poll(node, room, { token, since }))).toEqual([{ a: [1, 2], b: '\n\r\u2028' }]);
});

test('polls of one client at any node get each message once and in order, while messages flow', async () => {
  const shared = { REDIS_URL: inject('redisUrl'), REDIS_PREFIX: inject('redisPrefix') };
  const nodes = [await start(shared), await start(shared)] as const;
  const [room, token] = [randomRoom('kept'), await tokenOf('poller')];
  const publisher = await enter(nodes[0], 'publisher');
  let since = positionOf(await poll(nodes[0], room, { token }));
  const total = 300;
  const published = (async () => {
    for (let data = 0; data < total; data++) await publisher.publish(room, data);
  })();
  const heard: unknown[] = [];
  for (let turn = 1; heard.length < total; turn++) {
    const answer = await poll(nodes[turn % 2 === 0 ? 0 : 1], room, { token, since });
    expect(answer.recovered).toBe(true);
    heard.push(...dataOf(answer));
    since = positionOf(answer);
  }
  await published;
  expect(heard).toEqual(Array.from({ length: total }, (_, data) => data));
});

test('an answer is bounded in bytes, and the next poll goes on behind it', async () => {
  const node = await start({ MAX_BUFFERED_BYTES: 262_144 });
  const [room, token] = [randomRoom('kept'), await tokenOf('poller')];
  let since = positionOf(await poll(node, room, { token }));
  const publisher = await enter(node, 'publisher');
  for (let data = 0; data < 50; data++) await publisher.publish(room, [data, 'x'.repeat(12_000)]);
  const numbers: number[] = [];
  while (numbers.length < 50) {
    const { answer } = beginPoll(node, room, { token, since });
    const { text } = await answer;
    expect(text.length).toBeLessThan(140_000);
    const part = JSON.parse(text);
    numbers.push(...dataOf(part).map((data) => (data as [number])[0]));
    since = positionOf(part);
  }
  expect(numbers).toEqual(Array.from({ length: 50 }, (_, data) => data));
});

test('a position that cannot be resumed is answered at once: recovered is false, with the present position', async () => {
  const node = await start({}, { match: 'kept:small:*', history: { size: 3 } });
  const [room, token] = [randomRoom('kept:small'), await tokenOf('poller')];
  const first = await poll(node, room, { token });
  const publisher = await enter(node, 'publisher');
  for (let data = 1; data <= 5; data++) await publisher.publish(room, data);
  for (const since of [positionOf(first), 'another:3', `${first.epoch}:99`]) {
    expect(await poll(node, room, { token, since })).toEqual({
      ...{ epoch: first.epoch, offset: 5, messages: [], recovered: false },
    });
  }
  expect(dataOf(await poll(node, room, { token, since: `${first.epoch}:2` }))).toEqual([3, 4, 5]);
});

test('a drain answers a waiting poll with its position and closes the connection; nobody waits for its end', async () => {
  const node = await start({ DRAIN_MS: 300 });
  const [room, token] = [randomRoom('kept'), await tokenOf('poller')];
  const since = positionOf(await poll(node, room, { token }));
  const { answer } = beginPoll(node, room, { token, since, wait: 25 });
  await waiting(node, 1);
  const began = performance.now();
  const stopped = node.stop();
  const { status, headers, text } = await answer;
  expect([status, headers.connection]).toEqual([200, 'close']);
  expect(JSON.parse(text)).toMatchObject({ messages: [], recovered: true });
  expect(positionOf(JSON.parse(text))).toBe(since);
  await stopped;
  expect(performance.now() - began).toBeLessThan(15_000);
});

test('a poll ends at the exp of its token with 401', async () => {
  const node = await start();
  const token = await mintToken({ sub: 'poller', rooms: everywhere, exp: Math.floor(Date.now() / 1000) - 3 });
  const room = randomRoom('kept');
  const since = positionOf(await poll(node, room, { token: await tokenOf('poller') }));
  const { status, headers } = await beginPoll(node, room, { token, since }).answer;
  expect([status, headers['www-authenticate']]).toEqual([401, 'Bearer']);
});

test('a poll whose right is taken away gets 403; one whose room changes its kind is sent to the next poll', async () => {
  const open = { match: '*', subscribe: 'user', history: {} };
  const file = roomsFile(open);
  const node = await spawnNode({ ROOMS_FILE: file });
  const token = await mintToken({ sub: 'poller' });
  const [lost, plain, other] = [randomRoom('lost'), randomRoom('plain'), randomRoom('kept')];
  const polls = await Promise.all(
    [lost, plain, other].map(async (room) => {
      const since = positionOf(await poll(node, room, { token }));
      return { since, ...beginPoll(node, room, { token, since }) };
    }),
  );
  await waiting(node, 3);
  await reload(node, () => {
    const rules = [{ match: 'lost:*', history: {} }, { match: 'plain:*', subscribe: 'user' }, open];
    writeFileSync(`${file}.new`, JSON.stringify({ rooms: rules }));
    renameSync(`${file}.new`, file);
  });
  expect((await polls[0]?.answer)?.status).toBe(403);
  const sent = await polls[1]?.answer;
  expect(JSON.parse(sent?.text ?? '')).toMatchObject({ messages: [], recovered: true });
  expect((await beginPoll(node, plain, { token, since: polls[1]?.since }).answer).status).toBe(403);
  await waiting(node, 1);
});

test('a waiting poll takes a place of its node, of its address and of its user; one that goes gives it back', async () => {
  const settings = { MAX_CONNECTIONS: 2, MAX_CONNECTIONS_PER_IP: 1 };
  const node = await start(settings);
  const [room, token] = [randomRoom('kept'), await tokenOf('poller')];
  const since = positionOf(await until(() => poll(node, room, { token }), 5_000, 'the position'));
  const first = beginPoll(node, room, { token, since });
  await waiting(node, 1);
  expect(await metric(node, 'gateway_connections')).toBe(1);
  const refused = await beginPoll(node, room, { token, since }).answer;
  expect([refused.status, refused.headers['retry-after']]).toEqual([429, '5']);
  first.abort();
  await waiting(node, 0);
  await until(() => poll(node, room, { token }), 5_000, 'there is room again');

  const full = await start({ MAX_CONNECTIONS: 1 });
  await enter(full, 'socket');
  const busy = await beginPoll(full, room, { token, since }).answer;
  expect([busy.status, busy.headers['retry-after']]).toEqual([503, '5']);

  const single = await start({ MAX_CONNECTIONS_PER_USER: 1 });
  const there = positionOf(await poll(single, room, { token }));
  const older = beginPoll(single, room, { token, since: there });
  await waiting(single, 1);
  const newer = beginPoll(single, room, { token, since: there, wait: 1 });
  expect((await older.answer).status).toBe(429);
  expect((await newer.answer).status).toBe(200);
});

test('in presence a polling user joins once and stays between two polls; one who goes while he waits leaves', async () => {
  const node = await start();
  const room = randomRoom('kept');
  const watcher = await join(node, 'watcher', room);
  const token = await tokenOf('poller');
  let since = positionOf(await poll(node, room, { token }));
  expect(await watcher.next('join')).toMatchObject({ members: [{ user: 'poller' }] });
  for (let data = 0; data < 4; data++) {
    await watcher.publish(room, data);
    since = positionOf(await poll(node, room, { token, since }));
    expect(await watcher.request({ type: 'presence', room })).toMatchObject({ count: 2, users: 2 });
  }
  const goes = beginPoll(node, room, { token, since });
  await waiting(node, 1);
  goes.abort();
  expect(await watcher.next('leave')).toMatchObject({ members: [{ user: 'poller' }] });
  const changes = watcher.frames.flatMap(({ type }) => (type === 'join' || type === 'leave' ? [type] : []));
  expect(changes).toEqual(['join', 'leave']);
});

test('in presence polls without a token are nobody', async () => {
  const node = await start({ ANONYMOUS: true }, { ...kept, match: 'kept:open:*', subscribe: 'anyone' });
  const room = randomRoom('kept:open');
  const watcher = await join(node, 'watcher', room);
  const since = positionOf(await poll(node, room));
  const { answer } = beginPoll(node, room, { since });
  await waiting(node, 1);
  expect(await watcher.request({ type: 'presence', room })).toMatchObject({ count: 1, users: 1 });
  await watcher.publish(room, 1);
  expect((await answer).status).toBe(200);
  const { frames } = watcher;
  expect(frames.filter(({ type }) => type === 'join')).toEqual([]);
});

test('after the process stood still, a poll that waits is sent away with 503', { timeout: 30_000 }, async () => {
  const node = await spawnNode({ ROOMS_FILE: roomsFile(kept) });
  const [room, token] = [randomRoom('kept'), await tokenOf('poller')];
  const since = positionOf(await poll(node, room, { token }));
  const { answer } = beginPoll(node, room, { token, since });
  await waiting(node, 1);
  node.kill('SIGSTOP');
  const stoppedAt = performance.now();
  await until(() => performance.now() - stoppedAt > 5_600, 10_000, 'it has stood still for long enough');
  node.kill('SIGCONT');
  const { status, headers } = await answer;
  expect([status, headers['retry-after']]).toEqual([503, '5']);
});

test('polls have the request rate of a connection, for each user of the node, or each address without one', async () => {
  // At once: 1, and 3 for the one room of a connection.
  const settings = { REQUEST_RATE: 1, MAX_ROOMS_PER_CONNECTION: 1, MAX_CONNECTIONS_PER_USER: 0, ANONYMOUS: true };
  const node = await start(settings, { match: 'kept:*', subscribe: 'anyone', history: {} });
  const [room, token] = [randomRoom('kept'), await tokenOf('poller')];
  const several = (count: number, who?: string) =>
    Promise.all(Array.from({ length: count }, () => beginPoll(node, room, { token: who, wait: 0 }).answer));
  const first = await several(30, token);
  const refused = first.filter(({ status }) => status !== 200);
  expect(first.length - refused.length).toBeGreaterThanOrEqual(4);
  expect(refused.length).toBeGreaterThan(0);
  for (const { status, headers, text } of refused) {
    const { type } = JSON.parse(text);
    expect([status, headers['retry-after'], type]).toEqual([429, '1', 'https://roomcast.dev/problems/rate_limited']);
  }
  // Another token of the same user has the same rate; another user has his own, and so has an address.
  const another = await mintToken({ sub: 'poller', rooms: { '*': ['subscribe'] }, jti: 'another' });
  expect((await several(30, another)).filter(({ status }) => status === 200).length).toBeLessThan(30);
  expect((await several(4, await tokenOf('other'))).map(({ status }) => status)).toEqual([200, 200, 200, 200]);
  expect((await several(4)).map(({ status }) => status)).toEqual([200, 200, 200, 200]);
  expect((await several(30)).some(({ status }) => status === 429)).toBe(true);
  await waiting(node, 0);
});
