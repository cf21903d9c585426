/** Bytes in a real browser: its own WebSocket, base64 and typed arrays under `roomcast/client/binary`. */
import { expect, test } from 'vitest';
import type { binary } from '../../shared/client/binary.ts';
import type { connect } from '../../shared/client/client.ts';
import { roomsFile } from '../integration/files.ts';
import { MsgpackClient } from '../integration/msgpack-client.ts';
import { randomRoom, tokenOf } from '../integration/people.ts';
import { startNode } from '../support/node.ts';
import { serveApplication } from './application.ts';
import { launchBrowser } from './chromium.ts';

test('a page publishes 64 KiB of bytes, and gets them back live and from history', async () => {
  const address = await serveApplication(`
    import { connect } from 'roomcast/client';
    import { binary } from 'roomcast/client/binary';
    Object.assign(globalThis, { connect, binary });
  `);
  const node = await startNode({
    ...{ MAX_MESSAGE_BYTES: 131_072, ALLOWED_ORIGINS: new URL(address).origin },
    ROOMS_FILE: roomsFile({ match: 'kept:*', history: {} }),
  });
  const name = randomRoom('kept');
  const member = await MsgpackClient.connect(node.url, await tokenOf('bob'));
  member.send({ id: 1, type: 'subscribe', room: name });
  await member.next({ id: 1, type: 'ok' });
  const page = await (await (await launchBrowser()).newContext()).newPage();
  await page.goto(address);
  const lists = await page.evaluate(
    async ([url, token, room]) => {
      type Page = { connect: typeof connect; binary: typeof binary };
      const library = globalThis as unknown as Page;
      const client = library.connect(url, { token, binary: library.binary });
      const joined = client.room(room);
      const told = new Promise<unknown>((resolve) => joined.on('message', ({ data }) => resolve(data)));
      await joined.subscribe();
      await joined.publish(Uint8Array.from({ length: 65_536 }, (_, index) => index));
      const kept = (await joined.history()).messages.map(({ data }) => data);
      return [await told, ...kept].map((data) => (data instanceof Uint8Array ? [...data] : typeof data));
    },
    [node.url, await tokenOf('ann'), name] as const,
  );
  const bytes = Uint8Array.from({ length: 65_536 }, (_, index) => index);
  expect(lists).toEqual([[...bytes], [...bytes]]);
  expect((await member.next({ type: 'message' })).data).toEqual(bytes);
});
