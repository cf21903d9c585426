/**
 * The log cut into streams: what one connection saw of one room, from the `ok` of its subscription to its end.
 *
 * Within a stream, every missing message must be reported. A resume begins a new stream at its `since`: so a chain over many
 * connections is complete exactly when each of its streams is. Also judges LEAK (a frame of a room that the connection is
 * not in) and the LOST_TAIL of a client that never came back to a room.
 */
import type { Entry, EntryOf } from './log.ts';
import type { Report } from './publications.ts';

export interface Stream {
  client: string;
  room: string;
  opened: EntryOf<'subscribe' | 'resume'>;
  /** A gap with count 0 does not count. */
  lines: EntryOf<'deliver' | 'gap'>[];
  /** The client was still in the room at the end of the quiet time. */
  alive: boolean;
  /** When it left the room, or lost its connection. */
  endedAt: number;
  /** The gateway ended it, because messages are missing from there on. */
  endedByGap?: EntryOf<'unsubscribe'>;
}

/** By room, in the order in which they were opened. */
export function readStreams(entries: readonly Entry[], report: Report): Map<string, Stream[]> {
  const byRoom = new Map<string, Stream[]>();
  const open = new Map<number, Map<string, Stream>>();
  for (const entry of entries) {
    switch (entry.event) {
      case 'subscribe':
      case 'resume': {
        const { client, room, conn } = entry;
        const stream: Stream = { client, room, opened: entry, lines: [], alive: false, endedAt: Infinity };
        ensure(byRoom, room, () => []).push(stream);
        ensure(open, conn, () => new Map()).set(room, stream);
        break;
      }
      case 'deliver':
      case 'gap': {
        const stream = open.get(entry.conn)?.get(entry.room);
        if (stream && entry.event === 'gap' && entry.count === 0) break;
        if (stream) stream.lines.push(entry);
        else report('LEAK', `${entry.client} got a frame of ${entry.room} and was not in it`, entry);
        break;
      }
      case 'unsubscribe':
        end(open.get(entry.conn)?.get(entry.room), entry);
        open.get(entry.conn)?.delete(entry.room);
        break;
      case 'close':
        for (const stream of open.get(entry.conn)?.values() ?? []) end(stream, entry);
        open.delete(entry.conn);
        break;
      case 'end':
        for (const room of entry.rooms) {
          const stream = open.get(entry.conn)?.get(room);
          if (stream) stream.alive = true;
          else report('LOST_TAIL', `${entry.client} is not in ${room} at the end`, entry);
        }
        break;
    }
  }
  return byRoom;
}

function end(stream: Stream | undefined, entry: Entry): void {
  if (stream === undefined) return;
  stream.endedAt = entry.t;
  if (entry.event === 'unsubscribe' && entry.told) stream.endedByGap = entry;
}

export function ensure<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
