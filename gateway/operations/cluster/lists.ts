/** The connections and the rooms of all nodes, page by page. */
import { z } from 'zod';
import type { Caller } from '../caller.ts';
import type { LocalNode, OperatedConnection } from '../local-node.ts';
import { askAll, type ClusterParts, clusterCommand, type Missing } from './ask.ts';
import { ascending, checkLimit, cut, maxLimit, merge, Smallest } from './pages.ts';
import { eachInSlices } from './slices.ts';

export const connectionEntry = z.object({
  connection: z.string(),
  user: z.string().nullable().meta({ description: 'Null: anonymous, or not authenticated yet.' }),
  node: z.string(),
  address: z.string().meta({ description: 'Of the client.' }),
  openedAt: z.number().meta({ description: 'Unix milliseconds.' }),
  rooms: z.number().meta({ description: 'How many it is in.' }),
  bufferedBytes: z.number().meta({ description: 'Bytes that wait for the client to read.' }),
  rttMs: z
    .number()
    .nullable()
    .meta({ description: 'Of the last ping that was answered. Null: none was yet, or it is an event stream.' }),
});
export type ConnectionEntry = z.infer<typeof connectionEntry>;

export const roomEntry = z.object({
  room: z.string(),
  members: z.number().meta({ description: 'Connections in the room, on the nodes that answered.' }),
});
export type RoomEntry = z.infer<typeof roomEntry>;

const partOf = <Entry>(entry: z.ZodType<Entry>) => z.object({ entries: z.array(entry), more: z.boolean() });

export interface ConnectionsQuestion {
  user?: string | undefined;
  /** A member of it. */
  room?: string | undefined;
  /** Name of a node. */
  node?: string | undefined;
  limit: number;
  /** Behind this connection. */
  after?: string | undefined;
}

export interface RoomsQuestion {
  prefix?: string | undefined;
  limit: number;
  /** Behind this room. */
  after?: string | undefined;
}

const limit = z.int().min(1).max(maxLimit);

const connectionsCommand = clusterCommand({
  kind: 'list connections',
  arguments: z.strictObject({
    user: z.string().optional(),
    room: z.string().optional(),
    node: z.string().optional(),
    limit,
    after: z.string().optional(),
  }),
  value: partOf(connectionEntry),
  perform: async (node, question) => {
    if (question.node !== undefined && question.node !== node.node) return { entries: [], more: false };
    // Read at once: a connection may end before the list is complete.
    const found: ConnectionEntry[] = [];
    await eachInSlices(behind(node, question.after), (connection) => {
      if (!connection.closing && isAskedFor(connection, question)) found.push(entryOf(node.node, connection));
      // One more, to know whether there is more.
      return found.length <= question.limit;
    });
    return cut(found, question.limit);
  },
});

const roomsCommand = clusterCommand({
  kind: 'list rooms',
  arguments: z.strictObject({ prefix: z.string().optional(), limit, after: z.string().optional() }),
  value: partOf(roomEntry),
  perform: async ({ hub }, { prefix = '', after = '', limit }) => {
    const first = new Smallest<number>(limit + 1);
    await eachInSlices(hub.rooms, ({ members, name }) => {
      if (members > 0 && name > after && name.startsWith(prefix)) first.add(name, members);
      return true;
    });
    return cut(
      first.all.map(([room, members]) => ({ room, members })),
      limit,
    );
  },
});

export const listCommands = [connectionsCommand, roomsCommand];

/** In the order of nodes, and on each node in the order in which they were opened. */
export async function listConnections(
  parts: ClusterParts,
  caller: Caller,
  question: ConnectionsQuestion,
): Promise<{ connections: ConnectionEntry[]; more?: true } & Missing> {
  checkLimit(question.limit);
  const { node } = question;
  const { values, rest } = await askAll(parts, caller, connectionsCommand, question);
  const missing = rest.missing?.filter((each) => node === undefined || each === node) ?? [];
  const { entries, more } = merge(values, question.limit, (one, other) => inOrder(one.connection, other.connection));
  return { connections: entries, ...(more ? { more } : {}), ...(missing.length > 0 ? { missing } : {}) };
}

/** By name, each with its members on all nodes that answered. */
export async function listRooms(
  parts: ClusterParts,
  caller: Caller,
  question: RoomsQuestion,
): Promise<{ rooms: RoomEntry[]; more?: true } & Missing> {
  checkLimit(question.limit);
  const { values, rest } = await askAll(parts, caller, roomsCommand, question);
  const byName = (one: RoomEntry, other: RoomEntry) => ascending(one.room, other.room);
  const add = (one: RoomEntry, other: RoomEntry) => ({ room: one.room, members: one.members + other.members });
  const { entries, more } = merge(values, question.limit, byName, add);
  return { rooms: entries, ...(more ? { more } : {}), ...rest };
}

function isAskedFor(connection: OperatedConnection, { user, room }: ConnectionsQuestion): boolean {
  if (user !== undefined && connection.identity?.user !== user) return false;
  return room === undefined || connection.isMember(room);
}

/** The connections of this node behind one of any node. */
function* behind({ instance, connections }: LocalNode, after: string | undefined): Iterable<OperatedConnection> {
  const from = after === undefined ? undefined : placeOf(after);
  if (from !== undefined && from.instance > instance) return;
  const number = from?.instance === instance ? from.number : 0;
  for (const connection of connections) if (connection.number > number) yield connection;
}

function entryOf(node: string, { condition, id, identity }: OperatedConnection): ConnectionEntry {
  return { connection: id, user: identity?.user ?? null, node, ...condition };
}

function inOrder(one: string, other: string): number {
  const [left, right] = [placeOf(one), placeOf(other)];
  return ascending(left.instance, right.instance) || left.number - right.number;
}

/** The parts of the id of a connection. */
function placeOf(connection: string): { instance: string; number: number } {
  const dash = connection.lastIndexOf('-');
  return { instance: connection.slice(0, dash), number: Number(connection.slice(dash + 1)) || 0 };
}
