/**
 * `roomcast rooms`, `members`, `connections` and `nodes`: lists of the whole cluster, page by page, as JSON or as a table.
 *
 * Owns their columns. What the API tells is printed as it is with `--json`.
 */
import type { Environment } from '../../environment.ts';
import { print, printable, printJson, table } from '../output.ts';
import { type ApiOptions, apiOf, call, expectAll, type Missing } from './api.ts';

interface More {
  more?: true;
}

interface RoomList extends Missing, More {
  rooms: { room: string; members: number }[];
}

interface MemberList extends Missing, More {
  /** Connections and users in the room. */
  count: number;
  users: number;
  members: { connection: string; user: string | null; info?: unknown }[];
}

interface ConnectionList extends Missing, More {
  connections: {
    connection: string;
    user: string | null;
    node: string;
    address: string;
    openedAt: number;
    rooms: number;
    bufferedBytes: number;
    rttMs: number | null;
  }[];
}

interface NodeList extends Missing, More {
  nodes: {
    node: string;
    version: string;
    startedAt: number;
    connections: number;
    rooms: number;
    draining: boolean;
    backplaneRttMs: number | null;
  }[];
}

export interface ListOptions extends ApiOptions {
  limit: number;
}

export interface RoomsOptions extends ListOptions {
  prefix?: string;
}

export interface ConnectionsOptions extends ListOptions {
  user?: string;
  room?: string;
  node?: string;
}

/** Of one call. */
const mostPerPage = 1_000;
/** More than a Redis carries. */
const mostNodes = 10_000;

// Each prints its list. They reject with a Failure, also if a part of the list is missing.

export async function listRooms(options: RoomsOptions, env: Environment): Promise<void> {
  const { prefix } = options;
  const list = await pages<RoomList, 'rooms'>(options, env, '/rooms', { prefix }, 'rooms', ({ room }) => room);
  show(list, roomsTable(list), options);
}

export async function listMembers(room: string, options: ListOptions, env: Environment): Promise<void> {
  const path = `/rooms/${encodeURIComponent(room)}/members`;
  const list = await pages<MemberList, 'members'>(options, env, path, {}, 'members', idOf);
  show(list, membersTable(list), options);
}

export async function listConnections(options: ConnectionsOptions, env: Environment): Promise<void> {
  const { user, room, node } = options;
  const wanted = { user, room, node };
  const list = await pages<ConnectionList, 'connections'>(options, env, '/connections', wanted, 'connections', idOf);
  show(list, connectionsTable(list), options);
}

export async function listNodes(options: ApiOptions, env: Environment): Promise<void> {
  const all = { ...options, limit: mostNodes };
  const list = await pages<NodeList, 'nodes'>(all, env, '/nodes', {}, 'nodes', ({ node }) => node);
  show(list, nodesTable(list), options);
}

function idOf({ connection }: { connection: string }): string {
  return connection;
}

function show(list: Missing & More, text: string, { json }: ApiOptions): void {
  if (json) printJson(list);
  else print(text);
  if (list.more) process.stderr.write('There are more; --limit takes a higher number.\n');
  expectAll(list, 'what it holds is not in the list');
}

/** Asks for pages until there are no more, or `limit` entries. `missing` has every node that was missing once. */
async function pages<List extends Missing & More & Record<Name, unknown[]>, Name extends string>(
  options: ListOptions,
  env: Environment,
  path: string,
  wanted: Record<string, string | undefined>,
  name: Name,
  placeOf: (entry: List[Name][number]) => string,
): Promise<List> {
  const api = apiOf(options, env);
  const query = new URLSearchParams();
  for (const [parameter, value] of Object.entries(wanted)) if (value !== undefined) query.set(parameter, value);
  const entries: List[Name][number][] = [];
  const missing = new Set<string>();
  for (;;) {
    query.set('limit', String(Math.min(mostPerPage, options.limit - entries.length)));
    const page: List = await call(api, 'GET', `${path}?${query}`);
    entries.push(...page[name]);
    for (const node of page.missing ?? []) missing.add(node);
    const last = page[name].at(-1);
    if (!page.more || last === undefined || entries.length >= options.limit) {
      return { ...page, [name]: entries, ...(missing.size > 0 ? { missing: [...missing].sort() } : {}) };
    }
    query.set('after', placeOf(last));
  }
}

function roomsTable({ rooms }: RoomList): string {
  return tableOf(['ROOM', 'MEMBERS'], rooms, ({ room, members }) => [room, `${members}`]);
}

function membersTable({ members }: MemberList): string {
  return tableOf(['CONNECTION', 'USER', 'INFO'], members, ({ connection, user, info }) => [
    connection,
    user ?? '-',
    info === undefined ? '-' : JSON.stringify(info),
  ]);
}

function connectionsTable({ connections }: ConnectionList): string {
  const head = ['CONNECTION', 'USER', 'NODE', 'ADDRESS', 'OPENED', 'ROOMS', 'BUFFERED', 'RTT'];
  return tableOf(head, connections, ({ connection, user, node, address, openedAt, rooms, bufferedBytes, rttMs }) => [
    ...[connection, user ?? '-', node, address, timeOf(openedAt), `${rooms}`, `${bufferedBytes} B`, msOf(rttMs)],
  ]);
}

function nodesTable({ nodes }: NodeList): string {
  const head = ['NODE', 'VERSION', 'STARTED', 'CONNECTIONS', 'ROOMS', 'STATE', 'BACKPLANE RTT'];
  return tableOf(head, nodes, ({ node, version, startedAt, connections, rooms, draining, backplaneRttMs }) => [
    ...[node, version, timeOf(startedAt), `${connections}`, `${rooms}`, draining ? 'draining' : 'serving'],
    msOf(backplaneRttMs),
  ]);
}

function tableOf<Entry>(head: string[], entries: Entry[], cells: (entry: Entry) => string[]): string {
  return table([head, ...entries.map((entry) => cells(entry).map(printable))]);
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}

function msOf(ms: number | null): string {
  return ms === null ? '-' : `${Math.round(ms * 10) / 10} ms`;
}
