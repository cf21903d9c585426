/**
 * The examples of docs/examples: each started by the commands of its README as they are written there, and used in a real
 * browser. Only the ports are others: free ones.
 */
import { readdirSync, readFileSync } from 'node:fs';
import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { blocksOf, startAsDocumented } from '../integration/documented-node.ts';
import { freePort } from '../support/free-port.ts';
import { until } from '../support/until.ts';
import { launchBrowser } from './chromium.ts';

const examples = new URL('../../docs/examples/', import.meta.url);

/** Between two places of a pointer, as docs/examples/live-cursors says. */
const everyMs = 50;

interface Example {
  /** Opens a page of it, by what stands behind its address. */
  open(query?: string): Promise<Page>;
  /** What its pages complained of. */
  complaints: string[];
}

async function start(name: string): Promise<Example> {
  const [port, browser] = await Promise.all([freePort(), launchBrowser()]);
  const onPort = (text: string) => text.replaceAll(':3000', `:${port}`).replaceAll('port = 3000', `port = ${port}`);
  const texts = Object.fromEntries(
    readdirSync(examples, { recursive: true, encoding: 'utf8' })
      .filter((path) => path.includes('.'))
      .map((path) => [`docs/examples/${path}`, onPort(readFileSync(new URL(path, examples), 'utf8'))]),
  );
  const [install, gateway, server] = blocksOf(texts[`docs/examples/${name}/README.md`] ?? '');
  expect(install?.text).toBe('npm ci\n');
  const node = await startAsDocumented(gateway?.text ?? '', texts);
  node.add(texts);
  await node.start(server?.text ?? '', /Open http/);
  const complaints: string[] = [];
  return {
    complaints,
    async open(query = '') {
      const page = await (await browser.newContext()).newPage();
      page.on('pageerror', (error) => complaints.push(error.message));
      page.on('console', (message) => complaints.push(message.text()));
      await page.goto(`http://127.0.0.1:${port}/${query}`);
      return page;
    },
  };
}

test('chat: two tabs talk, see each other, and a third one begins with what was said', async () => {
  const { open, complaints } = await start('chat');
  const [ada, grace] = [await open('?user=ada'), await open('?user=grace')];
  const write = async (page: Page, text: string) => {
    await page.getByRole('textbox').fill(text);
    await page.keyboard.press('Enter');
  };
  await ada.getByText('ada, grace').waitFor();
  await write(ada, '<i>hello</i>');
  await grace.getByText('ada: <i>hello</i>', { exact: true }).waitFor();
  await write(grace, 'hello ada');
  await ada.getByText('grace: hello ada', { exact: true }).waitFor();
  const third = await open('?user=alan');
  await third.getByText('hello ada').waitFor();
  expect(await third.locator('#messages div').allInnerTexts()).toEqual(['ada: <i>hello</i>', 'grace: hello ada']);
  await grace.close();
  await ada.getByText('ada, alan', { exact: false }).waitFor();
  expect(complaints).toEqual([]);
});

test('live cursors: the other pointer follows in few messages, stops where it stopped, and goes with its tab', async () => {
  const { open, complaints } = await start('live-cursors');
  const [ada, grace] = [await open('?user=ada'), await open('?user=grace')];
  const sent: string[] = [];
  ada.on('websocket', (socket) => socket.on('framesent', ({ payload }) => sent.push(String(payload))));
  await ada.reload();
  const box = await ada.locator('#canvas').boundingBox();
  const { x = 0, y = 0, width = 0, height = 0 } = box ?? {};
  const cursor = grace.locator('.cursor', { hasText: 'ada' });
  const began = performance.now();
  await until(
    async () => {
      await ada.mouse.move(x + 5, y + 5);
      await ada.mouse.move(x + width / 2, y + height / 4, { steps: 200 });
      return (await cursor.count()) === 1;
    },
    10_000,
    'the cursor is there',
  );
  await until(
    async () => {
      const { left, top } = await cursor.evaluate((it) => (it as unknown as { style: Record<string, string> }).style);
      return Math.abs(Number.parseFloat(left ?? '') - 50) < 1 && Math.abs(Number.parseFloat(top ?? '') - 25) < 1;
    },
    5_000,
    'the cursor is where the pointer is',
  );
  const places = sent.filter((frame) => frame.includes('"publish"')).length;
  expect(places).toBeLessThan((performance.now() - began) / everyMs + 2);
  expect(await ada.locator('.cursor').count()).toBe(0);
  await ada.close();
  await cursor.waitFor({ state: 'detached' });
  expect(complaints).toEqual([]);
});

test('job progress: the bar follows the job, a page that is loaded again shows the present state, and so does a link', async () => {
  const { open, complaints } = await start('job-progress');
  const page = await open();
  const percent = async (of: Page) => Number(await of.getByRole('progressbar').getAttribute('value'));
  await page.getByRole('button', { name: 'Start a job' }).click();
  await until(async () => (await percent(page)) >= 20, 10_000, 'a fifth is done');
  const before = await percent(page);
  await page.reload();
  await until(async () => (await percent(page)) >= before, 5_000, 'the present state is shown');
  const other = await open(new URL(page.url()).hash);
  await until(async () => (await percent(other)) >= before, 5_000, 'the present state is shown to another one');
  for (const each of [page, other]) await each.getByText('Done.').waitFor();
  await page.reload();
  await page.getByText('Done.').waitFor();
  expect(await percent(page)).toBe(100);
  expect(complaints).toEqual([]);
});

test('AI tokens: an answer survives reloads with no token missing or doubled, and is shown when it is done', async () => {
  const { open, complaints } = await start('ai-tokens');
  const page = await open('?user=ada');
  const answer = page.locator('#answer');
  const text = async () => (await answer.textContent()) ?? '';
  const whole = await open('?user=grace');
  for (const each of [page, whole]) {
    await each.getByRole('button', { name: 'Ask' }).click();
    await each.getByText('Answering…').waitFor();
  }
  do {
    const { length } = await text();
    await page.reload();
    await until(
      async () => (await text()).length > length || (await page.getByText('Done.').count()) > 0,
      10_000,
      'more',
    );
  } while ((await page.getByText('Done.').count()) === 0);
  await whole.getByText('Done.').waitFor();
  expect(await text()).toBe(await whole.locator('#answer').textContent());
  expect(await text()).toMatch(
    /^You asked: How does this survive a reload\? A page .* however often the page is loaded again\. ?$/,
  );
  await page.reload();
  await page.getByText('Done.').waitFor();
  expect(complaints).toEqual([]);
});

test('docs/examples/README.md lists all of them', () => {
  const listed = [...readFileSync(new URL('README.md', examples), 'utf8').matchAll(/\]\((.*)\/README\.md\)/g)];
  const folders = readdirSync(examples, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  expect(listed.map(([, name]) => name).sort()).toEqual(folders.map(({ name }) => name).sort());
});
