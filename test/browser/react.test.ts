/** `roomcast/react` with React itself, in StrictMode, in a real browser. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { blocksOf } from '../integration/documented-node.ts';
import { roomsFile } from '../integration/files.ts';
import { enter, randomRoom } from '../integration/people.ts';
import { startNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { serveApplication } from './application.ts';
import { launchBrowser } from './chromium.ts';

const script = `
  import { StrictMode, useState } from 'react';
  import { createRoot } from 'react-dom/client';
  import { connect } from 'roomcast/client';
  import { usePresence, useRoom } from 'roomcast/react';

  const { searchParams } = new URL(location.href);
  const sent = (globalThis.sent = []);
  class Recorded extends WebSocket {
    send(text) {
      sent.push(JSON.parse(text));
      super.send(text);
    }
  }
  const options = { token: searchParams.get('token'), WebSocket: Recorded };
  const client = (globalThis.client = connect(searchParams.get('url'), options));

  function Chat({ name }) {
    const { messages, state, error, gaps, publish } = useRoom(client, name, { keep: 3 });
    return (
      <section>
        <output id="state">{state} {error?.code} {gaps}</output>
        <ol>{messages.map(({ data }, index) => <li key={index}>{data}</li>)}</ol>
        <button onClick={() => publish('from the page')}>publish</button>
      </section>
    );
  }

  function People({ name }) {
    const { count, members, error } = usePresence(client, name);
    return <output id="people">{count} {members.map(({ user }) => user).sort().join()} {error?.code}</output>;
  }

  function App() {
    const [name, setName] = useState(searchParams.get('room'));
    const [parts, setParts] = useState(2);
    Object.assign(globalThis, { setName, setParts });
    return <>{parts > 0 && <Chat name={name} />}{parts > 1 && <People name={name} />}</>;
  }

  createRoot(document.getElementById('root')).render(<StrictMode><App /></StrictMode>);
`;

test('components in StrictMode are in a room once, show what comes and who is there, and leave with the last one', async () => {
  const url = await serveApplication(script);
  const rule = { match: 'open:*', presence: true, joinLeave: true };
  const node = await startNode({ ROOMS_FILE: roomsFile(rule), ALLOWED_ORIGINS: new URL(url).origin });
  const [room, other] = [randomRoom('open'), randomRoom('open')];
  const bob = await enter(node, 'bob');
  await bob.subscribe(room);
  const page = await (await launchBrowser()).newPage();
  const problems: string[] = [];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && problems.push(message.text()));
  page.on('pageerror', (error) => problems.push(String(error)));
  const rooms = { 'open:*': ['subscribe', 'publish'] };
  const query = new URLSearchParams({ url: node.url, room, token: await mintToken({ sub: 'alice', rooms }) });
  await page.goto(`${url}?${query}`);
  const text = async (selector: string) => ((await page.textContent(selector)) ?? '').trim().replace(/ +/g, ' ');
  const shows = (selector: string, expected: string) =>
    until(async () => (await text(selector)) === expected, 5_000, `${selector} shows ${expected}`);
  const sent = async (type: string) => {
    const frames = await page.evaluate(
      () => (globalThis as unknown as { sent: { type: string; room: string }[] }).sent,
    );
    return frames.filter((frame) => frame.type === type).map((frame) => frame.room);
  };
  const list = () => page.locator('li').allTextContents();

  await shows('#state', 'joined 0');
  await shows('#people', '2 alice,bob');
  expect(await sent('subscribe')).toEqual([room]);
  for (const number of ['1', '2', '3', '4']) await bob.publish(room, number);
  await until(async () => (await list()).join() === '2,3,4', 5_000, 'the last three messages');
  await page.getByRole('button').click();
  await until(async () => (await list()).join() === '3,4,from the page', 5_000, 'its own message');

  const carol = await enter(node, 'carol');
  await carol.subscribe(room);
  await shows('#people', '3 alice,bob,carol');
  await carol.close();
  await shows('#people', '2 alice,bob');

  // A component of two leaves, and the room stays; then another room.
  await page.evaluate('setParts(1)');
  await bob.publish(room, '5');
  await until(async () => (await list()).at(-1) === '5', 5_000, 'a message for the component that is left');
  expect(await sent('unsubscribe')).toEqual([]);
  await page.evaluate(`setName('${other}')`);
  await shows('#state', 'joined 0');
  expect(await list()).toEqual([]);
  expect(await sent('unsubscribe')).toEqual([room]);
  await page.evaluate("setName('secret')");
  await shows('#state', 'idle forbidden 0');
  await page.evaluate(`setName('${room}')`);
  await shows('#state', 'joined 0');
  await page.evaluate('setParts(0)');
  await until(async () => (await sent('unsubscribe')).at(-1) === room, 5_000, 'it has left');
  expect(await sent('subscribe')).toEqual([room, other, 'secret', room]);
  expect(problems).toEqual([]);
}, 60_000);

test('the component of docs/client.md, as it is written there', async () => {
  const text = readFileSync(new URL('../../docs/client.md', import.meta.url), 'utf8');
  const component = blocksOf(text).find(({ language }) => language === 'jsx')?.text ?? '';
  const address = "connect('wss://example.com/ws', { getToken: async () => (await fetch('/token')).text() })";
  expect(component).toContain(address);
  const url = await serveApplication(`
    import { createRoot } from 'react-dom/client';
    const { searchParams } = new URL(location.href);
    ${component.replace(address, "connect(searchParams.get('url'), { token: searchParams.get('token') })")}
    createRoot(document.getElementById('root')).render(<Chat room={searchParams.get('room')} />);
  `);
  const rule = { match: 'open:*', presence: true, joinLeave: true, history: {} };
  const node = await startNode({ ROOMS_FILE: roomsFile(rule), ALLOWED_ORIGINS: new URL(url).origin });
  const page = await (await launchBrowser()).newPage();
  const token = await mintToken({ sub: 'alice', rooms: { 'open:*': ['subscribe', 'publish'] } });
  await page.goto(`${url}?${new URLSearchParams({ url: node.url, token, room: randomRoom('open') })}`);
  await page.getByRole('heading', { name: '1 people: alice' }).waitFor();
  await page.getByRole('textbox').fill('hello');
  await page.keyboard.press('Enter');
  await page.getByText('alice: hello', { exact: true }).waitFor();
});
