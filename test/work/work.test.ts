/**
 * What a message, a connection, a room costs, in counted work: system calls, commands to Redis, bytes, objects. No time
 * is measured, so that the result is the same on a slow machine. Counts and budgets: test/work/budget.json.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Budget, overBudget, readBudget, writeBudget } from './budget.ts';
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

test.each(scenarios)('$name: within its budget for each $unit', async (scenario) => {
  const budget = readBudget()[scenario.name] ?? {};
  const isGood = (counts: object) => !writes && overBudget(counts, budget).length === 0;
  const counts = await least(scenario, await Stage.set(), isGood);
  counted[scenario.name] = counts;
  if (!writes) expect(overBudget(counts, budget)).toEqual([]);
});

test('the budget has no scenario that is gone', () => {
  if (!writes) expect(Object.keys(readBudget()).sort()).toEqual(scenarios.map(({ name }) => name).sort());
});
