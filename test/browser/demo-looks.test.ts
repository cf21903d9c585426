/**
 * How the demo page looks and how one gets about in it: on a desk, on a phone, light, dark, without a mouse, with a screen
 * reader. `PICTURES=write` writes the pictures of the README into docs/images.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { BrowserContextOptions, Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { spawnNode } from '../support/node.ts';
import { until } from '../support/until.ts';
import { launchBrowser } from './chromium.ts';
import { Tab } from './demo-tab.ts';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const pictures = fileURLToPath(new URL('../../docs/images/', import.meta.url));
const desk = { viewport: { width: 1280, height: 800 }, deviceScaleFactor: 1.5 };
const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

const looks: [string, BrowserContextOptions][] = [
  ['desktop', { ...desk, colorScheme: 'light' }],
  ['dark', { ...desk, colorScheme: 'dark' }],
  ['phone', { ...phone, colorScheme: 'light' }],
  ['phone-dark', { ...phone, colorScheme: 'dark' }],
];

/** Two people have talked, and the line of the one whose tab this is was cut and restored; the other is typing. */
async function conversation(port: number, options: BrowserContextOptions): Promise<Tab> {
  const browser = await launchBrowser();
  const tab = await Tab.open(browser, port, { ...options, reducedMotion: 'reduce' }, 'guest-3f9ac2');
  const other = await Tab.open(browser, port, {}, 'guest-b8e610');
  const talk = async (from: Tab, to: Tab, text: string) => {
    await from.write(text);
    await to.shows(text);
  };
  await talk(other, tab, 'Good morning! Shall we ship it today?');
  await talk(tab, other, 'Yes. I cut my line first, to see what happens to what you write.');
  await tab.press('Cut the line');
  for (const text of ['You do not see this yet.', 'Nor this.']) await talk(other, other, text);
  await tab.press('Restore the line');
  await tab.isInRoom();
  await talk(tab, other, 'There they are, in their place. Nothing is missing and nothing is doubled.');
  await other.page.getByRole('textbox', { name: 'Message' }).pressSequentially('Then drain the node');
  await tab.page.getByText('guest-b8e610 is typing…').waitFor();
  return tab;
}

test.each(looks)(
  '%s: axe finds no fault, nothing is wider than the screen, and it is the picture of docs/images',
  async (name, options) => {
    const node = await spawnNode({ JWT_SECRET: '', NODE_ID: 'node-1' });
    const tab = await conversation(node.port, options);
    const { page } = tab;
    if (process.env.PICTURES === 'write' && name !== 'phone-dark') await picture(page, name);
    await page.locator('#frames summary').first().press('Enter');
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() =>
      (globalThis as unknown as { axe: { run(): Promise<Result> } }).axe.run(),
    );
    expect(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)])).toEqual([]);
    expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBe(0);
    tab.expectNoComplaints();
  },
);

/** When the latency has been measured for a while, with what was recovered in sight. */
async function picture(page: Page, name: string): Promise<void> {
  const measured = () => page.evaluate("document.querySelector('#spark polyline').points.length");
  await until(async () => Number(await measured()) >= 12, 40_000, 'latencies');
  await page.mouse.move(1, 1);
  await page.evaluate(`document.activeElement.blur();
    const back = [...document.querySelectorAll('#frames .event')].find(({ textContent }) => textContent.endsWith('the line is restored'));
    document.querySelector('#frames').scrollTop = back.offsetTop - 6;`);
  mkdirSync(pictures, { recursive: true });
  await page.screenshot({ path: `${pictures}demo-${name}.png` });
}

interface Result {
  violations: { id: string; nodes: { html: string }[] }[];
}

test('on the narrowest phone, with several rooms and long words, nothing is wider than the screen', async () => {
  const node = await spawnNode({ JWT_SECRET: '' });
  const narrow = { ...phone, viewport: { width: 320, height: 640 } };
  const tab = await Tab.open(await launchBrowser(), node.port, narrow);
  for (const name of ['kitchen', 'r'.repeat(32)]) {
    await tab.page.getByLabel('Name of a room to join').fill(name);
    await tab.press('Join');
  }
  await tab.write('w'.repeat(200));
  await tab.shows('w'.repeat(200));
  expect(await tab.page.evaluate('document.documentElement.scrollWidth')).toBe(320);
  tab.expectNoComplaints();
});

test('everything can be done with the keyboard, in the order in which one reads it', async () => {
  const node = await spawnNode({ JWT_SECRET: '' });
  const { page, ...tab } = await Tab.open(await launchBrowser(), node.port);
  const stops: string[] = [];
  const focused = () =>
    page.evaluate(
      `(({ activeElement: it }) => it.labels?.[0]?.textContent.trim() || it.ariaLabel || it.textContent.trim() || it.id)(document)`,
    );
  for (let stop = 0; stop < 11; stop++) {
    await page.keyboard.press('Tab');
    stops.push(String(await focused()));
  }
  expect(stops.slice(0, 9)).toEqual([
    ...['lobby', 'Name of a room to join', 'Join', 'Messages', 'Message', 'Send', 'Cut the line', 'Drain this node'],
    'pings',
  ]);
  await page.getByRole('button', { name: 'Cut the line' }).press('Enter');
  await page.getByRole('status').getByText('line cut').waitFor();
  expect(await focused()).toBe('Restore the line');
  expect(tab.complaints).toEqual([]);
});
