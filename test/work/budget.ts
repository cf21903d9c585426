/**
 * The budget: what a unit of work may cost, as it was counted last, in budget.json.
 *
 * Owns the file and the margin. A change that makes something cheaper writes it anew (`npm run test:work:budget`), so that
 * the next slip is seen from there; one that makes something dearer does so only where that is meant, and says why.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import type { Counts } from './meter.ts';

export type Budget = Record<string, Partial<Counts>>;

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
export function overBudget(counted: Partial<Counts>, budget: Partial<Counts>): string[] {
  return (Object.keys(counted) as (keyof Counts)[])
    .filter((name) => !((counted[name] ?? 0) <= (budget[name] ?? Number.NaN) * (1 + margin) + stray))
    .map((name) => `${name}: ${counted[name]}, budget ${budget[name] ?? 'none'}`);
}
