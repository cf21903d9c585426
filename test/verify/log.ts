/**
 * The log of a verify run: what clients did and saw, one line each, in the order of one clock.
 *
 * Owns the shape of the lines and how they are written to a file (JSON lines, the first one holds the seed and the
 * schedule). Written by clients and by the nemesis only, never by what is tested. Judged by checker.ts.
 */
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';
import type { Position } from '../../shared/protocol.ts';

export interface RoomPlan {
  name: string;
  history: boolean;
  /** Who is in it can be asked for. */
  presence?: true;
}

export interface PlannedFault {
  kind: string;
  /** Index of the node that it hits, where it hits one. */
  node: number;
  /** A room with history that it hits, where it hits one. */
  room: string;
  holdMs: number;
}

/** Of a message in a room with history the offset is given; of one in a plain room the id that the gateway gave it. */
export interface StoredMessage {
  id: string;
  offset: number;
}

interface Line {
  /** Milliseconds of the run's one clock. */
  t: number;
}

interface OfClient extends Line {
  client: string;
  /** Number of the connection, unique in the run. */
  conn: number;
}

interface OfRoom extends OfClient {
  room: string;
}

export type Entry =
  | (Line & { event: 'run'; seed: number; minutes: number; rooms: RoomPlan[]; schedule: PlannedFault[] })
  | (Line & { event: 'fault' | 'healed'; kind: string; node: number; room: string })
  /** Not all was well again after a fault, and that was the last one. */
  | (Line & { event: 'stuck'; what: string })
  /** Redis lost all it had, between `from` (it was still there) and `t` (the new one answers). */
  | (Line & { event: 'wipe'; from: number })
  /** What says in which epoch this room is, or without a name every room, was taken away. */
  | (Line & { event: 'lapse'; room?: string })
  /** A replica that had everything was the master from `from` on; at `t` no node was left at the former one. */
  | (Line & { event: 'takeover'; from: number })
  | (OfClient & { event: 'open'; node: string })
  /** Written before the frame is sent. A retry has the same id, which is its key, if it has one. */
  | (OfRoom & { event: 'publish'; id: string })
  | (OfRoom & { event: 'ack'; id: string; epoch?: string; offset?: number; duplicate?: boolean })
  /** The gateway said that it certainly did not take it. */
  | (OfRoom & { event: 'nack'; id: string; code: string })
  /** `timeout`, no answer, or the end of the connection. */
  | (OfRoom & { event: 'unknown'; id: string; code: string })
  /** The `ok` to a subscription without, or (`resume`) with `since`. */
  | (OfRoom & { event: 'subscribe'; epoch?: string; offset?: number; recovered?: boolean })
  | (OfRoom & { event: 'resume'; from: Position; epoch?: string; offset?: number; recovered?: boolean })
  /** The `ok` to `unsubscribe`. */
  | (OfRoom & { event: 'unsubscribe' })
  /** `id` as the publisher gave it, `corrupt …` if it does not fit the payload; `wire` is the gateway's (plain rooms). */
  | (OfRoom & { event: 'deliver'; id: string; offset?: number; wire?: string })
  | (OfRoom & {
      event: 'gap';
      reason: string;
      first?: number;
      last?: number;
      count?: number;
      epoch?: string;
      offset?: number;
    })
  | (OfClient & { event: 'close'; code: number })
  /** After the quiet time: the client still runs, and means to be in these rooms. */
  | (OfClient & { event: 'end'; rooms: string[] })
  /** What the gateway holds of a room when all is over. */
  | (Line & { event: 'history'; room: string; epoch: string; first: number; offset: number; items: StoredMessage[] })
  /** Who is in a room after the quiet time: the user of each connection, and the numbers that are told beside them. */
  | (Line & { event: 'presence'; room: string; members: string[]; count: number; users: number });

export type EntryOf<Event extends Entry['event']> = Extract<Entry, { event: Event }>;

/** One JSON object per line. Resolves when all is on disk. */
export async function writeLog(path: string, entries: readonly Entry[]): Promise<void> {
  const file = createWriteStream(path);
  for (const entry of entries) {
    if (!file.write(`${JSON.stringify(entry)}\n`)) await once(file, 'drain');
  }
  file.end();
  await finished(file);
}
