/**
 * What a message, a connection, a room costs, in counted work: system calls, commands to Redis, bytes, objects. No time
 * is measured, so that the result is the same on a slow machine. Counts and budgets: test/work/budget.json.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebhookReceiver } from '../support/webhook-receiver.ts';
import { type Budget, overBudget, readBudget, writeBudget } from './budget.ts';
import { heldBytes, holding } from './holding.ts';
import { least, scenarios } from './scenarios.ts';
import { Stage } from './stage.ts';
import { needStrace } from './system-calls.ts';

/** By `npm run test:work:budget`. */
const writes = process.env.WORK_BUDGET === 'write';
const counted: Budget = {};

beforeAll(needStrace);
afterAll(() => {
  if (writes) writeBudget(counted);
});

/**
 * What V8 compiles, and when, differs from process to process, and can add a tenth to the heap: a test that fails is tried with
 * another node. More work fails with each of them (test/work/slips.test.ts).
 */
const otherNodes = { retry: writes ? 0 : 2 };

test.each(scenarios)('$name: within its budget for each $unit', otherNodes, async (scenario) => {
  const budget = readBudget()[scenario.name] ?? {};
  const isGood = (counts: object) => !writes && overBudget(counts, budget).length === 0;
  const counts = await least(scenario, await Stage.set(), isGood);
  counted[scenario.name] = counts;
  if (!writes) expect(overBudget(counts, budget)).toEqual([]);
});

test(`${holding}: within its budget`, otherNodes, async () => {
  const counts = { heldBytes: await heldBytes() };
  counted[holding] = counts;
  if (!writes) expect(overBudget(counts, readBudget()[holding] ?? {})).toEqual([]);
});

/** These begin rooms and connections before they are counted: what is left are messages. */
const ofMessages = scenarios.filter(({ unit }) => unit === 'delivery' || unit === 'publish');

test.each(ofMessages)(
  '$name: within the same budget with a webhook, whose receiver hangs',
  otherNodes,
  async (scenario) => {
    const receiver = await new WebhookReceiver().start();
    receiver.answer = () => 'never';
    const budget = readBudget()[scenario.name] ?? {};
    const stage = await Stage.set(undefined, receiver.settings);
    const counts = await least(scenario, stage, (each) => overBudget(each, budget).length === 0);
    expect(overBudget(counts, budget)).toEqual([]);
  },
);

test.each(ofMessages.filter(({ native }) => native !== undefined))(
  "$name: at most 1.3 of a native member's objects for each delivery, and no more system calls",
  ({ name, native }) => {
    const [own, others] = [readBudget()[name], readBudget()[native ?? '']];
    expect(own?.heapBytes).toBeLessThanOrEqual(1.3 * (others?.heapBytes ?? Number.NaN));
    expect(own?.sends).toBe(others?.sends);
  },
);

test('the budget has no scenario that is gone', () => {
  const names = [...scenarios.map(({ name }) => name), holding];
  if (!writes) expect(Object.keys(readBudget()).sort()).toEqual(names.sort());
});
