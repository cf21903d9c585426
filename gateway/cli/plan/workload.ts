/**
 * The options of `roomcast plan` as a workload: rooms, members of a room and rooms of a connection, any two give the third.
 */
import { WrongUse } from '../failure.ts';
import type { Workload } from './capacity.ts';

type Derived = 'rooms' | 'roomsPerConnection' | 'reconnectsPerSecond' | 'historyShare' | 'presenceShare';

export interface PlanOptions extends Omit<Workload, Derived> {
  rooms?: number;
  membersPerRoom?: number;
  roomsPerConnection?: number;
  reconnectsPerSecond?: number;
  history: number;
  presence: number;
  json?: true;
}

/** Lifetime of a connection, if the number of reconnects is not given. */
const lifeSeconds = 1_800;

/** Throws a WrongUse. */
export function workloadOf(options: PlanOptions): Workload {
  const { membersPerRoom, history, presence, json, ...rest } = options;
  const { connections } = options;
  if (options.rooms === undefined && membersPerRoom === undefined) {
    throw new WrongUse('give --rooms or --members-per-room.');
  }
  if (options.rooms !== undefined && membersPerRoom !== undefined && options.roomsPerConnection !== undefined) {
    throw new WrongUse(
      '--rooms, --members-per-room and --rooms-per-connection: any two give the third; leave one out.',
    );
  }
  const memberships =
    options.rooms !== undefined && membersPerRoom !== undefined
      ? options.rooms * membersPerRoom
      : connections * (options.roomsPerConnection ?? 1);
  const rooms = options.rooms ?? memberships / (membersPerRoom ?? 1);
  if (rooms > memberships || rooms < 1) {
    throw new WrongUse(
      `that makes ${rooms} rooms for ${memberships} memberships; give at least 1 room, and at most one per membership.`,
    );
  }
  return {
    ...rest,
    historyShare: history,
    presenceShare: presence,
    rooms,
    roomsPerConnection: memberships / connections,
    reconnectsPerSecond: options.reconnectsPerSecond ?? connections / lifeSeconds,
  };
}
