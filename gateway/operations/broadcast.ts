/** Broadcast: sends one message to many rooms, for the operator's own server. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type PublishParts, publishFromServer, type ServerMessage, type ServerPublished } from './publish.ts';
import { Refusal } from './refusal.ts';

/** What became of the message in one room. */
export type BroadcastResult = { room: string } & (ServerPublished | { refusal: Refusal });

/** Rooms published to at once. Frames of clients get their turns between two slices, and it bounds what is in flight. */
const roomsPerSlice = 50;

/**
 * Publishes to the rooms, a slice at a time; the results are in the order of the rooms. A room that cannot be published to
 * holds up no other one. If a slice ends in `timeout`, the rooms behind it are left out, as `unavailable`: each slice would
 * wait as long. Never rejects with a Refusal.
 */
export async function broadcast(
  parts: PublishParts,
  rooms: readonly string[],
  message: Omit<ServerMessage, 'room'>,
): Promise<BroadcastResult[]> {
  const results: BroadcastResult[] = [];
  let hangs = false;
  for (let from = 0; from < rooms.length; from += roomsPerSlice) {
    const slice = rooms.slice(from, from + roomsPerSlice);
    if (from > 0) await nextTurn();
    const made: BroadcastResult[] = hangs
      ? slice.map((room) => ({ room, refusal: leftOut }))
      : await Promise.all(slice.map((room) => publishTo(parts, { room, ...message })));
    hangs ||= made.some((result) => 'refusal' in result && result.refusal.code === 'timeout');
    results.push(...made);
  }
  return results;
}

const leftOut = new Refusal(
  'unavailable',
  'Not sent, because a room before it in the list got no answer in time; publish again in a moment.',
);

async function publishTo(parts: PublishParts, message: ServerMessage): Promise<BroadcastResult> {
  const { room } = message;
  try {
    return { room, ...(await publishFromServer(parts, message)) };
  } catch (refusal) {
    if (refusal instanceof Refusal) return { room, refusal };
    throw refusal;
  }
}
