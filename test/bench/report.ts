/**
 * The table on standard output, one line per figure. The JSON file has everything in full.
 */
import type { Machine } from './machine.ts';
import type { Goal } from './ratios.ts';
import type { FigureResult, RowResult } from './run.ts';

const headings = ['', 'goal', 'ours', 'theirs', 'ratio', 'spread', ''];

/** Lines for a terminal. `judged`: whether the goals count; a short run proves nothing about speed. */
export function tableOf(rows: readonly RowResult[], judged: boolean): string {
  return rows.map((row) => [titleOf(row), ...aligned(row, judged), ...faultsOf(row)].join('\n')).join('\n\n');
}

export function headingOf(machine: Machine, pairs: number): string {
  const { processor, processors, kernel, node, redis, pinned } = machine;
  const pinning = pinned ? 'the server is pinned to processor 0' : 'nothing is pinned: there is no taskset';
  return `${processor}, ${processors} processors, Linux ${kernel}, Node ${node}, Redis ${redis}; ${pinning}; pairs: ${pairs}`;
}

function titleOf({ name, title, subject, against }: RowResult): string {
  return `${name}: ${title} (${subject}${against === undefined ? '' : ` : ${against}`})`;
}

function faultsOf({ faults }: RowResult): string[] {
  return faults.map((fault) => `  FAULT ${fault}`);
}

function aligned({ figures }: RowResult, judged: boolean): string[] {
  const lines = [headings, ...figures.map((figure) => cellsOf(figure, judged))];
  const widths = headings.map((_, column) => Math.max(...lines.map((cells) => cells[column]?.length ?? 0)));
  return lines.map((cells) => {
    const padded = cells.map((cell, column) => {
      const width = widths[column] ?? 0;
      return column === 0 ? cell.padEnd(width) : cell.padStart(width);
    });
    return `  ${padded.join('  ')}`.trimEnd();
  });
}

function cellsOf(figure: FigureResult, judged: boolean): string[] {
  const { title, unit, goal, median, ratios, spread, reached } = figure;
  const hasRatio = ratios.length > 0;
  const show = hasRatio ? showRatio : showNumber;
  return [
    `${title}, ${unit}`,
    goal === undefined ? '' : showGoal(goal),
    showNumber(median.ours),
    median.theirs === undefined ? '' : showNumber(median.theirs),
    hasRatio ? showRatio(spread.median) : '',
    `${show(spread.least)}..${show(spread.most)}`,
    reached === undefined || !judged ? '' : reached ? 'held' : 'NOT HELD',
  ];
}

function showGoal({ of, bound, limit }: Goal): string {
  const shown = { ratio: `${showRatio(limit)} x`, figure: showNumber(limit), difference: `+${showNumber(limit)}` };
  return `${bound === 'at least' ? '>=' : '<='} ${shown[of]}`;
}

function showRatio(value: number): string {
  return value.toFixed(2);
}

/** Three significant digits. */
function showNumber(value: number): string {
  const decimals = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value) || 1)));
  return value.toLocaleString('en', { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}
