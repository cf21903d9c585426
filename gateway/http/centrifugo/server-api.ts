/**
 * The server API in the form of Centrifugo, so that its backend libraries work: each method is a POST with its parameters, and is
 * answered with a result or an error, both with status 200 (docs/centrifugo.md).
 *
 * It adds a form and no power: what each method does is an operation that gateway/http/api has too. What parameters mean, and how an
 * answer is written, it takes from the dialect. It knows no keys and no requests.
 */
import { z } from 'zod';
import { isRoomName, roomNameRule } from '../../../shared/room.ts';
import { isUserName, maxUserBytes } from '../../auth/grants.ts';
import { broadcast } from '../../operations/broadcast.ts';
import { server } from '../../operations/caller.ts';
import { listRooms } from '../../operations/cluster/lists.ts';
import { listNodes } from '../../operations/cluster/nodes.ts';
import { disconnectConnection, disconnectUser, kickUser, subscribeUser } from '../../operations/cluster/users.ts';
import { history } from '../../operations/history.ts';
import { presence } from '../../operations/presence.ts';
import { publishFromServer, type ServerPublished } from '../../operations/publish.ts';
import { Refusal } from '../../operations/refusal.ts';
import { errors, finerErrors } from '../../protocol/centrifugo/codes.ts';
import { readCommand } from '../../protocol/centrifugo/decode.ts';
import { repliesTo } from '../../protocol/centrifugo/encode.ts';
import { type Fields, writeJson } from '../../protocol/centrifugo/value.ts';
import type { Reply } from '../../protocol/reply.ts';
import { isPublishKey, maxLimit } from '../../protocol/roomcast/decode.ts';
import { readBody } from '../api/body.ts';
import type { RouteParts } from '../api/route.ts';
import { maxRooms } from '../api/schemas.ts';

const channel = z.string().refine(isRoomName, { error: `must be ${roomNameRule}` });
const user = z.string().refine(isUserName, { error: `must be 1 to ${maxUserBytes} bytes of valid Unicode` });
const keyed = z.object({ idempotency_key: z.string().refine(isPublishKey, 'must have at most 128 bytes').optional() });
/** They would narrow what is done: to ignore one would do more than was asked for. */
function notOffered(...names: string[]) {
  const error = 'is not offered: it would be done to all connections of the user';
  const absent = z.union([z.null(), z.literal(''), z.tuple([])], { error }).optional();
  return Object.fromEntries(names.map((name) => [name, absent]));
}

const schemas = {
  publish: keyed,
  broadcast: keyed.extend({ channels: z.array(channel).min(1).max(maxRooms) }),
  disconnect: z.object({ user, client: z.string().nullish(), ...notOffered('session', 'whitelist') }),
  inChannel: z.object({ user, channel, ...notOffered('client', 'session') }),
  channels: z.object({ pattern: z.string().optional() }),
};

/** The body as it came: `data` is not made anew. */
type Method = (text: string, parts: RouteParts) => Promise<Fields>;

