/**
 * Charts over the last five minutes: lines, and heat maps of distributions. uPlot draws; here is what is drawn.
 *
 * A heat map has a column per moment and a row per bucket of the histogram: the darker, the more was observed. So two groups of
 * slow and fast clients show as two bands, which an average would hide. All charts share the cursor.
 */
import uPlot from '/dashboard/uplot.js';
import { make, setText } from './elements.js';
import { clock, count, seconds } from './format.js';
import { fold, quantile, sum } from './points.js';

/** @import { Point } from '../../dashboard/tick.ts' */
/** @import { HistogramKind } from '../../telemetry/numbers.ts' */

/** A chart shows five minutes at most, and one at least. */
const [mostSeconds, fewestSeconds] = [300, 60];
/** Over a longer time each five seconds become one point: single ones would be narrower than a pixel, and noise. */
const [longMs, slotMs] = [100_000, 5_000];
/** A longer pause between two points is a gap. */
const gapSeconds = 12;
const plotHeight = 132;
/** Rows that a heat map shows at least. */
const fewestRows = 5;

/**
 * @typedef {object} Chart
 * @property {HTMLElement} element
 * @property {(points: Point[]) => void} show
 * @property {() => void} close
 */

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {(point: Point) => number | null | undefined} read
 */

/**
 * @param {string} title
 * @param {Line[]} lines  at most three
 * @param {(value: number | null | undefined) => string} format
 * @param {{ least?: number, note?: (point: Point) => string }} [options]  `least`: the scale goes up to it, or higher
 * @returns {Chart}
 */
export function lineChart(title, lines, format, { least = 1, note } = {}) {
  return chart(title, {
    keys: lines.map(({ label }) => label),
    values: (point) => lines.map(({ read }) => format(read(point))),
    note,
    columns: (points) => lines.map(({ read }) => points.map((point) => (point && read(point)) ?? null)),
    options: (style) => ({
      scales: { y: { range: (_, __, most) => [0, Math.max(most ?? 0, least) * 1.12] } },
      series: lines.map((_, index) => ({
        stroke: style(`--line-${index + 1}`),
        ...(index === 0 ? { fill: style('--area') } : {}),
        width: 1.75,
        points: { show: false },
      })),
      axis: { values: (_, splits) => splits.map((split) => format(split)) },
    }),
  });
}

/**
 * @param {string} title
 * @param {HistogramKind} kind
 * @param {() => number[]} boundsOf  upper bounds of its buckets, in seconds
 * @returns {Chart}
 */
export function heatMap(title, kind, boundsOf) {
  /** @type {(Point | null)[]} */
  let shown = [];
  const shares = [0.5, 0.99];
  const at = (/** @type {Point | null} */ point, /** @type {number} */ share) =>
    point === null ? null : quantile(boundsOf(), point.counts[kind], share);
  return chart(title, {
    keys: ['p50', 'p99'],
    values: (point) => shares.map((share) => seconds(at(point, share))),
    note: (point) => `${count(sum(point.counts[kind]))} observed`,
    columns: (points) => {
      shown = points;
      return shares.map((share) =>
        points.map((point) => {
          const value = at(point, share);
          return value === null ? null : rowOf(value, boundsOf());
        }),
      );
    },
    options: (style) => ({
      scales: { y: { range: () => rowsIn(shown, kind) } },
      series: [
        { stroke: style('--line-1'), width: 1.75, points: { show: false } },
        { stroke: style('--line-2'), width: 1.75, points: { show: false } },
      ],
      axis: {
        splits: (plot) => everyOther(plot.scales.y?.min ?? 0, plot.scales.y?.max ?? 0),
        values: (_, splits) => splits.map((row) => edge(row, boundsOf())),
      },
      draw: (plot) => drawCells(plot, shown, kind, style('--heat')),
    }),
  });
}

/**
 * @typedef {object} Definition
 * @property {string[]} keys  names of the lines
 * @property {(point: Point) => string[]} values  of each line, as text
 * @property {((point: Point) => string) | undefined} [note]
 * @property {(points: (Point | null)[]) => (number | null)[][]} columns  null: a gap
 * @property {(style: (name: string) => string) => {
 *   scales: uPlot.Scales, series: uPlot.Series[], axis: uPlot.Axis, draw?: (plot: uPlot) => void }} options
 */

