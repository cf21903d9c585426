/** Who is read and served in a turn of the event loop, by the real loop. */
import { expect, test } from 'vitest';
import { Admission } from '../../../gateway/admission/admission.ts';
import { until } from '../../support/until.ts';

class Client {
  paused = 0;
  resumed = 0;
  gone: () => void = () => undefined;
  pause() {
    this.paused++;
  }
  resume() {
    this.resumed++;
  }
  onAborted(handler: () => void) {
    this.gone = handler;
  }
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

function busyFor(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

function arrive(admission: Admission, count: number): Client[] {
  return Array.from({ length: count }, () => {
    const client = new Client();
    admission.arrived(client);
    return client;
  });
}

test('a few clients are read at once and served; nothing waits and nothing is paused', async () => {
  const admission = new Admission();
  for (let turns = 0; turns < 20; turns++) {
    const clients = arrive(admission, 10);
    for (const _ of clients) expect(admission.ask()).toBe(0);
    expect(clients.every(({ paused }) => paused === 0)).toBe(true);
    await turn();
  }
  expect(admission.waiting).toBe(0);
});

test('of a storm only a few are read in a turn; the others are paused, and taken in the order in which they came', async () => {
  const admission = new Admission();
  const clients = arrive(admission, 1_000);
  const read = () => clients.filter(({ paused, resumed }) => paused === resumed).length;
  expect(read()).toBe(32);
  let last = read();
  while (admission.waiting > 0) {
    for (let asked = 0; asked < last; asked++) admission.ask();
    await turn();
    const now = read();
    expect(now - last).toBeLessThanOrEqual(128);
    expect(clients.slice(0, now).every(({ paused, resumed }) => paused === resumed)).toBe(true);
    last = now;
  }
  expect(read()).toBe(1_000);
});

test('256 are served in a turn, however long it is; more only if it is short, and others get a time to come back', async () => {
  const admission = new Admission();
  const askedIn = (ms: number) =>
    Array.from({ length: 300 }, (_, index) => {
      if (index === 1) busyFor(ms);
      return admission.ask();
    });
  const answers = askedIn(101);
  expect(answers.slice(0, 256)).toEqual(Array(256).fill(0));
  expect(answers.slice(256).every((seconds) => Number.isInteger(seconds) && seconds >= 1)).toBe(true);
  await turn();
  expect(admission.ask()).toBe(0);
});

test('clients that waited for more than 3 s are refused while many wait behind them', async () => {
  const admission = new Admission();
  arrive(admission, 2_000);
  expect(admission.ask()).toBe(0);
  busyFor(3_001);
  await turn();
  expect(admission.ask()).toBeGreaterThanOrEqual(1);
  await until(() => admission.waiting < 128, 10_000, 'the line is short');
  await turn();
  expect(admission.ask()).toBe(0);
});

test('long turns make a turn take fewer, down to a few, and short ones make it take more again', async () => {
  const admission = new Admission();
  // Enough for all turns, also on a machine that makes most of them long.
  const clients = arrive(admission, 20_000);
  const taken: number[] = [];
  const next = async (ms: number) => {
    const before = admission.waiting;
    busyFor(ms);
    await turn();
    taken.push(before - admission.waiting);
    for (let asked = 0; asked < (taken.at(-1) ?? 0); asked++) admission.ask();
  };
  const last = () => taken.at(-1) ?? 0;
  while (last() <= 64) await next(0);
  for (let turns = 0; turns < 8; turns++) await next(41);
  expect(last()).toBe(32);
  while (last() <= 32) await next(0);
  for (const { gone } of clients) gone();
});

test('while those who were let in wait for work, a turn takes only a few', async () => {
  let behind = true;
  const admission = new Admission(() => behind);
  arrive(admission, 2_000);
  for (let turns = 0; turns < 10; turns++) {
    const before = admission.waiting;
    await turn();
    expect(before - admission.waiting).toBeLessThanOrEqual(32);
    for (let asked = 0; asked < 32; asked++) admission.ask();
  }
  behind = false;
  await until(
    () => {
      for (let asked = 0; asked < 256; asked++) admission.ask();
      return admission.waiting === 0;
    },
    10_000,
    'all are taken',
  );
});

test('clients that stay silent hold up nobody for long, and one that is gone is never touched', async () => {
  const admission = new Admission();
  const clients = arrive(admission, 600);
  const left = clients.at(-1) as Client;
  left.gone();
  // At first no more are read than may all ask in the same turn.
  for (let turns = 0; turns < 50; turns++) await turn();
  expect(clients.filter(({ paused, resumed }) => paused === resumed).length).toBeLessThan(600);
  await until(() => admission.waiting === 0, 10_000, 'all others are read');
  expect([left.paused, left.resumed]).toEqual([1, 0]);
  expect(clients.slice(0, -1).every(({ paused, resumed }) => paused === resumed)).toBe(true);
});
