/**
 * The room rules of a running node, read again from GATEWAY_ROOMS_FILE.
 *
 * New rules hold at once for whatever is asked from then on. Members who have lost the right to their room leave it, and so
 * do those of rooms that have become another kind, who may come back at once: how a room is fed cannot change under a
 * member. Going through rooms and connections takes several turns of the event loop, so that no client waits for it.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { ConfigError, readRoomsFile } from './config.ts';
import type { Reloadable } from './reload.ts';
import type { Access, RoomRule } from './rooms/access.ts';
import type { Hub } from './rooms/hub.ts';

/** A connection, as far as rules concern it. */
interface Ruled {
  /** Leaves the rooms that it may no longer be in as it is. */
  rulesReplaced(): void;
  /** A fault in the work for it: it costs this one. */
  fail(error: unknown): void;
}

export interface RuledParts {
  access: Access;
  hub: Hub;
  /** The live set of all connections. */
  connections: ReadonlySet<Ruled>;
  /** Rules that stand behind those of the file. */
  behind: RoomRule[];
}

const turnMs = 10;

/** `inForce` are the rules that were read from the file at the start. */
export function reloadableRules(file: string, inForce: RoomRule[], parts: RuledParts): Reloadable {
  const { access, hub, connections, behind } = parts;
  let current = inForce;
  return {
    what: 'rooms',
    files: [file],
    take: async () => {
      const mistakes: string[] = [];
      const rules = readRoomsFile(file, mistakes);
      if (mistakes.length > 0) throw new ConfigError(mistakes);
      if (isDeepStrictEqual(rules, current)) return undefined;
      current = rules;
      access.replace([...rules, ...behind]);
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

/** To be awaited between pieces of work: lets others go on every few milliseconds. */
function turns(): () => Promise<void> {
  let endsAt = performance.now() + turnMs;
  return async () => {
    if (performance.now() < endsAt) return;
    await nextTurn();
    endsAt = performance.now() + turnMs;
  };
}
