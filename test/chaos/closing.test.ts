/**
 * Closing a connection with a full buffer: the buffer is counted until the socket ends, which is soon; a peer that
 * keeps reading gets everything that was sent before the close frame.
 */
import { expect, test } from 'vitest';
import { metric, scrape } from '../integration/admin.ts';
import { CountingMember, publishNumbers, range } from '../integration/counting-member.ts';
import { roomsFile } from '../integration/files.ts';
import { enter, join, names, randomRoom } from '../integration/people.ts';
import type { Client } from '../support/client.ts';
import { spawnNode } from '../support/node.ts';
import { until } from '../support/until.ts';

// Megabytes, because the kernel may still take some hundred KiB from a buffer that no longer shrinks.
const settings = { MAX_BUFFERED_BYTES: 4_194_304, PUBLISH_RATE: 0 };
const closedSlow = 'gateway_connections_closed_total{code="4003"}';

/** Publishes to the room until the condition holds; checks it after every half megabyte. */
async function publishUntil(publisher: Client, room: string, condition: () => Promise<boolean>): Promise<void> {
  let end = 0;
  let held = 0;
  const published = async () => {
    await publishNumbers(publisher, room, end, end + 40, 12_000);
    end += 40;
    // Twice in a row, so that the kernel takes no more.
    held = (await condition()) ? held + 1 : 0;
    return held === 2;
  };
  await until(published, 20_000, 'the buffers of the readers are full');
}

test('a client that is closed with 4003 and keeps reading gets all that was sent, and the close frame', async () => {
  const node = await spawnNode({ ...settings, ROOMS_FILE: roomsFile({ match: 'strict:*', slow: 'close' }) });
  const room = randomRoom('strict');
  const publisher = await enter(node, 'publisher');
  const reader = await CountingMember.join(node, 'reader', [room]);
  reader.stopReading();
  await publishUntil(publisher, room, async () => (await metric(node, closedSlow)) === 1);
  const closing = await scrape(node);
  expect(closing.get('gateway_subscriptions')).toBe(0);
  expect(closing.get('gateway_connections')).toBe(2);
  expect(closing.get('gateway_buffered_bytes')).toBeGreaterThan(2_097_152);
  reader.readAgain();
  expect(await reader.closed).toMatchObject({ code: 4003 });
  const heard = reader.heard(room);
  expect(heard.length).toBeGreaterThan(50);
  expect(heard).toEqual(range(0, heard.length));
}, 40_000);

test('a client that is closed with 4003 and does not read is disconnected, and its memory is freed', async () => {
  const node = await spawnNode({ ...settings, ROOMS_FILE: roomsFile({ match: 'strict:*', slow: 'close' }) });
  const room = randomRoom('strict');
  const publisher = await enter(node, 'publisher');
  const readers = await Promise.all(names('stopped', 8).map((user) => CountingMember.join(node, user, [room])));
  for (const reader of readers) reader.stopReading();
  await publishUntil(publisher, room, async () => (await metric(node, closedSlow)) === readers.length);
  await until(async () => (await metric(node, 'gateway_connections')) === 1, 20_000, 'all of them are disconnected');
  const series = await scrape(node);
  expect(series.get('gateway_buffered_bytes')).toBe(0);
  expect(series.get(closedSlow)).toBe(readers.length);
  expect(series.get('gateway_connections_closed_total{code="1006"}')).toBe(0);
  for (const reader of readers) reader.readAgain();
  for (const reader of readers) expect((await reader.closed).code).toBe(1006);
}, 40_000);

test('a user whose connection is closing may open another one at once', async () => {
  const node = await spawnNode({ ...settings, MAX_CONNECTIONS_PER_USER: 1 });
  const room = randomRoom();
  const publisher = await enter(node, 'publisher');
  const reader = await CountingMember.join(node, 'user', [room]);
  reader.stopReading();
  await publishUntil(
    publisher,
    room,
    async () => (await metric(node, 'gateway_slow_connections{policy="drop"}')) === 1,
  );
  const replacing = await join(node, 'user', room);
  expect(await metric(node, 'gateway_connections')).toBe(3);
  await replacing.publish(room, 'served');
  await replacing.next('message');
  reader.readAgain();
  expect(await reader.closed).toMatchObject({ code: 4506 });
}, 40_000);