const methods: Record<string, Method> = {
  publish: async (text, parts) => {
    const { room, data } = commandOf('publish', text);
    checkSize(data, parts);
    const { idempotency_key: key } = checked(schemas.publish, text);
    return published(await publishFromServer(parts, { room, data, key, from: undefined }));
  },
  broadcast: async (text, parts) => {
    const { channels, idempotency_key: key } = checked(schemas.broadcast, text);
    const { data } = readBody(text);
    if (data === undefined) throw new Refusal('bad_request', 'data must be there.');
    checkSize(data, parts);
    const results = await broadcast(parts, channels, { data, key, from: undefined });
    return {
      responses: results.map((each) =>
        'refusal' in each ? { error: errorOf(each.refusal) } : { result: published(each) },
      ),
    };
  },
  presence: async (text, parts) => {
    const { type: _, id, ...question } = commandOf('presence', text);
    return fieldsOf({ type: 'presence', id, ...(await presence(parts, server, question)) });
  },
  presence_stats: async (text, parts) => {
    const { type: _, id, ...question } = commandOf('presence_stats', text);
    return fieldsOf({ type: 'presence', id, ...(await presence(parts, server, question)) });
  },
  history: async (text, parts) => {
    const { type: _, id, ...question } = commandOf('history', text);
    return fieldsOf({ type: 'history', id, ...(await history(parts, server, question, Number.POSITIVE_INFINITY)) });
  },
  disconnect: async (text, parts) => {
    const { client, user } = checked(schemas.disconnect, text);
    // Libraries write an empty one where none is meant.
    if (client === undefined || client === null || client === '')
      return done(await disconnectUser(parts, server, { user }));
    return done(await disconnectConnection(parts, server, client, user));
  },
  subscribe: async (text, parts) => {
    const { channel: room, user } = checked(schemas.inChannel, text);
    return done(await subscribeUser(parts, server, { room, user }));
  },
  unsubscribe: async (text, parts) => {
    const { channel: room, user } = checked(schemas.inChannel, text);
    return done(await kickUser(parts, server, { room, user }));
  },
  channels: async (text, parts) => {
    const { pattern = '' } = checked(schemas.channels, text);
    const prefix = pattern.endsWith('*') ? pattern.slice(0, -1) : pattern;
    const { rooms } = await listRooms(parts, server, { prefix, limit: maxLimit });
    const named = rooms.filter(({ room }) => pattern === '' || pattern.endsWith('*') || room === pattern);
    return { channels: Object.fromEntries(named.map(({ room, members }) => [room, { num_clients: members }])) };
  },
  info: async (_, parts) => {
    const { nodes } = await listNodes(parts, server);
    return {
      nodes: nodes.map(({ node, version, startedAt, connections, rooms }) => ({
        ...{ uid: node, name: node, version, num_clients: connections, num_channels: rooms },
        uptime: Math.floor((Date.now() - startedAt) / 1_000),
      })),
    };
  },
};

/** The methods whose path no call of the HTTP API has. */
export const methodPaths = Object.keys(methods)
  .filter((name) => name !== 'broadcast')
  .map((name) => `/api/${name}`);

/** Both APIs have this path, and other fields. */
export function isBroadcast(path: string, fields: Record<string, unknown>): boolean {
  return path === '/api/broadcast' && 'channels' in fields;
}

/** The text of the answer. Rejects with a Problem, or with a fault. */
export async function answerMethod(path: string, text: string, parts: RouteParts): Promise<string> {
  const perform = methods[path.slice('/api/'.length)] as Method;
  try {
    return writeJson({ result: await perform(text, parts) });
  } catch (error) {
    if (error instanceof Told) return writeJson({ error: error.fields });
    if (error instanceof Refusal) return writeJson({ error: errorOf(error) });
    throw error;
  }
}

/** An error that the dialect has made. */
class Told extends Error {
  readonly fields: Fields;

  constructor(fields: Fields) {
    super('refused');
    this.fields = fields;
  }
}

interface Commands {
  publish: 'publish';
  presence: 'presence';
  presence_stats: 'presence';
  history: 'history';
}

/** Parameters are those of the command of the same name. */
function commandOf<Name extends keyof Commands>(name: Name, text: string) {
  readBody(text);
  const request = readCommand(`{"id":1,"${name}":${text}}`);
  if (request.type === 'rejected') throw new Refusal(request.code, request.message);
  return request as Extract<typeof request, { type: Commands[Name]; id: unknown }> & { id: string };
}

function checked<Schema extends z.ZodObject>(schema: Schema, text: string): z.output<Schema> {
  const result = schema.safeParse(readBody(text).fields);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new Refusal('bad_request', `${issue?.path.join('.')} ${issue?.message}.`);
}

function checkSize(data: string, { maxMessageBytes }: RouteParts): void {
  if (Buffer.byteLength(data) <= maxMessageBytes) return;
  throw new Refusal('too_large', `data may have at most ${maxMessageBytes} bytes; send less.`);
}

/** `missing`: nodes that have not confirmed it. */
function done({ missing }: { missing?: readonly string[] | undefined }): Fields {
  if (missing === undefined || missing.length === 0) return {};
  throw new Refusal('timeout', `No confirmation from ${missing.join(', ')}; send it again.`);
}

function published({ position }: ServerPublished): Fields {
  return { offset: position?.offset, epoch: position?.epoch };
}

function fieldsOf(reply: Reply): Fields {
  const [{ id: _, error, ...result } = {}] = repliesTo(reply);
  if (error !== undefined) throw new Told(error as Fields);
  return Object.values(result)[0] as Fields;
}

function errorOf({ code, finer, message }: Refusal): Fields {
  const { code: number, message: words } = finer === undefined ? errors[code] : finerErrors[finer];
  return { code: number, message: `${words}: ${message}` };
}
