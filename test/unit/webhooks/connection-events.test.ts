/** Events of connections on their way to the outbox: together, bounded, and kept while it is away. */
import { expect, test, vi } from 'vitest';
import { BackplaneError } from '../../../gateway/backplane/backplane.ts';
import { MemoryOutbox } from '../../../gateway/backplane/memory/outbox.ts';
import type { EventType } from '../../../gateway/backplane/outbox.ts';
import { Faults } from '../../../gateway/telemetry/faults.ts';
import { createLog } from '../../../gateway/telemetry/log.ts';
import { ConnectionEvents, maxPending } from '../../../gateway/webhooks/connection-events.ts';
import { useFakeClock } from '../fake-clock.ts';

useFakeClock();

function begin(types: EventType[] = ['connection.opened', 'connection.closed']) {
  const outbox = new MemoryOutbox({ types: [], instance: 'n-1', most: 100_000 });
  const events = new ConnectionEvents(outbox, types, 'n-1', new Faults(createLog('silent')));
  let dropped = 0;
  events.onDropped = (lost) => {
    dropped += lost;
  };
  const texts = async () => (await outbox.take(100_000, [])).events.map(({ text }) => JSON.parse(`{${text}}`));
  return { events, outbox, texts, dropped: () => dropped };
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const away = () => Promise.reject(new BackplaneError('unavailable', 'Redis is away'));

test('have the id of the connection, and its user unless it is anonymous', async () => {
  const { events, texts } = begin();
  events.clientWelcomed(7, 'ann');
  events.clientWelcomed(8, null);
  events.clientLeft(7, 'ann');
  await pass(300);
  expect(await texts()).toEqual([
    { type: 'connection.opened', user: 'ann', connection: 'n-1-7' },
    { type: 'connection.opened', connection: 'n-1-8' },
    { type: 'connection.closed', user: 'ann', connection: 'n-1-7' },
  ]);
});

test('only those that are asked for are sent', async () => {
  const { events, texts } = begin(['connection.closed']);
  events.clientWelcomed(7, 'ann');
  events.clientLeft(7, 'ann');
  await pass(300);
  expect((await texts()).map(({ type }) => type)).toEqual(['connection.closed']);
});

test('wait in order while the outbox is away; beyond the bound the oldest go, and are counted', async () => {
  const { dropped, events, outbox, texts } = begin();
  const append = outbox.append.bind(outbox);
  outbox.append = away;
  for (let connection = 0; connection < maxPending + 25; connection++) {
    events.clientWelcomed(connection, null);
    if (connection % 1_000 === 0) await pass(250);
  }
  expect(dropped()).toBe(25);
  outbox.append = append;
  await pass(10_000);
  const sent = await texts();
  expect(sent.map(({ connection }) => connection)).toEqual(
    Array.from({ length: maxPending }, (_, index) => `n-1-${index + 25}`),
  );
});

test('are appended at the end of the node; what the outbox does not take then is counted as lost', async () => {
  const { events, texts } = begin();
  for (let connection = 0; connection < 1_200; connection++) events.clientLeft(connection, null);
  await events.close();
  expect(await texts()).toHaveLength(1_200);
  const lost = begin();
  lost.outbox.append = away;
  lost.events.clientLeft(1, null);
  await lost.events.close();
  expect(lost.dropped()).toBe(1);
});
