/** Disconnect and revoke: what an operator does to a user, on this node. */
import { closeCode } from '../../shared/codes.ts';
import type { Identity } from '../auth/grants.ts';

/** A connection, as far as an operator can act on it. */
export interface Disconnectable {
  readonly id: string;
  readonly identity: Identity | undefined;
  close(code: typeof closeCode.disconnected): void;
  /** Ends its membership of a room and tells it so. False if it is no member. */
  expel(room: string): boolean;
}

/** Closes all connections of a user, or one by its id, with 4503. Returns how many. `connections` is the live set. */
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

/** Takes all connections of a user out of a room. Returns how many were members. */
export function revoke(connections: Iterable<Disconnectable>, user: string, room: string): number {
  const all = [...connections].filter(({ identity }) => identity?.user === user);
  return all.filter((connection) => connection.expel(room)).length;
}
