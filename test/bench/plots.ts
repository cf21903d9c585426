/**
 * The curves of a run as SVG pictures. The only file that imports echarts.
 */
import { init } from 'echarts';
import { spreadOf } from './ratios.ts';
import type { RowResult } from './run.ts';

interface Plot {
  row: string;
  title: string;
  x: string;
  y: string;
}

const plots: Plot[] = [
  {
    row: 'curve',
    title: 'One room, 1,000 members, 128 bytes: latency by rate',
    x: 'deliveries per second',
    y: 'milliseconds',
  },
  {
    row: 'growth-members',
    title: 'Members of one room, 50,000 deliveries per second: cost of a delivery',
    x: 'members',
    y: 'microseconds of server CPU',
  },
  {
    row: 'growth-rooms',
    title: 'Rooms of one member, 5,000 messages per second: cost of a message',
    x: 'rooms',
    y: 'microseconds of server CPU',
  },
  {
    row: 'growth-connections',
    title: 'Connections in rooms of 10, 20,000 deliveries per second: cost of a delivery',
    x: 'connections',
    y: 'microseconds of server CPU',
  },
];

const size = { width: 860, height: 480 };
const colours = ['#0b6bcb', '#c2410c'];
const dashes = ['solid', 'dashed'] as const;

type Curve = [x: number, y: number][];

/** Plots of the rows that were run, by file name. */
export function drawPlots(rows: readonly RowResult[]): Map<string, string> {
  const drawn = new Map<string, string>();
  for (const plot of plots) {
    const row = rows.find(({ name }) => name === plot.row);
    if (row !== undefined) drawn.set(`${plot.row}.svg`, draw(plot, row));
  }
  return drawn;
}

function draw({ title, x, y }: Plot, { subject, against, runs }: RowResult): string {
  const contestants = against === undefined ? [subject] : [subject, against];
  const series = contestants.flatMap((contestant, colour) => {
    const curves = runs
      .filter((run) => run.contestant === contestant)
      .flatMap(({ measured }) => (measured.curves ? [measured.curves] : []));
    const names = Object.keys(curves[0] ?? {});
    return names.map((name, dash) => ({
      type: 'line' as const,
      name: names.length > 1 ? `${contestant}, ${name}` : contestant,
      data: medianCurve(curves.map((curve) => curve[name] ?? [])),
      symbolSize: 7,
      itemStyle: { color: colours[colour] as string },
      lineStyle: { width: 2, type: dashes[dash] as (typeof dashes)[number] },
    }));
  });
  const chart = init(null, null, { renderer: 'svg', ssr: true, ...size });
  const axis = { nameLocation: 'middle' as const, nameTextStyle: { fontSize: 14 }, minorSplitLine: { show: true } };
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    title: { text: title, left: 'center', textStyle: { fontSize: 16 } },
    legend: { top: 34, itemWidth: 42, itemGap: 24 },
    grid: { left: 76, right: 34, top: 76, bottom: 60 },
    xAxis: { ...axis, type: 'log', name: x, nameGap: 34, axisLabel: { formatter: shorten } },
    yAxis: { ...axis, type: 'log', name: y, nameGap: 48, axisLabel: { formatter: shorten } },
    series,
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}

/** The medians over the pairs, point by point, up to the end of the shortest. */
function medianCurve(curves: readonly Curve[]): Curve {
  const length = Math.min(...curves.map((curve) => curve.length));
  return Array.from({ length }, (_, at) => {
    const along = (axis: 0 | 1) => spreadOf(curves.map((curve) => curve[at]?.[axis] ?? Number.NaN)).median;
    return [along(0), along(1)];
  });
}

function shorten(value: number): string {
  return value.toLocaleString('en', { notation: 'compact', maximumSignificantDigits: 3 });
}
