/**
 * The demo page in a real browser, served by the built program as `npm start` runs it.
 */
import { expect, test } from 'vitest';
import { freePort } from '../support/free-port.ts';
import { spawnNode } from '../support/node.ts';
import { until } from '../support/until.ts';
import { launchBrowser } from './chromium.ts';
import { Tab } from './demo-tab.ts';

const development = { JWT_SECRET: '' };

/** A node and two tabs. */
async function two(): Promise<[Tab, Tab]> {
  const [node, browser] = await Promise.all([spawnNode(development), launchBrowser()]);
  return [await Tab.open(browser, node.port), await Tab.open(browser, node.port)];
}

test('two tabs talk in a room, each as a user of its own, in the same order; what they write is text', async () => {
  const [first, second] = await two();
  await first.write('hello from the first tab');
  await second.shows('hello from the first tab');
  await second.write('<b>hello</b> from the second tab');
  await first.shows('<b>hello</b> from the second tab');
  expect(await first.messages()).toEqual(['hello from the first tab', '<b>hello</b> from the second tab']);
  expect(await second.messages()).toEqual(await first.messages());
  expect(await first.user()).not.toBe(await second.user());
  for (const tab of [first, second]) tab.expectNoComplaints();
});

test('a new tab begins with the history of the room, and is the same guest when it is loaded again', async () => {
  const [first, second] = await two();
  for (const text of ['one', 'two', 'three']) await first.write(text);
  await second.shows('three');
  const user = await second.user();
  await second.page.reload();
  await second.isInRoom();
  await second.shows('three');
  expect(await second.messages()).toEqual(['one', 'two', 'three']);
  expect(await second.user()).toBe(user);
  expect(await second.fact('Received')).toBe('0');
  second.expectNoComplaints();
});

test('members come and go, and one sees who is typing until the message is there', async () => {
  const [first, second] = await two();
  const [members, user] = [first.page.getByRole('list', { name: 'Who is here' }), await second.user()];
  await members.getByText(user).waitFor();
  await second.page.getByRole('textbox', { name: 'Message' }).pressSequentially('hel');
  await first.page.getByText(`${user} is typing…`).waitFor();
  await second.page.keyboard.press('Enter');
  await first.shows('hel');
  expect(await first.page.getByText(`${user} is typing…`).count()).toBe(0);
  await second.page.close();
  await first.page.getByText(`${user} has left`).waitFor();
  expect(await members.getByText(user).count()).toBe(0);
  first.expectNoComplaints();
});

test('a tab is in several rooms, counts what is new in those it does not show, and leaves them', async () => {
  const [first, second] = await two();
  for (const tab of [first, second]) {
    await tab.page.getByLabel('Name of a room to join').fill('kitchen');
    await tab.press('Join');
    await tab.isInRoom();
  }
  await first.page.getByRole('button', { name: 'lobby' }).click();
  await second.write('soup is ready');
  await first.page.getByRole('button', { name: 'kitchen 1 new' }).click();
  await first.shows('soup is ready');
  await first.page.reload();
  await first.shows('soup is ready');
  await first.press('Leave');
  const members = second.page.getByRole('list', { name: 'Who is here' });
  await members.getByText(await first.user()).waitFor({ state: 'detached' });
  expect(await first.messages()).toEqual([]);
  await first.page.getByLabel('Name of a room to join').fill('no such/name');
  await first.press('Join');
  await first.page.getByRole('alert').getByText('letters from a to z').waitFor();
  for (const tab of [first, second]) tab.expectNoComplaints();
});

