/**
 * What comes on the channel of a room: an envelope is read, and the listener of the backplane is called.
 *
 * Envelopes that this release cannot read become a gap. It never knows connections or subscriptions.
 */
import type { BackplaneListener } from '../backplane/backplane.ts';
import { kindOf, readMessage, readPresence } from './envelope.ts';

/** The envelope is in `bytes`, from `start` to `end`. */
export function deliver(listener: BackplaneListener, room: string, bytes: Buffer, start: number, end: number): void {
  const kind = kindOf(bytes, start);
  if (kind === 'message') {
    const envelope = readMessage(bytes, start, end);
    if (envelope === undefined) listener.gap(room, 'unreadable');
    else listener.message(room, envelope.frame, envelope.at, envelope.position);
  } else if (kind === 'presence') {
    const update = readPresence(bytes, start, end, room);
    if (update === undefined) listener.gap(room, 'unreadable');
    else listener.presence(update);
  } else listener.gap(room, kind === 'gap' ? 'interrupted' : 'unreadable');
}
