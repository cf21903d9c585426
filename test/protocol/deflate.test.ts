/** Compression (RFC 7692) over bare TCP, of a node with nothing before it and of one behind HAProxy. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { onCleanup } from '../support/cleanup.ts';
import { startNode } from '../support/node.ts';
import { compressed, deflated, deflateSuite, openWithDeflate } from './deflate.ts';
import { deflateRooms, deflateSendingSuite } from './deflate-sending.ts';
import { startHaproxy } from './haproxy.ts';
import { protocolSettings } from './suite.ts';
import { expectCutWithoutClose } from './target.ts';

const direct = { port: 0 };
const behindHaproxy = { port: 0 };

beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'roomcast-deflate-'));
  onCleanup(() => rm(folder, { recursive: true }));
  const rooms = join(folder, 'rooms.json');
  await writeFile(rooms, JSON.stringify(deflateRooms));
  const limits = { PUBLISH_RATE: 0, MAX_CONNECTIONS_PER_USER: 0 };
  const node = await startNode({ ...protocolSettings, ...limits, COMPRESSION: 'shared', ROOMS_FILE: rooms });
  direct.port = node.port;
  behindHaproxy.port = (await startHaproxy(node)).port;
});

describe.each([
  ['a node with compression', direct],
  ['a node with compression behind HAProxy', behindHaproxy],
])('%s', (_, target) => {
  deflateSuite(target);
  deflateSendingSuite(target);
});

describe('memory', () => {
  test('RFC 6455 10.4: 200 messages that inflate to 64 MiB each take no memory that stays', async () => {
    const bomb = deflated(Buffer.alloc(2 ** 26, 'x'));
    const send = async () => {
      const socket = await openWithDeflate(direct);
      await socket.send({ payload: bomb, rsv: compressed });
      await expectCutWithoutClose(socket);
    };
    for (let count = 0; count < 20; count++) await send();
    const before = process.memoryUsage.rss();
    for (let count = 0; count < 180; count++) await send();
    expect(process.memoryUsage.rss() - before).toBeLessThan(2 ** 26);
  });
});
