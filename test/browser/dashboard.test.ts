/**
 * The dashboard in a real browser, on a cluster under load. DASHBOARD_PICTURES=docs/images writes the pictures of the docs; the
 * cluster then talks for a few minutes first, so that the charts have something to show.
 */
import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import { apiKey, post } from '../integration/api.ts';
import { join } from '../integration/people.ts';
import { onCleanup } from '../support/cleanup.ts';
import { type SpawnedNode, spawnNode } from '../support/node.ts';
import { until } from '../support/until.ts';
import { busiestRoom, busyCluster, hostile, pass } from './busy-cluster.ts';
import { launchBrowser } from './chromium.ts';

const axeScript = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

/** What went wrong on the pages of a browser: errors, also of the console, and violations of the policy. */
const faults: string[] = [];

async function open(browser: Browser, node: SpawnedNode, options: BrowserContextOptions = {}): Promise<Page> {
  faults.length = 0;
  const context = await browser.newContext({ viewport: { width: 1440, height: 1000 }, ...options });
  const page = await context.newPage();
  page.on('pageerror', (error) => faults.push(String(error.stack)));
  page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
  page.on('request', (request) => {
    if (!request.url().startsWith(`http://127.0.0.1:${node.adminPort}/`)) faults.push(`asked ${request.url()}`);
    if (request.url().includes(apiKey)) faults.push(`the key is in ${request.url()}`);
  });
  await page.goto(`http://127.0.0.1:${node.adminPort}/`);
  return page;
}

async function signIn(page: Page, key = apiKey): Promise<void> {
  await page.getByLabel('API key').fill(key);
  await page.getByRole('button', { name: 'Open the dashboard' }).click();
}

const health = (page: Page) => page.locator('#health');
const rowOf = (page: Page, table: string, name: string | RegExp) =>
  page.getByRole('region', { name: table }).getByRole('row', { name });
const untilHealth = (page: Page, text: string | RegExp) =>
  health(page).filter({ hasText: text }).waitFor({ timeout: 20_000 });

