/** The view of the whole cluster: its numbers, charts, nodes, reasons and busiest rooms. It shows ticks, and asks nothing. */
import { heatMap, lineChart } from '../charts.js';
import { make, makeTable, setText } from '../elements.js';
import { count, meaning, percent, rate, seconds, size } from '../format.js';
import { addCounts, quantile } from '../points.js';
import { nodesTable } from './nodes-table.js';

/** @import { Point } from '../../../dashboard/tick.ts' */
/** @import { View } from '../../../dashboard/observer.ts' */
/** @import { Feed } from '../feed.js' */

/** @param {Feed} feed */
export function clusterView(feed) {
  const tiles = makeTiles();
  const bounds = (/** @type {import('../../../telemetry/numbers.ts').HistogramKind} */ kind) => () =>
    feed.bounds[kind] ?? [];
  const charts = [
    lineChart('Messages in, per second', [{ label: 'published', read: ({ rates }) => rates?.published }], rate),
    lineChart('Messages out, per second', [{ label: 'delivered', read: ({ rates }) => rates?.delivered }], rate),
    heatMap('Fan-out: accepted to handed over', 'fanout', bounds('fanout')),
    heatMap('Ping: round trip of clients', 'ping', bounds('ping')),
    lineChart('Connections', [{ label: 'open', read: ({ connections }) => connections }], count),
    lineChart(
      'Coming and going, per second',
      [
        { label: 'opened', read: ({ rates }) => rates?.opened },
        { label: 'closed', read: ({ rates }) => rates?.closed },
        { label: 'refused', read: ({ rates }) => rates?.rejected },
      ],
      rate,
    ),
    heatMap('Redis: round trip of nodes', 'backplane', bounds('backplane')),
    lineChart('Waiting for clients to read', [{ label: 'bytes', read: ({ bufferedBytes }) => bufferedBytes }], size, {
      least: 1_024,
      note: ({ slow }) => slowReaders(slow),
    }),
  ];
  const nodes = nodesTable();
  const closes = reasonsTable('Closed connections', 'closed');
  const rejects = reasonsTable('Refused handshakes', 'rejected');
  const troubles = troublesTable();
  const busiest = busiestTable();
  const element = make(
    'div',
    {},
    make('h1', { class: 'hidden' }, 'Cluster'),
    tiles.element,
    make(
      'section',
      { class: 'charts', 'aria-label': 'Charts' },
      charts.map((chart) => chart.element),
    ),
    section('Nodes', nodes.element),
    make(
      'div',
      { class: 'columns' },
      section('Busiest rooms', busiest.element),
      section('Closed connections', closes.element),
      section('Refused handshakes', rejects.element),
      section('Lost, refused, healed', troubles.element),
    ),
  );

  return {
    element,
    title: 'Cluster',
    /** @param {View | undefined} view */
    show(view) {
      for (const chart of charts) chart.show(feed.points);
      if (view === undefined) return;
      tiles.show(view, feed);
      nodes.show(view, feed.nodes);
      closes.show(view, feed.points);
      rejects.show(view, feed.points);
      troubles.show(view, feed.points);
      busiest.show(view);
    },
    close() {
      for (const chart of charts) chart.close();
    },
  };
}

function makeTiles() {
  const names = [
    'Connections',
    'Users',
    'Rooms',
    'In, per second',
    'Out, per second',
    'Fan-out p99',
    'Redis p50',
    'Waiting bytes',
  ];
  const tiles = names.map((name) => {
    const [value, note] = [make('dd', { class: 'figure' }), make('dd', { class: 'note' })];
    return { value, note, element: make('div', { class: 'card tile' }, make('dt', {}, name), value, note) };
  });
  return {
    element: make(
      'dl',
      { class: 'tiles' },
      tiles.map((tile) => tile.element),
    ),
    /** @param {View} view @param {Feed} feed */
    show({ distinct, nodes, point }, feed) {
      const limit = nodes.every(({ limits }) => limits.connections > 0)
        ? nodes.reduce((sum, { limits }) => sum + limits.connections, 0)
        : 0;
      const [fanout, backplane] = [recent(feed, 'fanout', 0.99), recent(feed, 'backplane', 0.5)];
      const members = nodes.reduce((sum, node) => sum + node.members, 0);
      /** @type {[string, string][]} */
      const shown = [
        [
          count(point.connections),
          limit > 0 ? `${percent(point.connections / limit)} of ${count(limit)}` : `on ${nodes.length} nodes`,
        ],
        [count(distinct?.users), 'with a connection'],
        [count(distinct?.rooms), `${count(members)} memberships`],
        [rate(point.rates?.published), 'published'],
        [rate(point.rates?.delivered), perMessage(point)],
        [fanout, 'last ten seconds'],
        [backplane, 'last ten seconds'],
        [size(point.bufferedBytes), slowReaders(point.slow)],
      ];
      for (const [index, [value, note]] of shown.entries()) {
        const tile = tiles[index];
        if (tile === undefined) continue;
        setText(tile.value, value);
        setText(tile.note, note);
      }
    },
  };
}

