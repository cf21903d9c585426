/**
 * docs/quickstart.md as it is written: its node, its page in a real browser, and its backend.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { blocksOf, startAsDocumented } from '../integration/documented-node.ts';
import { until } from '../support/until.ts';
import { launchBrowser } from './chromium.ts';

const text = readFileSync(new URL('../../docs/quickstart.md', import.meta.url), 'utf8');
const [install, start, curl, answer, script] = blocksOf(text);
const readAgain = /`(curl [^`]+)`/.exec(text)?.[1];

test('what the backend of docs/quickstart.md publishes is on the page, and curl prints what stands there', async () => {
  expect(install?.text).toBe('npm ci\n');
  const node = await startAsDocumented(start?.text ?? '');
  const browser = await launchBrowser();
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${node.port}/`);
  const members = `curl -s http://127.0.0.1:8081/api/rooms/demo:lobby/members -H "x-api-key: $(cat api-key)"`;
  const isMember = async () => JSON.parse(await node.run('sh', members)).count === 1;
  await until(isMember, 10_000, 'the page is in the room');

  const printed = JSON.parse(await node.run('sh', curl?.text ?? ''));
  expect(Object.keys(printed)).toEqual(Object.keys(JSON.parse(answer?.text ?? '')));
  const message = page.locator('.message', { hasText: 'shop' });
  await message.getByText('your order is ready', { exact: true }).waitFor();

  expect(await node.run('js', script?.text ?? '')).toMatch(/^200 \{ epoch: '.+', offset: 2 \}\n$/);
  await message.getByText('and has been sent', { exact: true }).waitFor();

  const { messages } = JSON.parse(await node.run('sh', readAgain ?? ''));
  expect(messages).toMatchObject([{ data: 'your order is ready' }, { data: 'and has been sent' }]);
});
