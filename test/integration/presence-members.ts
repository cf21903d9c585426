/**
 * Presence as clients see it: the rules of rooms with presence, requests, and the sum of `join` and `leave` frames.
 */
import type { JoinLeaveFrame, OkFrame } from '../../shared/protocol.ts';
import { type Client, connectWelcomed, okOf } from '../support/client.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { roomsFile } from './files.ts';
import { everywhere } from './people.ts';

/** Rooms `team:*` have presence and joinLeave, `count:*` presence only, `bell:*` joinLeave only. */
export function presenceRooms(): string {
  const open = { subscribe: 'anyone' };
  return roomsFile(
    { match: 'team:*', ...open, presence: true, joinLeave: true },
    { match: 'count:*', ...open, presence: true },
    { match: 'bell:*', ...open, joinLeave: true },
  );
}

/** A member of the room; `info` is that of its token. */
export async function member(node: { url: string }, user: string, room: string, info?: unknown): Promise<Client> {
  const token = await mintToken({ sub: user, rooms: everywhere, ...(info === undefined ? {} : { info }) });
  const client = await connectWelcomed(node.url, token);
  await client.subscribe(room);
  return client;
}

export async function presenceOf(client: Client, room: string, query: object = {}): Promise<OkFrame> {
  return okOf(await client.request({ type: 'presence', room, ...query }, 10_000));
}

/** Everybody in the room by user (null is anonymous), sorted, page by page. */
export async function usersIn(client: Client, room: string): Promise<(string | null)[]> {
  const users: (string | null)[] = [];
  let after: string | undefined;
  for (;;) {
    const page = await presenceOf(client, room, { limit: 1000, ...(after === undefined ? {} : { after }) });
    users.push(...(page.members ?? []).map(({ user }) => user));
    if (page.more !== true) return users.sort();
    after = page.members?.at(-1)?.connection;
  }
}

export function joinLeaveFrames(client: Client, room: string): JoinLeaveFrame[] {
  return client.frames.filter(
    (frame): frame is JoinLeaveFrame => (frame.type === 'join' || frame.type === 'leave') && frame.room === room,
  );
}

/** The join and leave frames that a client got of a room, one line each: `join ann`. */
export function story(client: Client, room: string): string[] {
  return joinLeaveFrames(client, room).flatMap(({ type, members }) =>
    members.map((each) => `${type} ${'user' in each ? each.user : each.connection}`),
  );
}

/** Resolves when the client got exactly these frames. */
export async function untilTold(client: Client, room: string, lines: string[], deadlineMs = 5_000): Promise<void> {
  const wanted = JSON.stringify(lines);
  await until(() => JSON.stringify(story(client, room)) === wanted, deadlineMs, `${wanted} in ${room}`).catch(
    (error: Error) => {
      throw new Error(`${error.message}; it got ${JSON.stringify(story(client, room))}`);
    },
  );
}
