/**
 * The client library on pages of a real browser: over lines that are cut, a node that drains, a token that ends, a page that is
 * loaded again, and a proxy that blocks WebSockets. test/browser/background.test.ts has pages in the background.
 *
 * The page is of another origin than the gateway. Between both lies a proxy, as a load balancer does.
 */
import { expect, test } from 'vitest';
import { roomsFile } from '../integration/files.ts';
import { randomRoom } from '../integration/people.ts';
import { faultProxy } from '../support/fault-proxy.ts';
import { type NodeSettings, spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until } from '../support/until.ts';
import { upgradeProxy } from '../support/upgrade-proxy.ts';
import { Random } from '../unit/random.ts';
import { launchBrowser } from './chromium.ts';
import { application, Tab } from './tab.ts';

const redis = await ownRedis();
const page = await application();
const settings: NodeSettings = {
  ...{ REDIS_URL: redis.url, PUBLISH_RATE: 0, ALLOWED_ORIGINS: new URL(page).origin },
  ROOMS_FILE: roomsFile({ match: 'kept:*', history: { size: 10_000 } }),
};
const start = (more: NodeSettings = {}) => spawnNode({ ...settings, ...more });
const node = await start();
const browser = await launchBrowser();
const newContext = () => browser.newContext();

const sorted = (numbers: number[]) => numbers.toSorted((one, other) => one - other);

test('two tabs talk while the network is cut and restored 20 times at random: nothing is missing, nothing doubled', async () => {
  const random = new Random(20);
  const proxy = await faultProxy(node.url);
  const context = await newContext();
  const name = randomRoom('kept');
  const tabs = [await Tab.open(context, page, proxy.url), await Tab.open(context, page, proxy.url)] as const;
  await Promise.all(tabs.map((tab) => tab.follow(name)));
  await tabs[0].publishing(name, 0, 2);
  await tabs[1].publishing(name, 1, 2);
  for (let cuts = 0; cuts < 20; cuts++) {
    const mode = random.pick(['reset', 'blackhole'] as const);
    proxy.mode = mode;
    proxy.cut();
    await tabs[0].page.waitForTimeout(random.next() * 300);
    proxy.mode = 'pass';
    if (mode === 'blackhole') proxy.cut();
    const { length } = (await tabs[0].told(name)).numbers;
    await Promise.all(tabs.map((tab) => tab.heard(name, length + 1 + Math.floor(random.next() * 10), 30_000)));
  }
  const published = sorted((await Promise.all(tabs.map((tab) => tab.publishedAll()))).flat());
  const [one, other] = await Promise.all(tabs.map((tab) => tab.heard(name, published.length)));
  expect(sorted(one?.numbers ?? [])).toEqual(published);
  expect(other?.numbers).toEqual(one?.numbers);
  expect([one?.gaps, other?.gaps]).toEqual([[], []]);
}, 120_000);

test('a node that drains: no message is missed in any room, and there is always an open connection', async () => {
  const leaving = await start({ DRAIN_MS: 6_000 });
  const proxy = await faultProxy(leaving.url);
  const context = await newContext();
  const rooms = [randomRoom('kept'), randomRoom('plain')] as const;
  const reader = await Tab.open(context, page, proxy.url);
  const writers = [await Tab.open(context, page, node.url), await Tab.open(context, page, node.url)] as const;
  for (const [index, name] of rooms.entries()) {
    await reader.follow(name);
    await writers[index as 0 | 1].publishing(name, 0, 1);
  }
  await Promise.all(rooms.map((name) => reader.heard(name, 20)));
  const { connection, states } = await reader.client();
  proxy.target = node.url;
  leaving.kill('SIGTERM');
  await leaving.exited;
  const after = await reader.client();
  expect(after.connection).not.toBe(connection);
  expect(after.states).toEqual(states);
  for (const [index, name] of rooms.entries()) {
    const published = await writers[index as 0 | 1].publishedAll();
    const { numbers, gaps } = await reader.heard(name, published.length);
    expect([sorted(numbers), gaps]).toEqual([published, []]);
  }
  expect(proxy.connections).toBe(1);
});

