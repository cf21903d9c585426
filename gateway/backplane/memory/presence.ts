/**
 * The presence store in memory, for one node. Contract: gateway/backplane/presence.ts.
 *
 * Like messages of the memory backplane, `join` and `leave` go out one turn of the event loop after the write.
 */
import type { JoinLeaveFrame } from '../../../shared/protocol.ts';
import { BackplaneError } from '../backplane.ts';
import type { PresenceListener, PresencePage, PresenceQuery, PresenceStore, Present } from '../presence.ts';
import type { MemoryOutbox } from './outbox.ts';

interface Room {
  /** By connection, user and info: while a connection changes, it is there twice. */
  members: Map<string, Present>;
  /** Connections by user; an anonymous connection is a user of its own. */
  users: Map<string, number>;
}

export interface MemoryPresenceOptions {
  /** Says whether the room has `join` and `leave`. */
  announces(room: string): boolean;
  /** Where events for the operator's backend go. Undefined: nobody is told. */
  outbox?: MemoryOutbox | undefined;
  /** Says whether the backend is told of members of the room. */
  tells?(room: string): boolean;
}

export class MemoryPresence implements PresenceStore {
  readonly #options: MemoryPresenceOptions;
  readonly #rooms = new Map<string, Room>();
  #listener: PresenceListener | undefined;

  constructor(options: MemoryPresenceOptions) {
    this.#options = options;
  }

  async start(listener: PresenceListener): Promise<void> {
    this.#listener = listener;
  }

  async change(name: string, entered: Present[], left: Present[]): Promise<void> {
    if (this.#listener === undefined) throw new BackplaneError('unavailable', 'the node is stopping');
    const room = this.#rooms.get(name) ?? { members: new Map(), users: new Map() };
    this.#rooms.set(name, room);
    const touched = new Map<string, { before: number; present: Present }>();
    const count = (present: Present, by: number) => {
      const user = userKey(present);
      const before = room.users.get(user) ?? 0;
      if (before + by === 0) room.users.delete(user);
      else room.users.set(user, before + by);
      touched.set(user, { before: touched.get(user)?.before ?? before, present });
    };
    for (const present of entered) {
      if (room.members.has(keyOf(present))) continue;
      room.members.set(keyOf(present), present);
      count(present, 1);
    }
    for (const present of left) if (room.members.delete(keyOf(present))) count(present, -1);
    if (room.members.size === 0) this.#rooms.delete(name);
    this.#tell(name, room, [...touched]);
  }

  sync(name: string, present: () => Iterable<Present>): Promise<void> {
    const wanted = [...present()];
    const keys = new Set(wanted.map(keyOf));
    const there = [...(this.#rooms.get(name)?.members ?? [])];
    return this.change(
      name,
      wanted,
      there.filter(([key]) => !keys.has(key)).map(([, gone]) => gone),
    );
  }

  async release(): Promise<void> {
    // Empty rooms are deleted by `change`.
  }

  async page(name: string, { after = '', limit, maxBytes }: PresenceQuery): Promise<PresencePage> {
    if (this.#listener === undefined) throw new BackplaneError('unavailable', 'the node is stopping');
    const room = this.#rooms.get(name);
    const all = [...(room?.members.entries() ?? [])].filter(([, { connection }]) => connection > after);
    all.sort(([, one], [, other]) => (one.connection < other.connection ? -1 : 1));
    const page: Present[] = [];
    let bytes = 0;
    for (const [key, present] of all.slice(0, limit)) {
      bytes += Buffer.byteLength(key);
      if (page.length > 0 && bytes > maxBytes) break;
      page.push(present);
    }
    const more = page.length < all.length;
    return { count: room?.members.size ?? 0, users: room?.users.size ?? 0, members: page, more };
  }

  async close(): Promise<void> {
    this.#listener = undefined;
  }

  #tell(name: string, room: Room, touched: [string, { before: number; present: Present }][]): void {
    const { announces, outbox, tells } = this.#options;
    const now = ([user]: [string, unknown]) => room.users.get(user) ?? 0;
    const joined = touched.filter((each) => each[1].before === 0 && now(each) > 0);
    const left = touched.filter((each) => each[1].before > 0 && now(each) === 0);
    for (const [type, list] of [['join', joined] as const, ['leave', left] as const]) {
      if (list.length === 0) continue;
      const members = list.map(([, { present }]) => shown(present));
      if (announces(name)) setImmediate(() => this.#listener?.changed({ type, room: name, members }));
      if (tells?.(name) !== true) continue;
      const told = type === 'join' ? 'member.joined' : 'member.left';
      for (const [, { present }] of list) outbox?.tell(told, { room: name, ...namedAs(present) });
    }
  }
}

/** As in Redis, an event has no info. */
function namedAs({ connection, user }: Present): { user: string } | { connection: string } {
  return user === null ? { connection } : { user };
}

function keyOf({ connection, user, info }: Present): string {
  return JSON.stringify({ connection, user, info });
}

function userKey({ connection, user }: Present): string {
  return user === null ? connection : JSON.stringify(user);
}

function shown({ connection, user, info }: Present): JoinLeaveFrame['members'][number] {
  if (user === null) return { connection };
  return info === undefined ? { user } : { user, info: JSON.parse(info) };
}
