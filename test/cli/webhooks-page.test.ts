/**
 * docs/webhooks.md: the receiver of the page runs as it is written there, with the commands of the page, and prints what the page
 * shows. Only the ports are others: free ones.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { eventTypes } from '../../gateway/backplane/outbox.ts';
import { blocksOf, startAsDocumented } from '../integration/documented-node.ts';
import { connectWelcomed } from '../support/client.ts';
import { freePort } from '../support/free-port.ts';
import { until } from '../support/until.ts';

const page = readFileSync(new URL('../../docs/webhooks.md', import.meta.url), 'utf8');
const blocks = blocksOf(page);
const [secret, receiver, start, shown] = blocks;

test('the receiver of the page hears of a client of the demo page, in the words of the page', async () => {
  const receiverPort = await freePort();
  const [program = '', commands = ''] = [receiver, start].map((block) =>
    block?.text.replace('9000', `${receiverPort}`),
  );
  const { output, port } = await startAsDocumented(`${secret?.text}${commands}`, { 'receiver.mjs': program });
  const token = await (await fetch(`http://127.0.0.1:${port}/demo/token`)).text();
  const client = await connectWelcomed(`ws://127.0.0.1:${port}/ws`, token);
  await client.subscribe('demo:lobby');
  const told = () =>
    output()
      .split('\n')
      .filter((line) => /^(room|member)\./.test(line));
  await until(() => told().length === 2, 5_000, 'the client is told');
  await client.close();
  await until(() => told().length === 4, 10_000, 'the end is told');
  const { user } = client.frames.find((frame) => frame.type === 'welcome') as { user: string };
  expect(told()).toEqual(
    (shown?.text ?? '')
      .trim()
      .replaceAll(/guest-\w+/g, user)
      .split('\n'),
  );
});

test('the page has a row for each type of event, and JSON of the form that is sent', () => {
  const rows = [...page.matchAll(/^\| `([a-z]+\.[a-z]+)` \|/gm)].map(([, type]) => type);
  expect(rows).toEqual([...eventTypes]);
  const example = JSON.parse(blocks.find(({ language }) => language === 'json')?.text ?? '');
  for (const event of example.events) expect(Object.keys(event).slice(-2)).toEqual(['at', 'id']);
});
