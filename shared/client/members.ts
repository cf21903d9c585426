/**
 * Who is in a room, kept up to date from `presence`, `join` and `leave`, as docs/protocol.md tells a client to.
 *
 * Owns the list. It asks again whenever the room is joined or has a gap, and never twice at a time; between two answers it
 * trusts `join` and `leave`.
 */
import type { Room } from './client.ts';

/** A user, or a connection of nobody. */
export type Who = { user: string; info?: unknown } | { connection: string };

export interface Members {
  /** Undefined until it is known. In a room of more than 1,000 it may be off by those who come while it is asked for. */
  count: number | undefined;
  /** Up to 1,000, those of nobody last. */
  members: readonly Who[];
  /** Why it is not known: the room has no presence, or there is no WebSocket. */
  error: Error | undefined;
}

export const nobody: Members = { count: undefined, members: [], error: undefined };
const limit = 1_000;

/** `changed` is called with each change. Returns a function that ends it. It does not enter the room. */
export function watchMembers(room: Room, changed: (members: Members) => void): () => void {
  const present = new Map<string, Who>();
  let count: number | undefined;
  /** Of the question under way: what has changed since it was asked, which the answer may hold or not. */
  let since: (() => void)[] | undefined;
  let [isDue, isOver] = [false, false];

  const tell = (error?: Error) => {
    if (isOver) return;
    const list = [...present.values()].sort(
      (one, other) => Number('connection' in one) - Number('connection' in other),
    );
    changed({ count, members: list, error });
  };
  const ask = async (): Promise<void> => {
    isDue = since !== undefined;
    if (isDue) return;
    since = [];
    try {
      const { users, members } = await room.presence({ limit });
      present.clear();
      for (const { connection, user, info } of members) {
        put(present, user === null ? { connection } : { user, ...(info === undefined ? {} : { info }) });
      }
      count = users;
      for (const change of since) change();
      tell();
    } catch (error) {
      tell(error as Error);
    } finally {
      since = undefined;
      if (isDue && !isOver) void ask();
    }
  };
  const change = (who: readonly Who[], move: (who: Who) => boolean, step: number) => {
    const apply = () => {
      for (const each of who) if (move(each) && count !== undefined) count += step;
    };
    since?.push(apply);
    apply();
    tell();
  };
  const stops = [
    room.on('join', (who) => change(who, (each) => put(present, each), 1)),
    // One that is not listed is among those beyond the limit.
    room.on('leave', (who) => change(who, (each) => present.delete(keyOf(each)) || present.size === limit, -1)),
    room.on('gap', ask),
    room.on('state', ({ state }) => state === 'joined' && void ask()),
  ];
  if (room.state === 'joined') void ask();
  return () => {
    isOver = true;
    for (const stop of stops) stop();
  };
}

/** True if it is new. */
function put(present: Map<string, Who>, who: Who): boolean {
  const key = keyOf(who);
  const isNew = !present.has(key);
  if (!isNew || present.size < limit) present.set(key, who);
  return isNew;
}

function keyOf(who: Who): string {
  return 'user' in who ? `user ${who.user}` : `connection ${who.connection}`;
}
