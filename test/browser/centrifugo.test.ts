/**
 * centrifuge-js in Chromium, unmodified: as JSON and as Protobuf, over WebSockets, and over HTTP where a proxy takes no WebSockets.
 * Its members share a room with a native one, on nodes behind a load balancer.
 */
import type { Browser } from 'playwright-core';
import { beforeAll, expect, test } from 'vitest';
import { roomsFile } from '../integration/files.ts';
import { dataOf, join, randomRoom } from '../integration/people.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { until } from '../support/until.ts';
import { upgradeProxy } from '../support/upgrade-proxy.ts';
import { startBalancer } from '../verify/balancer.ts';
import { serveApplication } from './application.ts';
import { CentrifugoTab, forms } from './centrifugo-tab.ts';
import { launchBrowser } from './chromium.ts';

const rules = roomsFile({ match: 'kept:*', history: { size: 1_000 }, presence: true });

let browser: Browser;
let origin: string;
let redis: string;
beforeAll(async () => {
  [browser, origin, redis] = await Promise.all([
    launchBrowser(),
    serveApplication(''),
    ownRedis().then(({ url }) => url),
  ]);
});

/** Nodes behind one address, and a second one that takes no WebSockets. */
async function startCluster() {
  const balancer = await startBalancer();
  const port = Number(new URL(balancer.url).port);
  const blocked = await upgradeProxy(port, 403);
  const settings = {
    ...{ REDIS_URL: redis, REDIS_PREFIX: randomRoom('browser'), ROOMS_FILE: rules, CENTRIFUGO: true },
    ...{ ALLOWED_ORIGINS: new URL(origin).origin, DRAIN_NOTICE_MS: 500, DRAIN_MS: 500 },
  };
  const start = async () => {
    const node = await spawnNode(settings);
    const at = balancer.targets.push(node) - 1;
    await until(() => balancer.ready[at], 10_000, 'the node is ready');
    return node;
  };
  const end = async (node: SpawnedNode, signal: NodeJS.Signals) => {
    node.kill(signal);
    balancer.targets[balancer.targets.indexOf(node)] = undefined;
    await node.exited;
  };
  const open = async (room: string, tokenSeconds = 3_600) => {
    const context = await browser.newContext();
    const hostOf = (form: string) => `127.0.0.1:${form.startsWith('websocket') ? port : blocked.port}`;
    return Promise.all(
      forms.map((form) => CentrifugoTab.open(context, form, { origin, host: hostOf(form), room, tokenSeconds })),
    );
  };
  return { start, end, open, blocked };
}

const upTo = (last: number) => Array.from({ length: last }, (_, index) => index + 1);

test('by each form a page publishes, gets everything, and comes back from a node that is killed and from one that drains', async () => {
  const { start, end, open, blocked } = await startCluster();
  const room = randomRoom('kept');
  const first = await start();
  const tabs = await open(room);
  // Commands without WebSockets go to both from here on.
  const second = await start();
  const native = await join(second, 'native', room);
  for (const [index, tab] of tabs.entries()) await tab.publish(index + 1);
  await native.publish(room, 6);
  for (const tab of tabs) {
    expect((await tab.presence()).users.toSorted(), tab.form).toEqual([...forms, 'native'].toSorted());
    expect(await tab.presence(), tab.form).toMatchObject({ count: 6 });
    expect(await tab.history(3), tab.form).toEqual([6, 5, 4]);
  }

  await end(first, 'SIGKILL');
  for (const data of [7, 8, 9]) await native.publish(room, data);
  await Promise.all(tabs.map((tab) => tab.have(9)));
  const third = await start();
  const other = await join(third, 'other', room);
  await end(second, 'SIGTERM');
  for (const data of [10, 11]) await other.publish(room, data);
  for (const tab of tabs) await tab.publish('after');

  expect(blocked.upgrades).toBeGreaterThanOrEqual(3);
  await until(() => dataOf(other, room).length === 7, 5_000, 'the native member has the rest');
  for (const tab of tabs) {
    const { connecting, publications, subscribed, transports, unsubscribed } = await tab.have(16);
    const [transport = ''] = tab.form.split(' ');
    const data = [...upTo(11), ...forms.map(() => 'after')];
    expect(publications, tab.form).toEqual(data.map((each, index) => ({ offset: index + 1, data: each })));
    const again = { wasRecovering: true, recovered: true };
    expect(subscribed, tab.form).toEqual([{ wasRecovering: false, recovered: false }, again, again]);
    expect([transports, unsubscribed], tab.form).toEqual([[transport, transport, transport], []]);
    expect(connecting, tab.form).toEqual([0, 1, 3001]);
  }
});

test('by each form a page brings a new token before the old one ends, and its connection goes on', async () => {
  const { start, open } = await startCluster();
  await start();
  const tabs = await open(randomRoom('kept'), 4);
  await until(() => tabs.every(({ tokens }) => tokens >= 3), 20_000, 'each has asked for three tokens');
  await Promise.all(tabs.map((tab) => tab.publish(tab.form)));
  for (const tab of tabs) {
    const { transports, subscribed, publications } = await tab.have(tabs.length);
    expect([transports.length, subscribed.length], tab.form).toEqual([1, 1]);
    expect(publications.map(({ data }) => data).toSorted()).toEqual(forms.toSorted());
  }
});
