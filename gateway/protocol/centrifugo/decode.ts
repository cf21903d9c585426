/**
 * Decodes the commands of clients of this dialect. Pure functions: text in, a checked request or a rejection out.
 *
 * A command is an object with a number and one request by name. What this gateway does not offer is rejected as `unsupported`,
 * never ignored where ignoring it would give a client something else than it asked for.
 */
import { isRoomName, roomNameRule } from '../../../shared/room.ts';
import type { Rejected, Request, Since } from '../request.ts';
import { maxLimit } from '../roomcast/decode.ts';
import { scanObject } from '../roomcast/object-text.ts';
import { type Command, writeAddress } from './return-address.ts';

/** Publications in one answer to `history`, as of the original server. */
const maxPublications = 300;
const maxEpochCharacters = 64;
const maxMethodCharacters = 200;
const maxNumber = 2 ** 32 - 1;

type Fields = Record<string, unknown>;

/** What can be asked for; the first of them in a command counts. */
const readers: Record<string, (fields: Fields, number: number, text: string) => Request | Rejected> = {
  connect: readConnect,
  subscribe: readSubscribe,
  unsubscribe: ({ channel }, number) =>
    isRoomName(channel)
      ? { type: 'unsubscribe', id: writeAddress({ command: 'unsubscribe', number }), room: channel }
      : badChannel(number),
  publish: readPublish,
  presence: (fields, number) => readPresence(fields, number, 'presence', maxLimit),
  // The counts are exact, however few members come with them.
  presence_stats: (fields, number) => readPresence(fields, number, 'presence_stats', 1),
  history: readHistory,
  refresh: (fields, number) => readToken(fields, number, 'refresh'),
  sub_refresh: readRenewal,
  rpc: (fields, number, text) => readCall(fields, writeAddress({ command: 'rpc', number }), 'rpc', text),
};

/** One command. Without a number it cannot be answered, and its rejection has no id. */
export function readCommand(text: string): Request | Rejected {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return bad(undefined, 'The command is not JSON.');
  }
  if (!isObject(value)) return bad(undefined, 'The command is not a JSON object; send {...}.');
  const { id } = value;
  const names = Object.keys(value).filter((name) => name !== 'id');
  if (id === undefined && names.length === 0) return { type: 'pong', id: undefined };
  if (id === undefined && isObject(value.send)) return readCall(value.send, undefined, 'send', text);
  if (!isNumber(id, 1, maxNumber)) return bad(undefined, 'id must be an integer from 1 to 2^32-1.');
  const name = Object.keys(readers).find((each) => isObject(value[each]));
  if (name !== undefined) return readers[name]?.(value[name] as Fields, id, text) ?? unsupported(id, name);
  return unsupported(id, names[0] ?? 'an empty command');
}

function readToken({ token = '' }: Fields, number: number, command: 'connect' | 'refresh'): Request | Rejected {
  if (typeof token !== 'string') return badToken(number);
  const opens = command === 'connect';
  const id = writeAddress({ command, number });
  return { type: 'auth', id, token: opens && token === '' ? undefined : token, opens };
}

function readConnect(fields: Fields, number: number): Request | Rejected {
  const request = readToken(fields, number, 'connect');
  const { subs } = fields;
  if (request.type !== 'auth' || subs === undefined || subs === null) return request;
  const since = isObject(subs) ? readPositions(subs) : undefined;
  return since === undefined ? bad(number, `subs has a position for each room: ${badPosition}`) : { ...request, since };
}

/** By room. Those that ask for no recovery, or have no room's name, are left out. Undefined: one is no position. */
function readPositions(subs: Fields): Map<string, Since> | undefined {
  const positions = new Map<string, Since>();
  for (const [room, sub] of Object.entries(subs)) {
    const { recover, offset = 0, epoch = '' } = isObject(sub) ? sub : { recover: true, offset: '' };
    if (!isOffset(offset) || !isEpoch(epoch)) return undefined;
    if (recover === true && isRoomName(room)) positions.set(room, sinceOf(offset, epoch));
  }
  return positions;
}

function readSubscribe(fields: Fields, number: number): Request | Rejected {
  const { channel, recover, offset = 0, epoch = '', type = 0, token = '', tf, flag = 0 } = fields;
  if (!isRoomName(channel)) return badChannel(number);
  if (type !== 0) return unsupported(number, 'a subscription of another type than stream');
  if (tf !== undefined) return unsupported(number, 'a filter of tags');
  if (!isNumber(flag, 0, maxNumber)) return bad(number, 'flag must be an integer from 0 to 2^32-1.');
  if (typeof token !== 'string') return badToken(number);
  const request = {
    ...({ type: 'subscribe', id: writeAddress({ command: 'subscribe', number }), room: channel } as const),
    token: token === '' ? undefined : token,
  };
  if (recover !== true) return { ...request, since: undefined };
  if (!isOffset(offset) || !isEpoch(epoch)) return bad(number, badPosition);
  return { ...request, since: sinceOf(offset, epoch), onlyRecovered: (flag & rejectUnrecovered) !== 0 };
}