async function seriousFaults(page: Page): Promise<string[]> {
  // By the debugger, not as a script of the page: its policy would not let it run.
  const { readFileSync } = await import('node:fs');
  await page.evaluate(readFileSync(axeScript, 'utf8'));
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: { run(): Promise<{ violations: Violation[] }> } };
    type Violation = { id: string; impact: string; nodes: { html: string; failureSummary: string }[] };
    const { violations } = await axe.run();
    return violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .map(
        ({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join(' | ')}`,
      );
  });
}

describe('whoever opens the dashboard', () => {
  test('is asked for the key, told that a wrong one is wrong, and asked again after a reload', async () => {
    const node = await spawnNode({ API_KEY: apiKey });
    const page = await open(await launchBrowser(), node);
    await signIn(page, 'not-the-key-of-this-node');
    await page.getByRole('alert').filter({ hasText: 'does not take this key' }).waitFor();
    expect(await page.getByRole('navigation').isVisible()).toBe(false);
    // The browser itself reports the answer 401 on the console.
    faults.splice(0, faults.length, ...faults.filter((fault) => !fault.includes('401')));
    await signIn(page);
    await untilHealth(page, 'The node is well.');
    const kept = await page.evaluate(() => {
      const { document, localStorage, sessionStorage } = globalThis as unknown as {
        document: { cookie: string; documentElement: { innerHTML: string } };
        localStorage: object;
        sessionStorage: object;
      };
      return [
        document.cookie,
        JSON.stringify({ ...localStorage, ...sessionStorage }),
        document.documentElement.innerHTML,
      ];
    });
    expect(kept.slice(0, 2)).toEqual(['', '{}']);
    expect(kept[2]).not.toContain(apiKey);
    await page.reload();
    await page.getByLabel('API key').waitFor();
    expect(faults).toEqual([]);
  });

  test('signs in, moves between the views and signs out with the keyboard alone', async () => {
    const node = await spawnNode({ API_KEY: apiKey });
    const page = await open(await launchBrowser(), node);
    await page.getByLabel('API key').waitFor();
    await page.keyboard.type(apiKey);
    await page.keyboard.press('Enter');
    await untilHealth(page, 'The node is well.');
    const focusOn = async (name: string) => {
      for (let presses = 0; presses < 40; presses++) {
        await page.keyboard.press('Tab');
        // Behind the last element the focus is the browser's.
        const [focused] = await page.locator(':focus').allTextContents();
        if (focused?.trim() === name) return;
      }
      throw new Error(`the Tab key never comes to ${name}`);
    };
    await focusOn('Rooms');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Rooms with members' }).waitFor();
    await focusOn('Sign out');
    await page.keyboard.press('Enter');
    await page.getByLabel('API key').waitFor();
    expect(faults).toEqual([]);
  });
});

describe('on a cluster under load', () => {
  test('the numbers and charts move, and are those of all nodes', async () => {
    const { nodes } = await busyCluster();
    const page = await open(await launchBrowser(), nodes[0]);
    await signIn(page);
    await untilHealth(page, 'All 3 nodes are well.');
    await rowOf(page, 'Busiest rooms', busiestRoom).filter({ hasText: '30' }).waitFor();
    for (const name of ['node-a this page', 'node-b', 'node-c'])
      await rowOf(page, 'Nodes', name).filter({ hasText: 'well' }).waitFor();
    const tile = page.locator('.tile').filter({ hasText: 'Connections' }).locator('.figure');
    expect(await tile.textContent()).toBe('30');
    // What a chart shows, pixel by pixel.
    const pictureOf = () =>
      page
        .getByRole('img', { name: 'Fan-out' })
        .locator('canvas')
        .evaluate((canvas) => (canvas as unknown as { toDataURL(): string }).toDataURL());
    const before = await pictureOf();
    await until(async () => (await pictureOf()) !== before, 10_000, 'the chart moves');
    expect(faults).toEqual([]);
  });

  test('a room shows its history, its members and each message as it comes, all as text', async () => {
    const { nodes } = await busyCluster({ turnMs: 400 });
    const room = 'chat:quiet=1|2';
    const member = await join(nodes[1], hostile, room);
    await member.publish(room, 'before');
    const page = await open(await launchBrowser(), nodes[0]);
    await signIn(page);
    await page.getByRole('link', { name: 'Rooms' }).click();
    await page.getByRole('link', { name: room }).click();
    await page.getByRole('heading', { name: room }).waitFor();
    const first = page.locator('.messages li').first();
    await first.filter({ hasText: 'before' }).waitFor();
    await member.publish(room, hostile);
    await first.filter({ hasText: hostile }).waitFor();
    await post(nodes[2], room, { data: { order: 17 } });
    await first.filter({ hasText: '{"order":17}' }).filter({ hasText: 'the server' }).waitFor();
    // JSON leaves these characters as they are, and a careless reader takes them for ends of lines.
    await member.publish(room, 'one\u2028two\u2029three');
    await first.filter({ hasText: 'three' }).waitFor();
    expect(await first.textContent()).toContain('one\u2028two\u2029three');
    expect(await page.locator('.messages li').count()).toBe(4);
    await rowOf(page, 'Members', hostile).filter({ hasText: 'node-b' }).waitFor();
    // A plain room too, without history.
    await page.goto(`http://127.0.0.1:${nodes[0].adminPort}/#/rooms/match%3A42`);
    await page.getByText('keeps no history').waitFor();
    await page.locator('.messages .live').first().waitFor();
    expect(faults).toEqual([]);
  });

  test('a connection is found, and disconnected after a question', async () => {
    const { nodes, people } = await busyCluster({ turnMs: 400 });
    const page = await open(await launchBrowser(), nodes[0]);
    await signIn(page);
    await page.getByRole('link', { name: 'Connections' }).click();
    await page.getByText('30 shown.').waitFor();
    await page.getByLabel('User', { exact: true }).fill('user-7');
    await page.getByRole('button', { name: 'Find' }).click();
    await page.getByText('1 shown.').waitFor();
    await page.getByRole('button', { name: 'Disconnect user-7' }).click();
    await page.getByRole('dialog', { name: 'Disconnect user-7?' }).waitFor();
    await page.getByRole('button', { name: 'Cancel' }).click();
    expect(people[7]?.socket.readyState).toBe(1);
    await page.getByRole('button', { name: 'Disconnect user-7' }).click();
    await page.getByRole('button', { name: 'This connection' }).click();
    await page.getByText('1 connection was closed.').waitFor();
    expect((await people[7]?.closed)?.code).toBe(4503);
    await page.getByText('No connection is like this.').waitFor();
    expect(faults).toEqual([]);
  });

  test('a node that is killed is told, and remembered when the cluster has forgotten it', async () => {
    const { nodes } = await busyCluster({ turnMs: 400 });
    const page = await open(await launchBrowser(), nodes[0]);
    await signIn(page);
    await untilHealth(page, 'All 3 nodes are well.');
    nodes[2].kill('SIGKILL');
    await untilHealth(page, 'No answer from node-c.');
    await rowOf(page, 'Nodes', 'node-c').filter({ hasText: 'no answer' }).waitFor();
    await untilHealth(page, 'Gone without a farewell: node-c.');
    await rowOf(page, 'Nodes', 'node-c').filter({ hasText: 'gone' }).waitFor();
    expect(faults).toEqual([]);
  });

  test('a line on which nothing comes for 15 s is given up, and the next one tells the news', async () => {
    const { nodes } = await busyCluster({ turnMs: 400 });
    const page = await open(await launchBrowser(), nodes[0]);
    let lines = 0;
    page.on('request', (request) => request.url().endsWith('/dashboard/live') && lines++);
    await signIn(page);
    await untilHealth(page, 'All 3 nodes are well.');
    expect(lines).toBe(1);
    nodes[0].kill('SIGSTOP');
    onCleanup(() => nodes[0].kill('SIGCONT'));
    await untilHealth(page, 'node-a does not answer.');
    await until(() => lines === 2, 40_000, 'the page asks again');
    nodes[0].kill('SIGCONT');
    await untilHealth(page, 'All 3 nodes are well.');
    expect(faults).toEqual([]);
  });

  test('Redis that is away is told, and that the node of the page is', async () => {
    const { nodes, redis } = await busyCluster({ turnMs: 400 });
    const page = await open(await launchBrowser(), nodes[0]);
    await signIn(page);
    await untilHealth(page, 'All 3 nodes are well.');
    await redis.kill();
    await untilHealth(page, /shows node-a alone: .*Redis/);
    await rowOf(page, 'Nodes', 'node-b').filter({ hasText: 'unknown while Redis is away' }).waitFor();
    await redis.start();
    await untilHealth(page, 'All 3 nodes are well.');
    expect(faults).toEqual([]);
    nodes[0].kill('SIGKILL');
    await untilHealth(page, 'node-a does not answer.');
  });

  test.each([
    ['in light', { colorScheme: 'light' }],
    ['in dark', { colorScheme: 'dark' }],
    ['on a phone', { viewport: { width: 390, height: 844 }, colorScheme: 'light', hasTouch: true }],
  ] as const)('axe finds no serious fault %s, and nothing is wider than the screen', async (_, options) => {
    const { nodes } = await busyCluster({ people: 12, turnMs: 200 });
    const page = await open(await launchBrowser(), nodes[0], options);
    expect(await seriousFaults(page)).toEqual([]);
    await signIn(page);
    await rowOf(page, 'Busiest rooms', busiestRoom).waitFor();
    const check = async () => {
      expect(await seriousFaults(page)).toEqual([]);
      const [content, screen] = await page.evaluate(() => {
        const { documentElement } = (
          globalThis as unknown as { document: { documentElement: { scrollWidth: number; clientWidth: number } } }
        ).document;
        return [documentElement.scrollWidth, documentElement.clientWidth];
      });
      expect(content).toBeLessThanOrEqual(screen ?? 0);
    };
    await check();
    await page.getByRole('link', { name: busiestRoom }).click();
    await page.locator('.messages .live').first().waitFor();
    await rowOf(page, 'Members', 'user-0').waitFor();
    await check();
    await page.getByRole('link', { name: 'Connections' }).click();
    await page.getByRole('button', { name: 'Disconnect user-0', exact: true }).click();
    await page.getByRole('dialog').waitFor();
    await check();
    expect(faults).toEqual([]);
  });
});

