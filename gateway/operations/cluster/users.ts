/** Disconnecting and blocking users, and their membership in rooms, on all nodes. */
import { z } from 'zod';
import { isRoomName, roomNameRule } from '../../../shared/room.ts';
import { isUserName, maxUserBytes } from '../../auth/grants.ts';
import { maxBlockMs } from '../../backplane/control.ts';
import type { Caller } from '../caller.ts';
import { admit, disconnect, kick } from '../disconnect.ts';
import { Refusal, refusalOf } from '../refusal.ts';
import { askAll, type ClusterParts, clusterCommand, type Missing, requireServer } from './ask.ts';

/** More than any id has. */
const maxIdCharacters = 200;
export const maxBlockSeconds = maxBlockMs / 1_000;
const count = z.int().min(0);

const disconnectUserCommand = clusterCommand({
  kind: 'disconnect user',
  arguments: z.strictObject({
    user: z.string(),
    block: z.strictObject({ forMs: count, before: z.string(), after: z.string() }).optional(),
  }),
  value: count,
  perform: ({ blocks, connections }, { user, block }) => {
    // First: the user may come back at once.
    if (block !== undefined) blocks.take({ user, ...block });
    return disconnect(connections, { users: new Set([user]) });
  },
});

const disconnectConnectionCommand = clusterCommand({
  kind: 'disconnect connection',
  arguments: z.strictObject({ connection: z.string() }),
  value: count,
  perform: ({ connections }, { connection }) => disconnect(connections, { connection }),
});

/** A kind of its own: a node of the release before would not look at the user. */
const disconnectConnectionOfCommand = clusterCommand({
  kind: 'disconnect connection of user',
  arguments: z.strictObject({ connection: z.string(), user: z.string() }),
  value: count,
  perform: ({ connections }, target) => disconnect(connections, target),
});

const inRoom = z.strictObject({ user: z.string(), room: z.string().refine(isRoomName) });

const subscribeCommand = clusterCommand({
  kind: 'subscribe user',
  arguments: inRoom,
  value: count,
  perform: ({ connections }, { user, room }) => admit(connections, user, room),
});

const kickCommand = clusterCommand({
  kind: 'kick user',
  arguments: inRoom,
  value: count,
  perform: ({ connections }, { user, room }) => kick(connections, user, room),
});

export const userCommands = [
  disconnectUserCommand,
  disconnectConnectionCommand,
  disconnectConnectionOfCommand,
  subscribeCommand,
  kickCommand,
];

/**
 * Closes all connections of a user with 4503. `blockSeconds`: until then no node lets the user in again, also one that missed
 * the command (gateway/operations/blocks.ts). The last `blockSeconds` of a user counts; 0 ends a block. Rejects with a
 * Refusal; after `timeout` the block may hold.
 */
export async function disconnectUser(
  parts: ClusterParts,
  caller: Caller,
  { user, blockSeconds }: { user: string; blockSeconds?: number | undefined },
): Promise<{ disconnected: number } & Missing> {
  requireServer(caller);
  checkUser(user);
  const block = blockSeconds === undefined ? undefined : await blockUser(parts, user, blockSeconds);
  const { values, rest } = await askAll(parts, caller, disconnectUserCommand, { user, block });
  return { disconnected: sum(values), ...rest };
}

/** Closes one connection with 4503. `connection`: its id. `user`: only if it is of that user. */
export async function disconnectConnection(
  parts: ClusterParts,
  caller: Caller,
  connection: string,
  user?: string,
): Promise<{ disconnected: number } & Missing> {
  requireServer(caller);
  // Only the node that the id names has it. If that one is gone, so is the connection.
  const instance = connection.slice(0, connection.lastIndexOf('-'));
  if (instance === '' || connection.length > maxIdCharacters) return { disconnected: 0 };
  const { values, rest } =
    user === undefined
      ? await askAll(parts, caller, disconnectConnectionCommand, { connection }, instance)
      : await askAll(parts, caller, disconnectConnectionOfCommand, { connection, user }, instance);
  return { disconnected: sum(values), ...rest };
}

/**
 * Makes all connections of a user members of a room, whatever the rights of the user; each that was none gets `subscribed`. The
 * number is that of the members now: a connection with too many rooms does not become one.
 */
export async function subscribeUser(
  parts: ClusterParts,
  caller: Caller,
  target: { user: string; room: string },
): Promise<{ subscribed: number } & Missing> {
  requireServer(caller);
  checkUser(target.user);
  checkRoom(target.room);
  const { values, rest } = await askAll(parts, caller, subscribeCommand, target);
  return { subscribed: sum(values), ...rest };
}

/** Removes all connections of a user from a room; each member gets `unsubscribed`, reason `kicked`. */
export async function kickUser(
  parts: ClusterParts,
  caller: Caller,
  target: { user: string; room: string },
): Promise<{ removed: number } & Missing> {
  requireServer(caller);
  checkUser(target.user);
  checkRoom(target.room);
  const { values, rest } = await askAll(parts, caller, kickCommand, target);
  return { removed: sum(values), ...rest };
}

async function blockUser({ control, faults }: ClusterParts, user: string, seconds: number) {
  if (!Number.isInteger(seconds) || seconds < 0 || seconds > maxBlockSeconds) {
    throw new Refusal('bad_request', `blockSeconds is a whole number from 0 to ${maxBlockSeconds}.`);
  }
  try {
    const { forMs, before, after } = await control.block(user, seconds * 1_000);
    return { forMs, before, after };
  } catch (error) {
    throw refusalOf(faults, 'blocking a user failed', error, { again: 'disconnect the user again' });
  }
}

function checkUser(user: string): void {
  if (isUserName(user)) return;
  throw new Refusal('bad_request', `A user has 1 to ${maxUserBytes} bytes of valid Unicode.`);
}

function checkRoom(room: string): void {
  if (!isRoomName(room)) throw new Refusal('bad_request', `A room has ${roomNameRule}.`);
}

function sum(values: readonly number[]): number {
  return values.reduce((one, other) => one + other, 0);
}
