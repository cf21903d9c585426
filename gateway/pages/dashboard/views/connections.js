/** The view of connections: found by user, room and node. */

import { make } from '../elements.js';
import { connectionsTable } from './connections-table.js';
import { pagedList } from './paged-list.js';

/** @import { Feed } from '../feed.js' */
/** @import { ConnectionEntry } from '../../../operations/cluster/lists.ts' */

/** @param {Feed} feed @param {URLSearchParams} asked */
export function connectionsView(feed, asked) {
  const nodes = make('select', { id: 'by-node', name: 'node' }, make('option', { value: '' }, 'all nodes'));
  for (const name of feed.nodes.keys()) nodes.append(make('option', { value: name }, name));
  const text = (/** @type {string} */ name) =>
    make('input', { id: `by-${name}`, name, value: asked.get(name) ?? '', autocomplete: 'off', spellcheck: 'false' });
  const form = make(
    'form',
    { class: 'search', role: 'search', 'aria-label': 'Connections' },
    field('User', 'by-user', text('user')),
    field('Room', 'by-room', text('room')),
    field('Node', 'by-node', nodes),
    make('button', { type: 'submit' }, 'Find'),
  );
  const found = pagedList({
    form,
    table: connectionsTable('Connections', () => void found.load()),
    ...{ path: '/api/connections', name: 'connections', empty: 'No connection is like this.' },
    placeOf: (/** @type {ConnectionEntry} */ { connection }) => connection,
  });
  void found.load();
  const element = make('section', { class: 'card' }, make('h1', {}, 'Connections'), form, found.element);
  return { element, title: 'Connections' };
}

/** @param {string} label @param {string} id @param {HTMLElement} input */
export function field(label, id, input) {
  return make('div', { class: 'field' }, make('label', { for: id }, label), input);
}