test('over a cut line nothing is lost: what others wrote is recovered, and what waited here is sent', async () => {
  const [first, second] = await two();
  await first.write('before');
  await second.shows('before');
  await first.press('Cut the line');
  await first.isIn('line cut');
  await first.write('written without a line');
  await first.page.locator('.outgoing').getByText('sending…').waitFor();
  for (const text of ['missed one', 'missed two']) await second.write(text);
  await second.shows('missed two');
  expect(await first.messages()).toEqual(['before']);

  await first.press('Restore the line');
  await second.shows('written without a line');
  await first.shows('written without a line');
  expect(await first.messages()).toEqual(['before', 'missed one', 'missed two', 'written without a line']);
  expect(await second.messages()).toEqual(await first.messages());
  expect(await first.page.locator('.message', { hasText: 'recovered' }).locator('.text').allInnerTexts()).toEqual([
    'missed one',
    'missed two',
  ]);
  expect([await first.fact('Recovered'), await first.fact('Gaps')]).toEqual(['2', '0']);
  for (const text of ['the line is cut', /^.*subscribe.*lobby since 1$/, /^.*ok.*lobby #1 recovered: true$/]) {
    await first.page.locator('#frames').getByText(text).first().waitFor();
  }
  for (const tab of [first, second]) tab.expectNoComplaints();
});

test('a drain moves both tabs with no message missed and no moment without a connection, also after a cut', async () => {
  const [first, second] = await two();
  await first.press('Cut the line');
  await first.press('Restore the line');
  await first.isInRoom();
  for (const { page } of [first, second]) {
    await page.evaluate(() => {
      const { document, MutationObserver } = globalThis as unknown as {
        document: { getElementById(id: string): { textContent: string } };
        MutationObserver: new (told: () => void) => { observe(node: unknown, options: object): void };
      };
      const pill = document.getElementById('state');
      const states = new Set<string>([pill.textContent]);
      Object.assign(globalThis, { states });
      new MutationObserver(() => states.add(pill.textContent)).observe(pill, { childList: true, subtree: true });
    });
  }
  await first.press('Drain this node');
  const sent: string[] = [];
  const hasMoved = async ({ page }: Tab) =>
    (await page.evaluate(() => [...(globalThis as unknown as { states: Set<string> }).states])).length > 1;
  const haveMoved = async () => (await hasMoved(first)) && (await hasMoved(second));
  while (!(await haveMoved())) {
    sent.push(`message ${sent.length}`);
    await first.write(sent.at(-1) ?? '');
    await second.shows(sent.at(-1) ?? '');
  }
  for (const tab of [first, second]) {
    await tab.isIn('connected');
    await tab.shows(sent.at(-1) ?? '');
    expect(await tab.messages()).toEqual(sent);
    expect(await tab.fact('Gaps')).toBe('0');
    const states = await tab.page.evaluate(() => [...(globalThis as unknown as { states: Set<string> }).states]);
    expect(states.sort()).toEqual(['connected', 'moving to a new connection']);
    await tab.page
      .locator('#frames')
      .getByText(/is asked to move/)
      .waitFor();
    tab.expectNoComplaints();
  }
});

test('the inspector shows each frame in full when it is opened, pings when asked, and no token', async () => {
  const [first] = await two();
  const frames = first.page.locator('#frames');
  await first.write('look at this');
  const row = frames.locator('li', { hasText: 'publish' }).filter({ hasText: 'look at this' });
  await row.locator('summary').press('Enter');
  await row.locator('pre').getByText('"room": "demo:lobby"').waitFor();
  expect(await frames.locator('.beat').first().isVisible()).toBe(false);
  await first.page.getByLabel('pings').check();
  await frames.locator('li', { hasText: 'pong' }).first().waitFor();
  await until(async () => /^[\d.]+ ms$/.test(await first.fact('Latency')), 5_000, 'a latency');
  expect(await frames.innerText()).not.toMatch(/eyJ/);
  await first.press('Clear');
  await until(async () => !/look at this/.test(await frames.innerText()), 2_000, 'an empty list');
  first.expectNoComplaints();
});

test('when the node begins anew, with another secret, the page comes back by itself', async () => {
  const settings = { ...development, PORT: await freePort() };
  const [node, browser] = await Promise.all([spawnNode(settings), launchBrowser()]);
  const tab = await Tab.open(browser, node.port);
  await tab.write('from before');
  await tab.shows('from before');
  await node.stop();
  await spawnNode(settings);
  await tab.page.evaluate(() => (globalThis as unknown as EventTarget).dispatchEvent(new Event('online')));
  await tab.isInRoom();
  await tab.page.getByText('messages are missing here (unrecovered)').waitFor();
  await tab.write('from now on');
  await tab.shows('from now on');
  expect(await tab.messages()).toEqual(['from now on']);
});

test('when the node ends the connection for good, the page says so and offers to connect again', async () => {
  const key = 'k'.repeat(32);
  const [node, browser] = await Promise.all([spawnNode({ ...development, API_KEY: key }), launchBrowser()]);
  const tab = await Tab.open(browser, node.port);
  const path = `/api/users/${await tab.user()}/disconnect`;
  const headers = { 'x-api-key': key, 'content-type': 'application/json' };
  await fetch(`http://127.0.0.1:${node.adminPort}${path}`, { method: 'POST', headers, body: '{}' });
  await tab.isIn('ended by the node');
  await tab.page.locator('#frames').getByText('4503').first().waitFor();
  await tab.press('Connect again');
  await tab.isInRoom();
  tab.expectNoComplaints();
});

test('a page of another origin cannot open a connection', async () => {
  const [node, other] = [await spawnNode(development), await spawnNode(development)];
  const browser = await launchBrowser();
  const page = await browser.newPage({ bypassCSP: true });
  await page.goto(`http://127.0.0.1:${other.port}/`);
  const code = await page.evaluate((url) => {
    const socket = new WebSocket(url, 'roomcast.v1.json');
    return new Promise((resolve) => {
      socket.onclose = (event) => resolve(event.code);
    });
  }, node.url);
  expect(code).toBe(1006);
});
