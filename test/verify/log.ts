/**
 * The log of a verify run: what clients did and saw, one line each, in the order of one clock.
 *
 * Owns the format of the lines and of the file (JSON lines; the first holds the seed and the schedule). Only clients and the
 * nemesis write it, never the system under test. checker.ts judges it.
 */
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';
import type { Position } from '../../shared/protocol.ts';
import type { Dialect } from './speech.ts';

export interface RoomPlan {
  name: string;
  history: boolean;
  /** The room has presence. */
  presence?: true;
}

export interface PlannedFault {
  kind: string;
  /** Index of the node that it hits, if it hits one. */
  node: number;
  /** The room with history that it hits, if it hits one. */
  room: string;
  holdMs: number;
}

/** In a room with history: the offset. In a plain room: the id that the gateway gave the message. */
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

/** A replica became the master at `from`; at `t` no node was connected to the former one. */
export interface Takeover {
  from: number;
  /** Only these; without it all rooms. */
  rooms?: readonly string[];
  /** The replica may have lacked what was not acknowledged yet, with its keys: a retry is a new message. Without it, it lacked nothing. */
  behind?: true;
  /** The replica may have lacked the last writes, also acknowledged ones. */
  lossy?: true;
  /** The former master stood still, and carried out what it had received when it went on. */
  late?: true;
}

export type Entry =
  | (Line & { event: 'run'; seed: number; minutes: number; rooms: RoomPlan[]; schedule: PlannedFault[] })
  | (Line & { event: 'fault' | 'healed'; kind: string; node: number; room: string })
  /** The cluster did not recover from a fault, so this fault was the last one. */
  | (Line & { event: 'stuck'; what: string })
  /** A client library did what it must never do. */
  | (Line & { event: 'misbehaviour'; client: string; what: string })
  /** Redis lost all data, between `from` (the old one still ran) and `t` (the new one answers). */
  | (Line & { event: 'wipe'; from: number })
  /** The key with the epoch of this room, or without a name of every room, was deleted. */
  | (Line & { event: 'lapse'; room?: string })
  | (Line & { event: 'takeover' } & Takeover)
  /** With Redis Cluster: the only rooms in which the fault under way may be noticed. */
  | (Line & { event: 'concerns'; rooms: readonly string[] })
  | (OfClient & { event: 'open'; dialect: Dialect })
  /** Written before the frame is sent. A retry has the same id; the id is also the key, if there is one. */
  | (OfRoom & { event: 'publish'; id: string })
  /** `untold`: the dialect tells no position. */
  | (OfRoom & { event: 'ack'; id: string; epoch?: string; offset?: number; duplicate?: boolean; untold?: true })
  /** The gateway said: certainly not taken. */
  | (OfRoom & { event: 'nack'; id: string; code: string })
  /** `timeout`, no answer, or the end of the connection. */
  | (OfRoom & { event: 'unknown'; id: string; code: string })
  /** The `ok` to a subscription without, or (`resume`) with `since`. */
  | (OfRoom & { event: 'subscribe'; epoch?: string; offset?: number; recovered?: boolean })
  | (OfRoom & { event: 'resume'; from: Position; epoch?: string; offset?: number; recovered?: boolean })
  /** The `ok` to `unsubscribe`; `told`: that messages are missing, where a dialect has no `gap`. */
  | (OfRoom & { event: 'unsubscribe'; told?: true })
  /**
   * `id`: from the publisher, or `corrupt …` if it does not fit the payload. `wire`: the gateway's id (plain rooms), where the dialect tells
   * it.
   */
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
  /** After the quiet time: the client still runs, and should be in these rooms. */
  | (OfClient & { event: 'end'; rooms: string[] })
  /** The history that the gateway has of a room at the end. */
  | (Line & { event: 'history'; room: string; epoch: string; first: number; offset: number; items: StoredMessage[] })
  /** Presence of a room after the quiet time: the user of each connection, and the counts in the answer. */
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
