/** What an operator does to the connections of this node: disconnect, subscribe to a room, remove from a room. */
import { closeCode } from '../../shared/codes.ts';
import type { Identity } from '../auth/grants.ts';

/** What an operator's action needs of a connection. */
export interface Disconnectable {
  readonly id: string;
  readonly identity: Identity | undefined;
  /** It is closed, and in no room. */
  readonly closing: boolean;
  readonly memberships: {
    /** Resolves with true if it is a member now. */
    admit(room: string): Promise<boolean>;
    /** False if it is no member. */
    kick(room: string): boolean;
  };
  close(code: typeof closeCode.disconnected): void;
}

/**
 * Closes all connections of users, or the one with an id, with 4503; with `user` only if it is of that user. Returns their number.
 * `connections`: all of the node.
 */
export function disconnect(
  connections: Iterable<Disconnectable>,
  target: { users: { has(user: string): boolean } } | { connection: string; user?: string | undefined },
): number {
  const isMeant = ({ id, identity }: Disconnectable) => {
    if ('users' in target) return target.users.has(identity?.user ?? '');
    return id === target.connection && (target.user === undefined || identity?.user === target.user);
  };
  const meant = [...connections].filter((each) => !each.closing && isMeant(each));
  for (const connection of meant) connection.close(closeCode.disconnected);
  return meant.length;
}

/** Makes all connections of a user members of a room. Resolves with the number of those that are members now. */
export async function admit(connections: Iterable<Disconnectable>, user: string, room: string): Promise<number> {
  const admitted = ofUser(connections, user).map(({ memberships }) => memberships.admit(room));
  return (await Promise.all(admitted)).filter(Boolean).length;
}

/** Removes all connections of a user from a room. Returns the number of those that were members. */
export function kick(connections: Iterable<Disconnectable>, user: string, room: string): number {
  return ofUser(connections, user).filter(({ memberships }) => memberships.kick(room)).length;
}

function ofUser(connections: Iterable<Disconnectable>, user: string): Disconnectable[] {
  return [...connections].filter(({ closing, identity }) => !closing && identity?.user === user);
}