function sinceOf(offset: number, epoch: string): Since {
  return { epoch: epoch === '' ? undefined : epoch, offset };
}

const rejectUnrecovered = 2;

function readRenewal({ channel, token = '', type = 0 }: Fields, number: number): Request | Rejected {
  if (!isRoomName(channel)) return badChannel(number);
  if (type !== 0) return unsupported(number, 'a subscription of another type than stream');
  if (typeof token !== 'string') return badToken(number);
  return { type: 'renew', id: writeAddress({ command: 'sub_refresh', number }), room: channel, token };
}

function readPublish({ channel, type = 0 }: Fields, number: number, text: string): Request | Rejected {
  if (!isRoomName(channel)) return badChannel(number);
  if (type !== 0) return unsupported(number, 'a publish of another type than stream');
  const data = dataOf(text, 'publish');
  if (data === undefined) return bad(number, 'publish needs data, nested at most 64 levels deep with its command.');
  return { type: 'publish', id: writeAddress({ command: 'publish', number }), room: channel, data, key: undefined };
}

/** JSON text, as the client wrote it: serializing it again would change numbers. Undefined: there is none, or too deep a one. */
function dataOf(text: string, command: string): string | undefined {
  const fields = scanObject(text, command)?.data;
  return fields === undefined ? undefined : scanObject(fields)?.data;
}

function readCall(fields: Fields, id: string | undefined, command: string, text: string): Request | Rejected {
  const { method = '' } = fields;
  if (typeof method !== 'string' || method.length > maxMethodCharacters) {
    return { ...bad(undefined, `method must be a string of at most ${maxMethodCharacters} characters.`), id };
  }
  const data = fields.data === undefined ? 'null' : dataOf(text, command);
  if (data === undefined)
    return { ...bad(undefined, 'data must be nested at most 64 levels deep with its command.'), id };
  return { type: 'call', id, room: '', method, data };
}

function readPresence({ channel }: Fields, number: number, command: Command, limit: number): Request | Rejected {
  if (!isRoomName(channel)) return badChannel(number);
  return { type: 'presence', id: writeAddress({ command, number }), room: channel, limit, after: undefined };
}

/** Without `since`: from the oldest on, or in reverse from the newest. */
function readHistory({ channel, limit = 0, since, reverse = false }: Fields, number: number): Request | Rejected {
  if (!isRoomName(channel)) return badChannel(number);
  if (!isNumber(limit, -1, 2 ** 31 - 1)) return bad(number, 'limit must be an integer, -1 for all.');
  if (typeof reverse !== 'boolean') return bad(number, 'reverse must be true or false.');
  const most = limit < 0 ? maxPublications : Math.min(limit, maxPublications);
  const question = { type: 'history', room: channel, limit: most } as const;
  if (since === undefined || since === null) {
    const id = writeAddress({ command: 'history', number, reverse });
    return { ...question, id, after: reverse ? undefined : 0, before: undefined, epoch: undefined };
  }
  const { offset = 0, epoch = '' } = isObject(since) ? since : { offset: '' };
  if (!isOffset(offset) || !isEpoch(epoch)) return bad(number, badPosition);
  const id = writeAddress({ command: 'history', number, reverse, since: { offset, epoch } });
  const [after, before] = reverse ? [undefined, offset] : [offset, undefined];
  return { ...question, id, after, before, epoch: epoch === '' ? undefined : epoch };
}

const badPosition = `offset must be an integer from 0 to 2^53-1, epoch a string of at most ${maxEpochCharacters} characters.`;

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isNumber(value: unknown, least: number, most: number): value is number {
  return Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
}

function isOffset(value: unknown): value is number {
  return isNumber(value, 0, Number.MAX_SAFE_INTEGER);
}

function isEpoch(value: unknown): value is string {
  return typeof value === 'string' && value.length <= maxEpochCharacters;
}

function badChannel(number: number): Rejected {
  return bad(number, `channel must be ${roomNameRule}.`);
}

function badToken(number: number): Rejected {
  return bad(number, 'token must be a string.');
}

function bad(number: number | undefined, message: string): Rejected {
  return { type: 'rejected', id: addressOf(number), code: 'bad_request', message };
}

function unsupported(number: number | undefined, what: string): Rejected {
  return {
    type: 'rejected',
    id: addressOf(number),
    code: 'unsupported',
    message: `This gateway does not offer ${what}.`,
  };
}

function addressOf(number: number | undefined): string | undefined {
  return number === undefined ? undefined : writeAddress({ command: 'other', number });
}
