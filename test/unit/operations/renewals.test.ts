/**
 * gateway/operations/renewals.ts: when a backend is asked again, and when a member has to go.
 */
import { beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { type Authorised, byRule, type Permit } from '../../../gateway/operations/authorise.ts';
import { forbidden } from '../../../gateway/operations/caller.ts';
import { Refusal } from '../../../gateway/operations/refusal.ts';
import { type Held, type Holder, Renewals } from '../../../gateway/operations/renewals.ts';

const unavailable = new Refusal('unavailable', 'no answer');
const denied = forbidden('subscribeByCallback');
const until = (end: number): Permit => ({ asked: true, until: end, info: undefined });

let now: number;
let renewals: Renewals;
let asked: Held[];
let gone: Held[];
let renewed: Held[];
let answer: (held: Held) => Authorised | Promise<Authorised>;
let holder: Holder<Held>;

beforeEach(() => {
  now = 1_000;
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => now);
  onTestFinished(() => clock.mockRestore());
  renewals = new Renewals();
  [asked, gone, renewed] = [[], [], []];
  answer = () => until(now + 10_000);
  holder = {
    askAgain: (held) => {
      asked.push(held);
      return answer(held);
    },
    renewed: (held) => void renewed.push(held),
    ended: (held) => {
      renewals.delete(held);
      gone.push(held);
    },
    fail: (error) => {
      throw error;
    },
  };
});

/** All answers that are there have had their effect. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

async function sweepAt(time: number): Promise<void> {
  now = time;
  renewals.sweep(now);
  await settled();
}

function add(end: number): Held {
  const held = { permit: until(end) };
  renewals.add(held, holder);
  return held;
}

test('a member is asked for when its time is over, not before, and stays as long as it is allowed', async () => {
  const held = add(5_000);
  await sweepAt(4_999);
  expect(asked).toEqual([]);
  await sweepAt(5_000);
  expect([asked, renewed, held.permit.until]).toEqual([[held], [held], 15_000]);
  await sweepAt(14_000);
  expect(asked).toHaveLength(1);
  await sweepAt(15_000);
  expect([asked.length, gone]).toEqual([2, []]);
});

test('an answer without an end, or a rule that allows it now, is the last one that is asked for', async () => {
  const [endless, ruled] = [add(0), add(0)];
  answer = (held) => (held === endless ? until(Number.POSITIVE_INFINITY) : byRule);
  await sweepAt(1_000);
  await sweepAt(1_000_000);
  expect([asked.length, ruled.permit]).toEqual([2, byRule]);
});

test('a denial ends it at once; without an answer it stays for 60 s, and is asked for every 5 s', async () => {
  const [bad, unclear] = [add(2_000), add(2_000)];
  answer = (held) => (held === bad ? denied : unavailable);
  for (let time = 2_000; time <= 61_500; time += 500) await sweepAt(time);
  expect(gone).toEqual([bad]);
  expect(asked.filter((held) => held === unclear)).toHaveLength(12);
  for (let time = 62_000; time <= 68_000; time += 500) await sweepAt(time);
  expect(gone).toEqual([bad, unclear]);
  await sweepAt(100_000);
  expect(asked.filter((held) => held === unclear)).toHaveLength(13);
});

test('64 are asked for at once, each answer makes room for the next, and those who have left are not asked for', async () => {
  const all = Array.from({ length: 200 }, () => add(0));
  const open: ((answer: Authorised) => void)[] = [];
  answer = () => new Promise((resolve) => open.push(resolve));
  await sweepAt(1_000);
  expect(asked).toHaveLength(64);
  const [left] = all;
  if (left !== undefined) renewals.delete(left);
  for (let answered = 0; answered < 199; answered++) {
    open[answered]?.(until(20_000));
    await settled();
    expect(asked.length).toBe(Math.min(199, 65 + answered));
  }
  expect(new Set(asked).size).toBe(199);
});

test('adding a member again, as a refresh of its token does, neither puts a question off nor has its answer ignored', async () => {
  const held = add(1_000);
  let resolve: (answer: Authorised) => void = () => undefined;
  answer = () =>
    new Promise((settle) => {
      resolve = settle;
    });
  await sweepAt(1_000);
  renewals.add(held, holder);
  resolve(denied);
  await settled();
  expect(gone).toEqual([held]);
});

test('an answer for a member that has left meanwhile has no effect', async () => {
  const held = add(1_000);
  let resolve: (answer: Authorised) => void = () => undefined;
  answer = () =>
    new Promise((settle) => {
      resolve = settle;
    });
  await sweepAt(1_000);
  renewals.delete(held);
  resolve(denied);
  await settled();
  expect([gone, renewed]).toEqual([[], []]);
});

test('the end of a token waits for no question that is under way', async () => {
  answer = (held) => (held.permit.expiresAt === undefined ? new Promise(() => undefined) : denied);
  for (let count = 0; count < 100; count++) add(2_000);
  await sweepAt(2_000);
  const held = { permit: { ...until(3_000), expiresAt: 3_000 } };
  renewals.add(held, holder);
  await sweepAt(3_000);
  expect(gone).toEqual([held]);
});
