/** A table of connections, as /api/connections has them, each with a button to disconnect it. */
import { make, makeTable } from '../elements.js';
import { count, duration, seconds, size } from '../format.js';
import { askToDisconnect } from '../question.js';

/** @import { ConnectionEntry } from '../../../operations/cluster/lists.ts' */

/** @param {string} caption @param {() => void} changed  a connection was disconnected */
export function connectionsTable(caption, changed) {
  const table = makeTable(caption, [
    { head: 'User' },
    { head: 'Node' },
    { head: 'Address' },
    { head: 'Connected for', number: true },
    { head: 'Rooms', number: true },
    { head: 'Waiting', number: true },
    { head: 'Ping', number: true },
    { head: 'Disconnect' },
  ]);
  const rowOf = (/** @type {ConnectionEntry} */ entry) => {
    const { address, bufferedBytes, connection, node, openedAt, rooms, rttMs, user } = entry;
    const name = user ?? 'anonymous';
    const disconnect = async () => {
      if (await askToDisconnect(entry)) changed();
    };
    return table.row(
      [
        make('span', { title: connection, class: user === null ? 'muted' : undefined }, name),
        node,
        address,
        duration(Date.now() - openedAt),
        count(rooms),
        size(bufferedBytes),
        seconds(rttMs === null ? null : rttMs / 1_000),
        make(
          'button',
          {
            type: 'button',
            class: 'small',
            'data-key': connection,
            'aria-label': `Disconnect ${name}`,
            onclick: disconnect,
          },
          'Disconnect',
        ),
      ],
      { 'data-connection': connection },
    );
  };
  return {
    element: table.element,
    /** @param {ConnectionEntry[]} entries @param {string} empty */
    show: (entries, empty) => table.show(entries.map(rowOf), empty),
    /** @param {ConnectionEntry[]} entries */
    add: (entries) => table.add(entries.map(rowOf)),
  };
}
