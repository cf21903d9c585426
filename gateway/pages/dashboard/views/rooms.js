/** The view of rooms: by name, page by page. */

import { make, makeTable } from '../elements.js';
import { count } from '../format.js';
import { field } from './connections.js';
import { pagedList } from './paged-list.js';

/** @import { RoomEntry } from '../../../operations/cluster/lists.ts' */

export function roomsView() {
  const input = make('input', { id: 'by-prefix', name: 'prefix', autocomplete: 'off', spellcheck: 'false' });
  const form = make(
    'form',
    { class: 'search', role: 'search', 'aria-label': 'Rooms' },
    field('Name begins with', 'by-prefix', input),
    make('button', { type: 'submit' }, 'Find'),
    make('button', { type: 'button', class: 'quiet', onclick: () => openRoom(input.value) }, 'Open this room'),
  );
  const table = makeTable('Rooms', [{ head: 'Room' }, { head: 'Connections', number: true }]);
  const rowOf = (/** @type {RoomEntry} */ { room, members }) =>
    table.row([make('a', { href: `#/rooms/${encodeURIComponent(room)}` }, room), count(members)]);
  const found = pagedList({
    form,
    table: {
      element: table.element,
      show: (/** @type {RoomEntry[]} */ entries, empty) => table.show(entries.map(rowOf), empty),
      add: (entries) => table.add(entries.map(rowOf)),
    },
    ...{ path: '/api/rooms', name: 'rooms', empty: 'No room with members begins like this.' },
    placeOf: ({ room }) => room,
  });
  void found.load();
  const element = make('section', { class: 'card' }, make('h1', {}, 'Rooms with members'), form, found.element);
  return { element, title: 'Rooms' };
}

/** Also one without members: it may have history, and messages may come. @param {string} room */
function openRoom(room) {
  if (room !== '') location.hash = `#/rooms/${encodeURIComponent(room)}`;
}
