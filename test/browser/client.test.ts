/**
 * The client library in a real browser, as a page gets it from `/client.js`: over a line that is cut, and over a reload.
 *
 * The waits of the backoff are a matter of test/unit/client; here they are short.
 */
import type { Browser, Page } from 'playwright-core';
import { expect, test } from 'vitest';
import type { connect, Room } from '../../shared/client/client.ts';
import { type FaultProxy, faultProxy } from '../support/fault-proxy.ts';
import { spawnNode } from '../support/node.ts';
import { until } from '../support/until.ts';
import { launchBrowser } from './chromium.ts';

/** What the page of a test keeps beside the page's own. */
interface Kept {
  room: Room;
  told: unknown[];
  gaps: string[];
}

async function open(browser: Browser, proxy: FaultProxy): Promise<Page> {
  // The page below allows no scripts but its own.
  const page = await browser.newPage({ bypassCSP: true });
  await page.addInitScript(() => {
    Math.random = () => 0.02;
  });
  await page.goto(`http://127.0.0.1:${proxy.port}/`);
  await enter(page);
  return page;
}

/** Joins the room, from the position that the page saved if there is one. */
async function enter(page: Page): Promise<void> {
  // As a script of the page: the compiler of the tests would replace an import in a function.
  const content = "import { connect } from '/client.js'; globalThis.connect = connect;";
  await page.addScriptTag({ type: 'module', content });
  await page.waitForFunction(() => 'connect' in globalThis);
  await page.evaluate(async () => {
    const page = globalThis as unknown as Kept & {
      connect: typeof connect;
      location: { host: string };
      sessionStorage: Record<string, string>;
    };
    const token = await (await fetch('/demo/token')).text();
    const client = page.connect(`ws://${page.location.host}/ws`, { token });
    const since = JSON.parse(page.sessionStorage.since ?? 'null') ?? undefined;
    const room = client.room('demo:library', { since });
    Object.assign(page, { room, told: [], gaps: [] });
    room.on('message', ({ data }) => {
      page.told.push(data);
      page.sessionStorage.since = JSON.stringify(room.position);
    });
    room.on('gap', ({ reason, count }) => count === 0 || page.gaps.push(reason));
    await room.subscribe();
  });
}

const kept = (page: Page) =>
  page.evaluate(() => {
    const { room, told, gaps } = globalThis as unknown as Kept;
    return { state: room.state, told, gaps };
  });

const publish = (page: Page, data: unknown) =>
  page.evaluate((message) => (globalThis as unknown as Kept).room.publish(message), data);

test('two tabs whose lines are cut 20 times miss nothing and double nothing', async () => {
  const node = await spawnNode({ JWT_SECRET: '' });
  const proxy = await faultProxy(node.url);
  const browser = await launchBrowser();
  const tabs = [await open(browser, proxy), await open(browser, proxy)] as const;
  const numbers: number[] = [];
  for (let cut = 0; cut < 20; cut++) {
    const sent = Promise.all([0, 1].map((each) => publish(tabs[each as 0 | 1], 2 * cut + each)));
    proxy.cut();
    await sent;
    numbers.push(2 * cut, 2 * cut + 1);
  }
  for (const tab of tabs) {
    await until(async () => (await kept(tab)).told.length >= numbers.length, 10_000, 'all messages have come');
    const { told, gaps } = await kept(tab);
    expect([told.toSorted((a, b) => Number(a) - Number(b)), gaps]).toEqual([numbers, []]);
  }
  expect((await kept(tabs[0])).told).toEqual((await kept(tabs[1])).told);
});

test('a page that is loaded again goes on where it was', async () => {
  const node = await spawnNode({ JWT_SECRET: '' });
  const proxy = await faultProxy(node.url);
  const browser = await launchBrowser();
  const [reader, writer] = [await open(browser, proxy), await open(browser, proxy)];
  await publish(writer, 'before');
  await until(async () => (await kept(reader)).told.length === 1, 5_000, 'the first message has come');
  await reader.goto('about:blank');
  await publish(writer, 'meanwhile');
  await reader.goto(`http://127.0.0.1:${proxy.port}/`);
  await enter(reader);
  await until(async () => (await kept(reader)).told.length === 1, 5_000, 'the message has come');
  expect(await kept(reader)).toEqual({ state: 'joined', told: ['meanwhile'], gaps: [] });
});