/** @param {string} title @param {Definition} definition @returns {Chart} */
function chart(title, { keys, values, note, columns, options }) {
  const figures = keys.map((key, index) => {
    const value = make('b');
    return { value, element: make('span', { class: `key key-${index + 1}` }, keys.length > 1 ? `${key} ` : '', value) };
  });
  const noted = make('span', { class: 'noted' });
  const plotted = make('div', { class: 'plot', role: 'img', 'aria-label': `${title}, over the last five minutes` });
  const readout = make(
    'p',
    { class: 'readout' },
    figures.map(({ element }) => element),
    noted,
  );
  const element = make(
    'figure',
    { class: 'card chart' },
    make('figcaption', {}, make('h3', {}, title), readout),
    plotted,
  );
  /** @type {(Point | null)[]} */
  let points = [];
  /** @type {Point | undefined} */
  let last;
  /** @type {uPlot | undefined} */
  let plot;

  const read = () => {
    const at = plot?.cursor.idx;
    const point = (at === null || at === undefined ? undefined : points[at]) ?? last;
    if (!point) return;
    for (const [index, text] of values(point).entries()) setText(/** @type {any} */ (figures[index]).value, text);
    setText(noted, at === null || at === undefined ? (note?.(point) ?? '') : clock(point.at));
  };
  const draw = () => {
    plot?.destroy();
    const style = (/** @type {string} */ name) => getComputedStyle(element).getPropertyValue(name).trim();
    const { axis, draw: drawBelow, scales, series } = options(style);
    const axes = { stroke: style('--muted'), font: `11px ${style('--font')}`, ticks: { show: false } };
    const grid = { stroke: style('--grid'), width: 1 };
    plot = new uPlot(
      {
        width: Math.max(120, plotted.clientWidth),
        height: plotHeight,
        legend: { show: false },
        padding: [8, null, 0, 0],
        cursor: { sync: { key: 'cluster' }, drag: { x: false, y: false }, points: { show: false }, y: false },
        scales: {
          x: { range: (_, first, last) => [Math.max(last - mostSeconds, Math.min(first, last - fewestSeconds)), last] },
          ...scales,
        },
        series: [{}, ...series],
        axes: [
          {
            ...axes,
            grid: { show: false },
            size: 24,
            space: 70,
            incrs: [15, 30, 60, 120],
            values: (_, all, __, ___, step) => all.map((at) => timeOf(at, step)),
          },
          { ...axes, grid, size: 50, gap: 4, space: 26, ...axis },
        ],
        hooks: { setCursor: [read], drawAxes: drawBelow === undefined ? [] : [drawBelow] },
      },
      data(),
      plotted,
    );
  };
  const data = () => /** @type {uPlot.AlignedData} */ ([points.map(timeAt), ...columns(points)]);
  /** @param {Point | null} point @param {number} index */
  const timeAt = (point, index) => (point?.at ?? (points[index - 1]?.at ?? 0) + 1_000) / 1_000;
  const resized = new ResizeObserver(() => {
    if (plot === undefined) draw();
    else plot.setSize({ width: Math.max(120, plotted.clientWidth), height: plotHeight });
  });
  resized.observe(plotted);
  const scheme = matchMedia('(prefers-color-scheme: dark)');
  scheme.addEventListener('change', draw);
  return {
    element,
    show(next) {
      last = next.at(-1);
      const [from, to] = [next[0]?.at ?? 0, last?.at ?? 0];
      points = withGaps(to - from > longMs ? fold(next, slotMs) : next);
      plot?.setData(data());
      read();
    },
    close() {
      resized.disconnect();
      scheme.removeEventListener('change', draw);
      plot?.destroy();
    },
  };
}

/** @param {Point[]} points @returns {(Point | null)[]} */
function withGaps(points) {
  return points.flatMap((point, index) => {
    const before = points[index - 1];
    return before !== undefined && point.at - before.at > gapSeconds * 1_000 ? [null, point] : [point];
  });
}

/** @param {uPlot} plot @param {(Point | null)[]} points @param {HistogramKind} kind @param {string} colour  as `r g b` */
function drawCells(plot, points, kind, colour) {
  const { ctx } = plot;
  const { left, top, width, height } = plot.bbox;
  const since = plot.scales.x?.min ?? 0;
  let most = 1;
  for (const point of points) {
    if (point && point.at / 1_000 >= since) most = Math.max(most, ...point.counts[kind]);
  }
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
  for (const [index, point] of points.entries()) {
    if (!point || point.at / 1_000 < since) continue;
    const before = points[index - 1];
    const from = Math.round(plot.valToPos((before?.at ?? point.at - 1_000) / 1_000, 'x', true));
    const to = Math.round(plot.valToPos(point.at / 1_000, 'x', true));
    for (const [row, observed] of point.counts[kind].entries()) {
      if (observed <= 0) continue;
      const high = Math.round(plot.valToPos(row + 1, 'y', true));
      const low = Math.round(plot.valToPos(row, 'y', true));
      ctx.fillStyle = `rgb(${colour} / ${0.1 + 0.75 * Math.sqrt(observed / most)})`;
      ctx.fillRect(from, high, to - from, low - high);
    }
  }
  ctx.restore();
}

/** Where a value lies among the rows: row 2.5 is the middle of the third bucket. @param {number} value @param {number[]} bounds */
function rowOf(value, bounds) {
  const row = bounds.findIndex((bound) => value <= bound);
  if (row < 0) return bounds.length;
  const [from, to] = [bounds[row - 1] ?? 0, bounds[row] ?? 0];
  return row + (value - from) / (to - from);
}

/** The rows with observations. @param {(Point | null)[]} points @param {HistogramKind} kind @returns {[number, number]} */
function rowsIn(points, kind) {
  let [first, last] = [Number.POSITIVE_INFINITY, 0];
  for (const point of points) {
    const counts = point?.counts[kind] ?? [];
    for (const [row, observed] of counts.entries()) {
      if (observed > 0) [first, last] = [Math.min(first, row), Math.max(last, row + 1)];
    }
  }
  if (first > last) return [0, fewestRows];
  return [Math.max(0, Math.min(first, last - fewestRows)), Math.max(last, fewestRows)];
}

/** @param {number} first @param {number} last */
function everyOther(first, last) {
  const step = last - first > 6 ? 2 : 1;
  return Array.from({ length: Math.floor((last - first) / step) + 1 }, (_, index) => first + index * step);
}

/** The time at the lower edge of a row. @param {number} row @param {number[]} bounds */
function edge(row, bounds) {
  if (row === 0) return '0';
  const bound = bounds[row - 1];
  return bound === undefined ? '∞' : seconds(bound).replace('.0 ', ' ');
}

/** @param {number} at  Unix seconds @param {number} step  from one label to the next */
function timeOf(at, step) {
  const text = clock(at * 1_000);
  return step < 60 ? text : text.slice(0, 5);
}
