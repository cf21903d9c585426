/** What is lost on the way to the webhook: every event is counted, and the log says how many, at once and then once a minute. */
import { expect, test, vi } from 'vitest';
import { MemoryOccupancy } from '../../../gateway/backplane/memory/occupancy.ts';
import { MemoryOutbox } from '../../../gateway/backplane/memory/outbox.ts';
import { eventTypes } from '../../../gateway/backplane/outbox.ts';
import { tellEvents } from '../../../gateway/telemetry/events.ts';
import { Faults } from '../../../gateway/telemetry/faults.ts';
import { Webhooks } from '../../../gateway/webhooks/webhooks.ts';
import { capturedLog } from '../../support/captured-log.ts';
import { useFakeClock } from '../fake-clock.ts';

useFakeClock();

test('dropped events are counted, and logged at once and then once a minute with their number', async () => {
  const { log, lines } = capturedLog();
  const types = eventTypes;
  const outbox = new MemoryOutbox({ types, instance: 'n-1', most: 5 });
  const options = { url: new URL('http://127.0.0.1:9/'), secrets: [], version: '1', types, instance: 'n-1', log };
  const webhooks = new Webhooks({
    ...options,
    outbox,
    occupancy: new MemoryOccupancy(outbox),
    faults: new Faults(log),
  });
  const counted: Record<string, number> = {};
  webhooks.start(
    tellEvents({
      webhooks: (result, events) => {
        counted[result] = (counted[result] ?? 0) + events;
      },
    }),
  );
  const losses = () =>
    lines
      .map((line) => JSON.parse(line))
      .filter(({ msg }) => msg.startsWith('events for the webhook were dropped'))
      .map(({ events }) => events);
  for (let minute = 0; minute < 3; minute++) {
    for (let room = 0; room < 10; room++) outbox.tell('room.occupied', { room: `r${room}` });
    await vi.advanceTimersByTimeAsync(30_000);
    for (let room = 0; room < 10; room++) outbox.tell('room.vacated', { room: `r${room}` });
    await vi.advanceTimersByTimeAsync(30_000);
  }
  await vi.advanceTimersByTimeAsync(60_000);
  // The first one at once; each line says what was lost since the one before.
  expect(losses()[0]).toBe(1);
  expect(losses().length).toBeLessThanOrEqual(5);
  expect(losses().reduce((sum, events) => sum + events, 0)).toBe(55);
  expect(counted.dropped).toBe(55);
  const closed = webhooks.close();
  await vi.advanceTimersByTimeAsync(10_000);
  await closed;
});
