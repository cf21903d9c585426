/** The nodes of the cluster: each with its state, those that do not answer, and those that were there a while ago. */
import { make, makeTable } from '../elements.js';
import { count, duration, percent, rate, seconds, size } from '../format.js';
import { quantile } from '../points.js';

/** @import { View } from '../../../dashboard/observer.ts' */
/** @import { SeenNode } from '../feed.js' */

export function nodesTable() {
  const table = makeTable('Nodes', [
    { head: 'Node' },
    { head: 'State' },
    { head: 'Connections', number: true },
    { head: 'Rooms', number: true },
    { head: 'In /s', number: true },
    { head: 'Out /s', number: true },
    { head: 'Redis', number: true },
    { head: 'Loop lag p99', number: true },
    { head: 'CPU', number: true },
    { head: 'Memory', number: true, wide: true },
    { head: 'Waiting', number: true, wide: true },
    { head: 'Slow', number: true, wide: true },
    { head: 'Uptime', number: true, wide: true },
    { head: 'Version', wide: true },
  ]);
  return {
    element: table.element,
    /** @param {View} view @param {ReadonlyMap<string, SeenNode>} seen */
    show(view, seen) {
      const now = view.point.at;
      const rows = [...seen.values()].map((node) => {
        const { name, state } = node;
        const mark = make('span', { class: `state state-${node.is}` }, wordsOf(node, now));
        const answers = node.is === 'well' || node.is === 'draining' || node.is === 'troubled';
        if (!answers || state === undefined) {
          return table.row([name, mark, ...Array.from({ length: 12 }, () => '–')], { class: 'away' });
        }
        const { limits, rates, slow } = state;
        const share = limits.connections > 0 ? bar(state.connections / limits.connections) : null;
        return table.row([
          name === view.node
            ? make('span', {}, name, make('small', { title: 'This page comes from it.' }, ' this page'))
            : name,
          mark,
          make('span', {}, count(state.connections), share),
          count(state.rooms),
          rate(rates?.published),
          rate(rates?.delivered),
          state.backplaneRttMs === null ? '–' : seconds(state.backplaneRttMs / 1_000),
          seconds(quantile(view.bounds.loop ?? [], state.loop ?? [], 0.99)),
          make('span', {}, state.cpu === null ? '–' : percent(state.cpu), state.cpu === null ? null : bar(state.cpu)),
          size(state.rssBytes),
          size(state.bufferedBytes),
          count(slow['catch-up'] + slow.drop + slow.latest),
          duration(now - state.startedAt),
          state.version,
        ]);
      });
      table.show(rows);
    },
  };
}

/** @param {SeenNode} node @param {number} now */
function wordsOf({ is, since, state }, now) {
  if (is === 'well') return 'well';
  if (is === 'draining') return 'drains: its clients move';
  if (is === 'troubled') return state?.trouble ?? 'in trouble';
  if (is === 'missing') return `no answer for ${duration(now - since)}`;
  if (is === 'unknown') return 'unknown while Redis is away';
  return is === 'left' ? `left ${duration(now - since)} ago` : `gone for ${duration(now - since)}`;
}

/** @param {number} share  0 to 1 */
function bar(share) {
  const filled = make('span', { class: share > 0.8 ? 'filled full' : 'filled' });
  filled.style.width = `${Math.min(100, Math.max(2, share * 100))}%`;
  return make('span', { class: 'bar', 'aria-hidden': 'true' }, filled);
}
