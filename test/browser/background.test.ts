/**
 * The client library on a page in the background: frozen, and hidden with its timers throttled to one turn a minute.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { roomsFile } from '../integration/files.ts';
import { enter, everywhere, randomRoom } from '../integration/people.ts';
import { faultProxy } from '../support/fault-proxy.ts';
import { startNode } from '../support/node.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { serveApplication } from './application.ts';
import { BackgroundBrowser, type BackgroundTab } from './background.ts';

/**
 * Two of the minutes to which the timers of a hidden page are cut: the first turn sends the library's ping, the second one
 * judges it. Each further minute is the same again, and each of them is more than two ping intervals of 25 s. The gateway
 * cuts a client that sends pings after 150 s of silence.
 */
const hiddenMs = Number(process.env.HIDDEN_MS ?? 130_000);

const page = await serveApplication(`
  import { connect } from 'roomcast/client';
  const { searchParams } = new URL(location.href);
  const told = {};
  const turns = [];
  const client = connect(searchParams.get('url'), { token: searchParams.get('token') });
  const events = [];
  for (const name of ['freeze', 'resume']) document.addEventListener(name, () => events.push(name));
  for (const name of searchParams.getAll('room')) {
    const room = client.room(name);
    told[name] = { numbers: [], gaps: [] };
    room.on('message', ({ data }) => told[name].numbers.push(data));
    room.on('gap', ({ reason }) => told[name].gaps.push(reason));
    room.subscribe();
  }
  setInterval(() => turns.push(Math.round(performance.now())), 1_000);
  Object.assign(globalThis, { client, told, turns, events });
`);
const rule = { match: 'kept:*', history: { size: 10_000 } };
const settings = { ROOMS_FILE: roomsFile(rule), ALLOWED_ORIGINS: new URL(page).origin, PUBLISH_RATE: 0 };
const node = await startNode(settings);
const browser = await BackgroundBrowser.launch();

async function open(url: string, ...rooms: string[]): Promise<BackgroundTab> {
  const token = await mintToken({ sub: 'reader', rooms: everywhere });
  const query = new URLSearchParams({ url, token });
  for (const room of rooms) query.append('room', room);
  const tab = await browser.open(`${page}?${query}`);
  const states = `JSON.stringify(${JSON.stringify(rooms)}.map((name) => globalThis.client?.room(name).state))`;
  const joined = JSON.stringify(rooms.map(() => 'joined'));
  await until(async () => (await tab.evaluate(states)) === joined, 15_000, 'the page is in its rooms');
  return tab;
}

const hide = () => browser.open('about:blank');
const isHidden = async (tab: BackgroundTab) => (await tab.evaluate('document.visibilityState')) === 'hidden';
interface Told {
  numbers: number[];
  gaps: string[];
}

const told = (tab: BackgroundTab, room: string) => tab.evaluate<Told>(`told[${JSON.stringify(room)}]`);

async function heard(tab: BackgroundTab, room: string, count: number) {
  await until(async () => (await told(tab, room)).numbers.length >= count, 15_000, `${count} messages have come`);
  return told(tab, room);
}

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

test('a page that is frozen goes on where it was, also when its connection has ended meanwhile', async () => {
  const proxy = await faultProxy(node.url);
  const rooms = [randomRoom('kept'), randomRoom('plain')] as const;
  const tab = await open(proxy.url, ...rooms);
  const writer = await enter(node, 'writer');
  await hide();
  await until(() => isHidden(tab), 5_000, 'the tab is hidden');
  await tab.freeze();
  for (const room of rooms) for (const number of numbers(50)) await writer.publish(room, number);
  // Nothing runs on a frozen page, so nothing can have come.
  expect((await told(tab, rooms[0])).numbers).toEqual([]);
  await tab.resume();
  await tab.show();
  expect(await heard(tab, rooms[0], 50)).toEqual({ numbers: numbers(50), gaps: [] });
  // Chromium ends the WebSocket of a frozen page that is sent something.
  const isHonest = async ({ numbers, gaps }: Told) => numbers.length === 50 || gaps.join() === 'reconnect';
  await until(async () => isHonest(await told(tab, rooms[1])), 15_000, 'the plain room has all, or tells its gap');

  await hide();
  await tab.freeze();
  proxy.cut();
  for (const number of numbers(100).slice(50)) await writer.publish(rooms[0], number);
  await tab.resume();
  await tab.show();
  expect(await heard(tab, rooms[0], 100)).toEqual({ numbers: numbers(100), gaps: [] });
  expect(await tab.evaluate('events')).toEqual(['freeze', 'resume', 'freeze', 'resume']);
});

test('a page that is hidden for minutes, with its timers throttled, stays connected and hears everything at once', async () => {
  const rooms = [randomRoom('kept'), randomRoom('plain')] as const;
  const tab = await open(node.url, ...rooms);
  const connection = await tab.evaluate('client.connection');
  const writer = await enter(node, 'writer');
  await hide();
  await until(() => isHidden(tab), 5_000, 'the tab is hidden');
  const hiddenAt = performance.now();
  let count = 0;
  while (performance.now() - hiddenAt < hiddenMs) {
    count++;
    for (const room of rooms) await writer.publish(room, count);
    for (const room of rooms) await heard(tab, room, count);
    await delay(5_000);
  }
  const turns = await tab.evaluate<number[]>('turns.slice(-2)');
  expect((turns[1] ?? 0) - (turns[0] ?? 0)).toBeGreaterThan(50_000);
  for (const room of rooms) expect(await told(tab, room)).toEqual({ numbers: numbers(count), gaps: [] });
  expect(await tab.evaluate('client.connection')).toBe(connection);
  await tab.show();
  await writer.publish(rooms[0], count + 1);
  expect((await heard(tab, rooms[0], count + 1)).gaps).toEqual([]);
  expect(await tab.evaluate('client.connection')).toBe(connection);
}, 600_000);
