/**
 * All rows of the table in order, and the selection of some.
 */
import { centrifugoRows } from './centrifugo/rows.ts';
import { connectionRows } from './rows-connections.ts';
import { growthRows } from './rows-growth.ts';
import { loopRows } from './rows-loop.ts';
import { messageRows } from './rows-messages.ts';
import { modelRows } from './rows-model.ts';
import type { Scenario } from './scenario.ts';
import { type Contestant, reference } from './servers.ts';

export const allRows: readonly Scenario[] = [
  ...messageRows,
  ...connectionRows,
  ...growthRows,
  ...loopRows,
  ...modelRows,
  ...centrifugoRows,
];

/** Throws a TypeError that lists all rows, for an unknown name. */
export function chooseRows(names: readonly string[]): Scenario[] {
  const unknown = names.filter((name) => !allRows.some((row) => row.name === name));
  if (unknown.length > 0) {
    throw new TypeError(
      `no row is named ${unknown.join(', ')}; there are ${allRows.map(({ name }) => name).join(', ')}`,
    );
  }
  return allRows.filter(({ name }) => names.includes(name));
}

/** The rows that compare with the reference, with `peer` instead of it. */
export function againstPeer(rows: readonly Scenario[], peer: Contestant): Scenario[] {
  return rows.filter(({ against }) => against === reference).map((row) => ({ ...row, against: peer }));
}
