/** GATEWAY_COMPRESSION in a browser, which offers permessage-deflate by itself. */
import { expect, test } from 'vitest';
import { randomRoom, tokenOf } from '../integration/people.ts';
import { startNode } from '../support/node.ts';
import { launchBrowser } from './chromium.ts';

test('a browser gets compressed messages, each whole, and its own compressed ones are taken', async () => {
  // In development a node has a page.
  const page = await startNode({ JWT_SECRET: '' });
  const settings = { COMPRESSION: 'shared', PUBLISH_RATE: 0, ALLOWED_ORIGINS: `http://127.0.0.1:${page.port}` };
  const node = await startNode(settings);
  const tab = await (await (await launchBrowser()).newContext({ bypassCSP: true })).newPage();
  await tab.goto(`http://127.0.0.1:${page.port}/`);
  const sizes = [10, 511, 600, 4_096, 20_000, 60_000];
  const plan = { url: node.url, token: await tokenOf('reader'), room: randomRoom(), sizes };
  const heard = await tab.evaluate(
    ({ url, token, room, sizes }) =>
      new Promise<{ extensions: string; data: string[] }>((resolve, reject) => {
        const socket = new WebSocket(url, ['roomcast.v1.json', `roomcast.token.${token}`]);
        const data: string[] = [];
        const send = (frame: object) => socket.send(JSON.stringify(frame));
        socket.onmessage = ({ data: text }) => {
          const frame = JSON.parse(text);
          if (frame.type === 'welcome') send({ type: 'subscribe', id: 1, room });
          if (frame.type === 'ok' && frame.id === 1) {
            for (const size of sizes) send({ type: 'publish', room, data: 'word '.repeat(size).slice(0, size) });
          }
          if (frame.type === 'message') data.push(frame.data);
          if (data.length === sizes.length) resolve({ extensions: socket.extensions, data });
        };
        socket.onclose = ({ code }) => reject(new Error(`closed with ${code}`));
      }),
    plan,
  );
  expect(heard.extensions).toMatch(/^permessage-deflate/);
  expect(heard.data).toEqual(sizes.map((size) => 'word '.repeat(size).slice(0, size)));
});