const pictures = process.env.DASHBOARD_PICTURES;

test.skipIf(pictures === undefined)(
  'pictures for the docs',
  async () => {
    const { nodes, people } = await busyCluster({ people: 120, turnMs: 60 });
    const browser = await launchBrowser();
    const page = await open(browser, nodes[0], { deviceScaleFactor: 1 });
    await signIn(page);
    await untilHealth(page, 'All 3 nodes are well.');
    // People come and go, in waves; some bring a token that has ended.
    let number = 0;
    const timer = setInterval(() => {
      join(nodes[number % 3] as SpawnedNode, `guest-${number++}`, 'chat:lobby').then(
        (client) => setTimeout(() => client.socket.close(), 15_000 + (number % 5) * 8_000),
        // The machine was too slow: one guest fewer.
        () => undefined,
      );
      if (number % 9 === 0) people[number]?.socket.close();
      if (number % 5 === 0) void fetch(nodes[0].url.replace('ws:', 'http:')).catch(() => undefined);
    }, 1_000);
    onCleanup(() => clearInterval(timer));
    await pass(200_000);
    mkdirSync(String(pictures), { recursive: true });
    const take = (name: string, fullPage: boolean) =>
      page.screenshot({ path: `${pictures}/dashboard-${name}.png`, fullPage });
    await take('light', true);
    await page.emulateMedia({ colorScheme: 'dark' });
    await pass(2_000);
    await take('dark', true);
    await page.setViewportSize({ width: 390, height: 844 });
    await pass(2_000);
    await take('phone', false);
    await page.emulateMedia({ colorScheme: 'light' });
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.getByRole('link', { name: busiestRoom }).click();
    await pass(4_000);
    await take('room', false);
  },
  400_000,
);
