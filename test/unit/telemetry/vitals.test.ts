/** gateway/telemetry/vitals.ts: rates over the last seconds. */
import { expect, test, vi } from 'vitest';
import { Vitals } from '../../../gateway/telemetry/vitals.ts';
import { useFakeClock } from '../fake-clock.ts';

useFakeClock();

test('rates are those of the last seconds, and go down to 0 again', () => {
  const counters = { publishedMessages: 100, deliveredMessages: 1_000 };
  const vitals = new Vitals(counters);
  expect([vitals.publishedPerSecond, vitals.deliveredPerSecond]).toEqual([0, 0]);
  for (let second = 0; second < 20; second++) {
    counters.publishedMessages += 10;
    counters.deliveredMessages += 300;
    vi.advanceTimersByTime(1_000);
  }
  expect([vitals.publishedPerSecond, vitals.deliveredPerSecond]).toEqual([10, 300]);
  vi.advanceTimersByTime(6_000);
  expect([vitals.publishedPerSecond, vitals.deliveredPerSecond]).toEqual([0, 0]);
  vitals.close();
});

test('the round trip is the last one, in ms', () => {
  const vitals = new Vitals({ publishedMessages: 0, deliveredMessages: 0 });
  expect(vitals.backplaneRttMs).toBeUndefined();
  vitals.backplaneRoundTrip(0.0012345);
  expect(vitals.backplaneRttMs).toBe(1.235);
  vitals.close();
});
