/** gateway/redis/canary.ts with answers of the test's own: what makes a node down, what makes it unready, and what neither. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { BackplaneError } from '../../../gateway/backplane/backplane.ts';
import { Canary } from '../../../gateway/redis/canary.ts';
import { createLog } from '../../../gateway/telemetry/log.ts';

const away = new BackplaneError('unavailable', 'Redis is away');
const refusal = new BackplaneError('unavailable', 'Redis refused it', new Error('OOM (HSET)'));

let published: string[];
let tries: number;
let lost: number;
let canary: Canary;
let publish: () => Promise<unknown>;
let probeWrite: () => Promise<unknown>;

beforeEach(() => {
  [published, tries, lost] = [[], 0, 0];
  publish = async () => 1;
  probeWrite = async () => undefined;
  canary = new Canary({
    publish: (text) => {
      published.push(text);
      return publish();
    },
    probeWrite: () => {
      tries++;
      return probeWrite();
    },
    onRoundTrip: () => undefined,
    onLost: () => {
      lost++;
    },
    log: createLog('silent'),
  });
});

afterEach(() => {
  vi.restoreAllMocks();
});

/** A second: a canary, then four ticks. */
async function second(returns: boolean): Promise<void> {
  canary.send();
  await new Promise((resolve) => setImmediate(resolve));
  if (returns) canary.receive(published.at(-1) ?? '');
  for (let left = 4; left > 0; left--) canary.tick();
}

test('messages flow from the first canary that comes back until none has for three seconds', async () => {
  expect(canary.flows).toBe(false);
  await second(true);
  expect(canary.flows).toBe(true);
  await second(false);
  expect(canary.flows).toBe(true);
  await second(false);
  expect(canary.flows).toBe(false);
});

test('what anybody else writes into the channel is none', async () => {
  for (const text of ['', 'hello', 'NaN', '1h1700000000000e 1', String(performance.now() + 60_000)]) {
    canary.receive(text);
    expect([text, canary.flows]).toEqual([text, false]);
  }
});

test('one that Redis took and that does not come back is lost; one that it refused, or that was cut off, is not', async () => {
  for (let left = 3; left > 0; left--) await second(false);
  expect(lost).toBe(1);
  publish = () => Promise.reject(refusal);
  for (let left = 8; left > 0; left--) await second(false);
  expect(lost).toBe(1);
  publish = async () => 1;
  for (let left = 8; left > 0; left--) {
    await second(false);
    canary.interrupted();
  }
  expect(lost).toBe(1);
});

test('a write is tried every ten seconds; every second once one was refused, until one is taken', async () => {
  for (let left = 21; left > 0; left--) await second(true);
  expect(tries).toBe(3);
  probeWrite = () => Promise.reject(refusal);
  canary.suspectWrites();
  for (let left = 5; left > 0; left--) await second(true);
  expect([tries, canary.refusal]).toEqual([8, 'OOM (HSET)']);
  probeWrite = async () => undefined;
  await second(true);
  expect([tries, canary.refusal]).toEqual([9, undefined]);
  await second(true);
  expect(tries).toBe(9);
});

test('a Redis that is away refuses nothing', async () => {
  probeWrite = () => Promise.reject(away);
  await second(true);
  expect(canary.refusal).toBeUndefined();
});
