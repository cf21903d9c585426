/** Disconnect and revoke: what an operator does to a user, on this node. */
import { closeCode } from '../../shared/codes.ts';
import type { Identity } from '../auth/grants.ts';

/** What an operator's action needs of a connection. */
export interface Disconnectable {
  readonly id: string;
  readonly identity: Identity | undefined;
  close(code: typeof closeCode.disconnected): void;
  /** Removes it from a room and sends it `unsubscribed`. False if it is no member. */
  expel(room: string): boolean;
}

/**
 * Closes all connections of a user, or the one with an id, with 4503. Returns their number. `connections`: all of the
 * node.
 */
export function disconnect(
  connections: Iterable<Disconnectable>,
  target: { user: string } | { connection: string },
): number {
  const isMeant = ({ id, identity }: Disconnectable) =>
    'user' in target ? identity?.user === target.user : id === target.connection;
  const meant = [...connections].filter(isMeant);
  for (const connection of meant) connection.close(closeCode.disconnected);
  return meant.length;
}

/** Removes all connections of a user from a room. Returns the number of those that were members. */
export function revoke(connections: Iterable<Disconnectable>, user: string, room: string): number {
  const all = [...connections].filter(({ identity }) => identity?.user === user);
  return all.filter((connection) => connection.expel(room)).length;
}