/** @param {number} slow */
function slowReaders(slow) {
  return slow === 1 ? '1 slow reader' : `${count(slow)} slow readers`;
}

/** @param {Point} point */
function perMessage({ rates }) {
  if (rates === null || rates.published < 0.05) return 'handed to sockets';
  return `${rate(rates.delivered / rates.published)} for each in`;
}

/** Over the last ten seconds. @param {Feed} feed @param {'fanout' | 'backplane'} kind @param {number} share */
function recent({ bounds, points }, kind, share) {
  const counts = points.slice(-10).map((point) => point.counts[kind]);
  return seconds(quantile(bounds[kind] ?? [], addCounts(counts), share));
}

/** @param {string} caption @param {'closed' | 'rejected'} kind */
function reasonsTable(caption, kind) {
  const table = makeTable(caption, [
    { head: kind === 'closed' ? 'Code' : 'Reason' },
    { head: 'Meaning' },
    { head: '5 min', number: true },
    { head: 'In all', number: true },
  ]);
  return {
    element: table.element,
    /** @param {View} view @param {Point[]} points */
    show({ totals }, points) {
      const of = lately(points, kind);
      const rows = Object.entries(totals[kind]).sort(
        ([one, a], [other, b]) => (of(other) || 0) - (of(one) || 0) || b - a,
      );
      table.show(
        rows.map(([reason, all]) => table.row([reason, meaning(kind, reason), count(of(reason)), count(all)])),
        kind === 'closed' ? 'None was closed.' : 'None was refused.',
      );
    },
  };
}

function troublesTable() {
  const table = makeTable('Lost, refused, healed', [
    { head: 'What' },
    { head: 'Reason' },
    { head: '5 min', number: true },
    { head: 'In all', number: true },
  ]);
  const kinds = /** @type {const} */ ({ publishErrors: 'publish failed', dropped: 'message left out', gaps: 'gap' });
  return {
    element: table.element,
    /** @param {View} view @param {Point[]} points */
    show({ totals }, points) {
      const rows = Object.entries(kinds).flatMap(([name, words]) => {
        const kind = /** @type {keyof typeof kinds} */ (name);
        const of = lately(points, kind);
        return Object.entries(totals[kind]).map(([reason, all]) =>
          table.row([words, reason, count(of(reason)), count(all)]),
        );
      });
      table.show(rows, 'No publish failed, and no member missed a message.');
    },
  };
}

/** How often each reason occurred within the points. @param {Point[]} points @param {import('../../../telemetry/numbers.ts').ReasonKind} kind */
function lately(points, kind) {
  return (/** @type {string} */ reason) => points.reduce((sum, { events }) => sum + (events[kind][reason] ?? 0), 0);
}

function busiestTable() {
  const table = makeTable('Busiest rooms', [
    { head: 'Room' },
    { head: 'Members', number: true },
    { head: 'In /s', number: true },
    { head: 'Out /s', number: true },
  ]);
  return {
    element: table.element,
    /** @param {View} view */
    show({ busiest }) {
      const rows = busiest
        .slice(0, 12)
        .map(({ room, members, messagesPerSecond, deliveriesPerSecond, errorPerSecond }) => {
          const about = errorPerSecond > deliveriesPerSecond / 20 ? '≈ ' : '';
          const link = make('a', { href: `#/rooms/${encodeURIComponent(room)}`, 'data-key': room }, room);
          return table.row([
            link,
            count(members),
            `${about}${rate(messagesPerSecond)}`,
            `${about}${rate(deliveriesPerSecond)}`,
          ]);
        });
      table.show(rows, 'No message in the last seconds.');
    },
  };
}

/** @param {string} title @param {HTMLElement} content */
function section(title, content) {
  return make('section', { class: 'card' }, make('h2', {}, title), content);
}
