/**
 * Event streams read by a browser's own EventSource, which parses, remembers ids and comes back by itself: from a page of
 * another origin, with a cookie, through the end of its node.
 */
import { expect, test } from 'vitest';
import { roomsFile } from '../integration/files.ts';
import { enter, randomRoom } from '../integration/people.ts';
import { freePort } from '../support/free-port.ts';
import { startNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { launchBrowser } from './chromium.ts';

interface Heard {
  name: string;
  id: string;
  data: { data?: unknown; code?: number; recovered?: boolean };
}

test('EventSource gets each message once and in order, and continues at the end of its node on the next one', async () => {
  const redis = await ownRedis();
  const [port, page] = [await freePort(), await startNode({ JWT_SECRET: '' })];
  const settings = {
    ...{ REDIS_URL: redis.url, ROOMS_FILE: roomsFile({ match: 'kept:*', history: {} }), AUTH_COOKIE: 'session' },
    ...{ ALLOWED_ORIGINS: `http://127.0.0.1:${page.port}`, PORT: port },
  };
  const first = await startNode(settings);
  const other = await startNode({ ...settings, PORT: 0 });
  const room = randomRoom('kept');
  const publisher = await until(() => enter(other, 'publisher'), 5_000, 'the publisher is there');
  const browser = await launchBrowser();
  // The page of a node allows no connection but its own.
  const context = await browser.newContext({ bypassCSP: true });
  const token = await mintToken({ sub: 'reader', rooms: { '*': ['subscribe'] } });
  await context.addCookies([{ name: 'session', value: token, domain: '127.0.0.1', path: '/' }]);
  const tab = await context.newPage();
  await tab.goto(`http://127.0.0.1:${page.port}/`);
  await tab.evaluate(
    ({ url, names }) => {
      const heard: unknown[] = [];
      Object.assign(globalThis, { heard });
      const source = new EventSource(url, { withCredentials: true });
      for (const name of names) {
        source.addEventListener(name, (event) => {
          const { data, lastEventId } = event as unknown as { data: string; lastEventId: string };
          heard.push({ name, id: lastEventId, data: JSON.parse(data) });
        });
      }
    },
    {
      url: `http://127.0.0.1:${port}/rooms/${encodeURIComponent(room)}/events`,
      names: ['ok', 'message', 'gap', 'close'],
    },
  );
  const heard = () => tab.evaluate(() => (globalThis as unknown as { heard: Heard[] }).heard);
  await until(async () => (await heard()).length > 0, 5_000, 'the stream has begun');
  const data = async () => (await heard()).flatMap((event) => (event.name === 'message' ? [event.data.data] : []));
  for (let number = 0; number < 50; number++) await publisher.publish(room, number);
  await until(async () => (await data()).length === 50, 5_000, 'all messages');

  await first.stop();
  for (let number = 50; number < 60; number++) await publisher.publish(room, number);
  await startNode(settings);
  await until(async () => (await data()).length >= 60, 15_000, 'the rest');
  expect(await data()).toEqual(Array.from({ length: 60 }, (_, number) => number));
  const events = await heard();
  expect(events.filter(({ name }) => name === 'close')).toMatchObject([{ data: { code: 4001 } }]);
  expect(events.filter(({ name }) => name === 'ok').map((event) => event.data.recovered)).toEqual([undefined, true]);
}, 60_000);
