/**
 * Applies new room rules to a running node, read again from GATEWAY_ROOMS_FILE.
 *
 * New rules apply at once to every later request. Members who have lost the right to their room leave it. Members of a room
 * that has become another kind leave too, and may come back at once: the way a room is fed cannot change under a member.
 * Rooms and connections are gone through in several turns of the event loop, so that no client waits for it.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { ConfigError, readRoomsFile } from './config.ts';
import type { Reloadable } from './reload.ts';
import type { Access, RoomRule } from './rooms/access.ts';
import type { Hub } from './rooms/hub.ts';

/** What a rule change needs of a connection. */
interface Ruled {
  /** Leaves the rooms that the new rules no longer allow it. */
  rulesReplaced(): void;
  /** Reports a fault of the gateway in `rulesReplaced`; only this connection suffers. */
  fail(error: unknown): void;
}

export interface RuledParts {
  access: Access;
  hub: Hub;
  /** All connections; a live set. */
  connections: ReadonlySet<Ruled>;
  /** Rules that come after the rules of the file. */
  fallbackRules: RoomRule[];
  /** Undefined without GATEWAY_AUTH_URL: then no rule may say `callback`. */
  callback: object | undefined;
}

/** Work per turn of the event loop. */
const turnMs = 10;

/** `inForce`: the rules read from the file at the start. */
export function reloadableRules(file: string, inForce: RoomRule[], parts: RuledParts): Reloadable {
  const { access, callback, hub, connections, fallbackRules } = parts;
  let current = inForce;
  return {
    what: 'rooms',
    files: [file],
    take: async () => {
      const mistakes: string[] = [];
      const rules = readRoomsFile(file, callback !== undefined, mistakes);
      if (mistakes.length > 0) throw new ConfigError(mistakes);
      if (isDeepStrictEqual(rules, current)) return undefined;
      current = rules;
      access.replace([...rules, ...fallbackRules]);
      const turn = turns();
      let roomsReplaced = 0;
      for (const room of hub.rooms) {
        if (hub.replaceIfKindChanged(room)) roomsReplaced++;
        await turn();
      }
      for (const connection of [...connections]) {
        try {
          connection.rulesReplaced();
        } catch (error) {
          connection.fail(error);
        }
        await turn();
      }
      return { rules: rules.length, roomsReplaced };
    },
  };
}

/** Await the result between pieces of work: it yields to the event loop every `turnMs`. */
function turns(): () => Promise<void> {
  let endsAt = performance.now() + turnMs;
  return async () => {
    if (performance.now() < endsAt) return;
    await nextTurn();
    endsAt = performance.now() + turnMs;
  };
}
