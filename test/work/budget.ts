/**
 * The budget: what a unit of work may cost, as it was counted last, in budget.json.
 *
 * Owns the file and the margin. A change that makes something cheaper writes it anew (`npm run test:work:budget`), so that
 * the next slip is seen from there; one that makes something dearer does so only where that is meant, and says why.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import type { Counts } from './meter.ts';

/** `heldBytes`: what stays after a collection of garbage, on the heap of V8 and in buffers. */
export type Costs = Partial<Counts & { heldBytes: number }>;
/** By the name of a scenario. */
export type Budget = Record<string, Costs>;

const file = new URL('./budget.json', import.meta.url);
/** Counts vary by a few in a hundred with what else the machine does, and with the release of Node. */
const margin = 0.1;
/** One in a hundred units of work is not a slip: it may be the canary, or a burst that came in two parts. */
const stray = 0.01;

export function readBudget(): Budget {
  return JSON.parse(readFileSync(file, 'utf8')) as Budget;
}

/** In budget.json the counts have four digits. */
export function writeBudget(budget: Budget): void {
  const rounded = (_: string, value: unknown) => (typeof value === 'number' ? Number(value.toPrecision(4)) : value);
  writeFileSync(file, `${JSON.stringify(budget, rounded, 2)}\n`);
}

/** What is over the budget, or has none, in words. */
export function overBudget(counted: Costs, budget: Costs): string[] {
  return (Object.keys(counted) as (keyof Costs)[])
    .filter((name) => !((counted[name] ?? 0) <= (budget[name] ?? Number.NaN) * (1 + margin) + stray))
    .map((name) => `${name}: ${counted[name]}, budget ${budget[name] ?? 'none'}`);
}