test('a token is refreshed while the page is open, on the same connection', async () => {
  const tab = await Tab.open(await newContext(), page, node.url, { tokenSeconds: 3 });
  const name = randomRoom('plain');
  await tab.follow(name);
  const { connection } = await tab.client();
  const startedAt = Date.now();
  // The gateway gives a token 5 s of tolerance.
  await until(() => Date.now() - startedAt > 9_000, 15_000, 'the first token has ended');
  await tab.publish(name, 1);
  expect((await tab.heard(name, 1)).gaps).toEqual([]);
  expect((await tab.client()).connection).toBe(connection);
  expect(tab.tokens).toBeGreaterThan(3);
});

test('a page that is loaded again goes on behind the position that it saved', async () => {
  const context = await newContext();
  const name = randomRoom('kept');
  const [reader, writer] = [await Tab.open(context, page, node.url), await Tab.open(context, page, node.url)];
  await reader.follow(name);
  await writer.publish(name, 1);
  await reader.heard(name, 1);
  await reader.page.goto('about:blank');
  await writer.publish(name, 2);
  await reader.page.goto(page);
  await reader.connect(node.url);
  await reader.follow(name);
  expect(await reader.heard(name, 1)).toEqual({ state: 'joined', numbers: [2], gaps: [] });
});

test.each([404, 'hang', 'refuse'] as const)(
  'a proxy that blocks WebSockets (%s): plain HTTP serves within 5 s of the start, for a page of another origin',
  async (mode) => {
    const proxy = await upgradeProxy(node.port, mode);
    const context = await newContext();
    const name = randomRoom('kept');
    const reader = await Tab.open(context, page, proxy.url, { withFallback: true, random: 0.999 });
    const startedAt = performance.now();
    await reader.follow(name);
    // And what a busy machine adds; test/unit/client/fallback.test.ts has the longest waits.
    expect(performance.now() - startedAt).toBeLessThan(5_000 + 3_000);
    expect((await reader.client()).transport).toBe('sse');
    const writer = await Tab.open(context, page, node.url);
    await writer.publish(name, 1);
    await reader.publish(name, 2);
    expect((await reader.heard(name, 2)).numbers).toEqual([1, 2]);

    proxy.mode = 'pass';
    await reader.networkReturns();
    await until(async () => (await reader.client()).transport === 'websocket', 10_000, 'it is back on a WebSocket');
    await writer.publish(name, 3);
    expect(await reader.heard(name, 3)).toEqual({ state: 'joined', numbers: [1, 2, 3], gaps: [] });
    expect((await reader.client()).states.at(-1)).toBe('open');
  },
);

test('over HTTP/1.1 a browser has three rooms at a time and can still publish; the fourth comes with a WebSocket', async () => {
  const proxy = await upgradeProxy(node.port, 404);
  const tab = await Tab.open(await newContext(), page, proxy.url, { withFallback: true });
  const names = Array.from({ length: 4 }, () => randomRoom('kept'));
  const joining = Promise.all(names.map((name) => tab.follow(name)));
  await until(async () => (await tab.client()).transport === 'sse', 10_000, 'HTTP serves');
  const states = () => Promise.all(names.map(async (name) => (await tab.told(name)).state));
  const three = ['joined', 'joined', 'joined', 'joining'];
  await until(async () => (await states()).join() === three.join(), 10_000, 'three rooms are joined');
  for (const name of names) await tab.publish(name, 1);
  for (const name of names.slice(0, 3)) await tab.heard(name, 1);
  proxy.mode = 'pass';
  await tab.networkReturns();
  await joining;
  expect(await tab.client()).toMatchObject({ transport: 'websocket', state: 'open' });
});
