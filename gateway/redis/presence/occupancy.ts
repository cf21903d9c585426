/**
 * Occupancy over Redis: the leases of the nodes that have members in a room. Contract: gateway/backplane/occupancy.ts.
 *
 * `rc:{room}:nodes` is a set of leases; `rc:{room}:ended` has those that have left lately. It shares the leases, their index of rooms and the connection of presence
 * (gateway/redis/presence/presence.ts): in the index, its rooms have a mark that no room name begins with. So a node that died
 * leaves rooms of both kinds by the same reaping.
 */
import type { OccupancyStore } from '../../backplane/occupancy.ts';
import type { EventType } from '../../backplane/outbox.ts';
import { integerOf, listOf, textOf, textsOf } from '../connection/answer.ts';
import { runOn } from '../connection/run.ts';
import type { RedisNames } from '../names.ts';
import { type Telling, tellNothing } from '../outbox/telling.ts';
import { readScript } from '../script.ts';
import type { PresenceConnections } from './connections.ts';
import type { Leases } from './leases.ts';

export const occupancyScript = readScript('outbox/tell.lua', 'presence/occupancy.lua');

/** Before the room in the index of a lease. */
const mark = '>';
/** Far longer than it takes to reap a lease, and than a room stays in its index (gateway/redis/presence/leases.ts). */
const endedMs = 120_000;
const types: EventType[] = ['room.occupied', 'room.vacated'];

interface Parts {
  names: RedisNames;
  connections: PresenceConnections;
  leases: Leases;
  /** Undefined: nobody is told. */
  telling: Telling | undefined;
}

export class RedisOccupancy implements OccupancyStore {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async occupy(room: string): Promise<void> {
    const { leases } = this.#parts;
    const life = leases.requireLife();
    await leases.enter(mark + room, life);
    const found = await this.#write(room, leases.name, '1');
    await leases.adopt(mark + room, found);
  }

  async vacate(room: string, inDoubt: boolean): Promise<void> {
    const { leases } = this.#parts;
    leases.requireLife();
    await this.#write(room, leases.name, inDoubt ? 'doubt' : '0');
    await leases.leave(mark + room);
  }

  /** Undefined: the entry of the index is not of this kind. */
  roomOf(entry: string): string | undefined {
    return entry.startsWith(mark) ? entry.slice(mark.length) : undefined;
  }

  /** The lease has expired. */
  async reap(lease: string, room: string): Promise<void> {
    await this.#write(room, lease, 'reaped');
  }

  /** Returns the leases in the room, if it is occupied. */
  async #write(room: string, lease: string, state: '1' | '0' | 'doubt' | 'reaped'): Promise<string[]> {
    const { connections, names, telling } = this.#parts;
    const { keys, words } = telling?.wordsFor(room, ...types) ?? tellNothing;
    const own = names.room(room);
    const reply = await runOn(connections.of(room), (connection) =>
      connection.evaluation(
        occupancyScript,
        [`${own}:nodes`, `${own}:ended`, ...keys],
        [lease, state, room, ...words, endedMs],
      ),
    );
    const [dropped, refusal, leases] = listOf(reply);
    telling?.told(room, integerOf(dropped), textOf(refusal));
    return textsOf(leases);
  }
}
