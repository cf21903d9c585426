/**
 * `roomcast/react`: rooms in React components, by two hooks. docs/client.md shows them. The client belongs to the application.
 *
 * Owns how many components are in a room: the first one enters it, and it is left when the last one has gone and none has come
 * in the same turn, as in React's StrictMode and in a change of pages.
 */
import { useCallback, useEffect, useState } from 'react';
import type { Client, Message, Room, RoomState } from './client.ts';
import { type Members, nobody, watchMembers } from './members.ts';

export interface RoomView {
  state: RoomState;
  /** Why it is not in the room. */
  error: Error | undefined;
  /** What came since the component is there, at most `keep`. */
  messages: readonly Message[];
  /** How many gaps there were: load the state afresh when it changes. */
  gaps: number;
}

const empty: RoomView = { state: 'idle', error: undefined, messages: [], gaps: 0 };
const users = new WeakMap<Room, number>();

/** The component is in this room, and shows its last `keep` messages (100). */
export function useRoom(client: Client, name: string, { keep = 100 } = {}): RoomView & Pick<Room, 'publish'> {
  const [{ of, view }, show] = useState<{ of?: Room; view: RoomView }>({ view: empty });
  useEffect(() => {
    const room = client.room(name);
    const change = (next: (now: RoomView) => Partial<RoomView>) =>
      show(({ of, view }) => {
        const now = of === room ? view : { ...empty, state: room.state };
        return { of: room, view: { ...now, ...next(now) } };
      });
    change(() => ({}));
    return all(
      room.on('message', (message) =>
        change(({ messages }) => ({ messages: [...messages, message].slice(-keep || Infinity) })),
      ),
      room.on('gap', ({ count }) => count === 0 || change(({ gaps }) => ({ gaps: gaps + 1 }))),
      room.on('state', (state) => change(() => state)),
      enter(room, (error) => change(() => ({ error }))),
    );
  }, [client, name, keep]);
  const publish = useCallback<Room['publish']>((...message) => client.room(name).publish(...message), [client, name]);
  // What another room has told is not shown under the name of this one.
  return { ...(of?.name === name ? view : empty), publish };
}

/** Who is in the room, which needs `presence` and `joinLeave` in its rule. The component is in it, too. */
export function usePresence(client: Client, name: string): Members {
  const [{ of, members }, show] = useState<{ of?: Room; members: Members }>({ members: nobody });
  useEffect(() => {
    const room = client.room(name);
    const stop = watchMembers(room, (members) => show({ of: room, members }));
    return all(
      stop,
      enter(room, (error) => show({ of: room, members: { ...nobody, error } })),
    );
  }, [client, name]);
  return of?.name === name ? members : nobody;
}

function enter(room: Room, failed: (error: Error) => void): () => void {
  users.set(room, (users.get(room) ?? 0) + 1);
  let isHere = true;
  room.subscribe().catch((error) => isHere && failed(error));
  return () => {
    isHere = false;
    users.set(room, (users.get(room) ?? 0) - 1);
    queueMicrotask(() => users.get(room) === 0 && void room.unsubscribe());
  };
}

function all(...stops: (() => void)[]): () => void {
  return () => {
    for (const stop of stops) stop();
  };
}
