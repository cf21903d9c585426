/**
 * The demo page in a real browser, served by the built program as `npm start` runs it.
 */
import type { Page } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import { spawnNode } from '../support/node.ts';
import { launchBrowser } from './chromium.ts';

async function write(page: Page, text: string): Promise<void> {
  await page.getByRole('textbox').fill(text);
  await page.getByRole('button', { name: 'Send' }).click();
}

const lines = (page: Page) => page.locator('#messages li:not(.note)').allTextContents();

describe('the demo page', () => {
  test('two tabs talk in a room, each as a user of its own, in the same order', async () => {
    const node = await spawnNode({ JWT_SECRET: '' });
    const browser = await launchBrowser();
    const errors: string[] = [];
    const open = async () => {
      const page = await browser.newPage();
      page.on('pageerror', (error) => errors.push(error.message));
      await page.goto(`http://127.0.0.1:${node.port}/`);
      await page.getByText(/^You are guest-/).waitFor();
      return page;
    };
    const [first, second] = [await open(), await open()];

    await write(first, 'hello from the first tab');
    await second.getByText('hello from the first tab').waitFor();
    await write(second, '<b>hello</b> from the second tab');
    await first.getByText('<b>hello</b> from the second tab').waitFor();

    const seen = await lines(first);
    expect(seen).toHaveLength(2);
    expect(await lines(second)).toEqual(seen);
    expect(new Set(seen.map((line) => line.split(':')[0])).size).toBe(2);
    expect(errors).toEqual([]);
  });

  test('it says so when the gateway closes the connection', async () => {
    const node = await spawnNode({ JWT_SECRET: '' });
    const browser = await launchBrowser();
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${node.port}/`);
    await page.getByText(/^You are guest-/).waitFor();
    await node.stop();
    await page.getByText(/Connection closed: 4001/).waitFor();
  });

  test('a page of another origin cannot open a connection', async () => {
    const node = await spawnNode({ JWT_SECRET: '' });
    const other = await spawnNode({ JWT_SECRET: '' });
    const browser = await launchBrowser();
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${other.port}/`);
    const code = await page.evaluate((url) => {
      const socket = new WebSocket(url, 'roomcast.v1.json');
      return new Promise((resolve) => {
        socket.onclose = (event) => resolve(event.code);
      });
    }, node.url);
    expect(code).toBe(1006);
  });
});
