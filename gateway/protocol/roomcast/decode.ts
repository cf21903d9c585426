/**
 * Decodes the frames of clients in the native dialect. Pure functions: they turn text into a checked request, or a
 * rejection.
 *
 * `data` is not serialized again after parsing: its text is cut out of the frame (object-text.ts). The check of the seven
 * frame types is written by hand because it is faster than a schema;
 * test/unit/protocol/decode.test.ts compares it with schemas on random input.
 */
import type { FrameId, Position } from '../../../shared/protocol.ts';
import { isRoomName, roomNameRule } from '../../../shared/room.ts';
import type { PublishRequest, Rejected, Request } from '../request.ts';
import { maxDepth, scanObject } from './object-text.ts';

/** Bytes of a publish key, in UTF-8. */
export const maxKeyBytes = 128;
const maxIdCharacters = 64;
/** Messages, or members, in one answer. */
export const maxLimit = 1000;
export const defaultLimit = 100;
export const maxConnectionIdCharacters = 200;

/** Decodes one text message. A bad frame is rejected as `bad_request`, an unknown type as `unsupported`. */
export function readFrame(text: string): Request | Rejected {
  const read = readObject(text, 'The frame');
  return 'fields' in read ? readType(read.fields, read.id, read.data) : read;
}

/** Decodes the body of a publish by HTTP, `{data, key?}`. */
export function readPublishBody(room: string, text: string): PublishRequest | Rejected {
  const read = readObject(text, 'The body');
  return 'fields' in read ? readPublish({ ...read.fields, room }, undefined, read.data) : read;
}

interface ReadObject {
  fields: Record<string, unknown>;
  id: FrameId | undefined;
  /** The JSON text of the value of `data`. */
  data: string | undefined;
}

/** `what` begins the sentences for the client. */
function readObject(text: string, what: string): ReadObject | Rejected {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return bad(undefined, `${what} is not JSON; send one JSON object.`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return bad(undefined, `${what} is not a JSON object; send {...}.`);
  }
  const fields = value as Record<string, unknown>;
  const { id } = fields;
  if (id !== undefined && !isFrameId(id)) {
    return bad(undefined, 'id must be an integer from 0 to 2^53-1 or a string of at most 64 characters.');
  }
  const scan = scanObject(text);
  if (scan === undefined) return bad(id, `${what} is nested more than ${maxDepth} levels deep.`);
  if (scan.keys !== Object.keys(fields).length) return bad(id, `${what} has a top-level key twice; send each once.`);
  return { fields, id, data: scan.data };
}

function readType(
  fields: Record<string, unknown>,
  id: FrameId | undefined,
  data: string | undefined,
): Request | Rejected {
  switch (fields.type) {
    case 'publish':
      return readPublish(fields, id, data);
    case 'subscribe':
    case 'unsubscribe':
      return readMembership(fields, fields.type, id);
    case 'history':
      return readHistory(fields, id);
    case 'presence':
      return readPresence(fields, id);
    case 'ping':
      return { type: 'ping', id };
    case 'auth':
      if (typeof fields.token !== 'string') return bad(id, 'auth needs a token, a string.');
      return { type: 'auth', id, token: fields.token };
    default:
      if (typeof fields.type !== 'string') return bad(id, 'The frame has no type, a string.');
      return { type: 'rejected', id, code: 'unsupported', message: 'This gateway does not offer that frame type.' };
  }
}

function readPublish(
  fields: Record<string, unknown>,
  id: FrameId | undefined,
  data: string | undefined,
): PublishRequest | Rejected {
  const { room, key } = fields;
  if (!isRoomName(room)) return bad(id, badRoom);
  if (data === undefined) return bad(id, 'publish needs data; null is a value too.');
  if (key !== undefined && !isPublishKey(key)) return bad(id, `key must be a string of 1 to ${maxKeyBytes} bytes.`);
  return { type: 'publish', id, room, data, key };
}

function readMembership(
  { room, since }: Record<string, unknown>,
  type: 'subscribe' | 'unsubscribe',
  id: FrameId | undefined,
): Request | Rejected {
  if (id === undefined) return bad(id, `${type} needs an id; its answer carries it.`);
  if (!isRoomName(room)) return bad(id, badRoom);
  if (type === 'unsubscribe') return { type, id, room };
  if (since !== undefined && !isPosition(since)) {
    return bad(id, 'since must be {epoch, offset}: a string of at most 64 characters and an integer from 0 to 2^53-1.');
  }
  return { type, id, room, since: since && { epoch: since.epoch, offset: since.offset } };
}

function readHistory(fields: Record<string, unknown>, id: FrameId | undefined): Request | Rejected {
  const { room, after, before, epoch, limit = defaultLimit } = fields;
  if (id === undefined) return bad(id, 'history needs an id; its answer carries it.');
  if (!isRoomName(room)) return bad(id, badRoom);
  if (!isOptionalOffset(after) || !isOptionalOffset(before)) {
    return bad(id, 'after and before must be offsets, integers from 0 to 2^53-1.');
  }
  if (epoch !== undefined && !isEpoch(epoch)) return bad(id, 'epoch must be a string of at most 64 characters.');
  if (!isLimit(limit)) return bad(id, badLimit);
  return { type: 'history', id, room, after, before, epoch, limit };
}

function readPresence(fields: Record<string, unknown>, id: FrameId | undefined): Request | Rejected {
  const { room, after, limit = defaultLimit } = fields;
  if (id === undefined) return bad(id, 'presence needs an id; its answer carries it.');
  if (!isRoomName(room)) return bad(id, badRoom);
  if (after !== undefined && !(typeof after === 'string' && after.length <= maxConnectionIdCharacters)) {
    return bad(id, 'after must be the connection of a member.');
  }
  if (!isLimit(limit)) return bad(id, badLimit);
  return { type: 'presence', id, room, limit, after };
}

const badLimit = `limit must be an integer from 1 to ${maxLimit}.`;
const badRoom = `room must be ${roomNameRule}.`;

function bad(id: FrameId | undefined, message: string): Rejected {
  return { type: 'rejected', id, code: 'bad_request', message };
}

export function isFrameId(id: unknown): id is FrameId {
  if (typeof id === 'number') return Number.isSafeInteger(id) && id >= 0;
  // `length` counts a character beyond the basic plane as two.
  return typeof id === 'string' && (id.length <= maxIdCharacters || [...id.slice(0, 129)].length <= maxIdCharacters);
}

function isPosition(since: unknown): since is Position {
  if (typeof since !== 'object' || since === null) return false;
  const { epoch, offset } = since as Partial<Position>;
  return isEpoch(epoch) && isOffset(offset);
}

export function isEpoch(epoch: unknown): epoch is string {
  return typeof epoch === 'string' && isFrameId(epoch);
}

function isOffset(offset: unknown): offset is number {
  return Number.isSafeInteger(offset) && (offset as number) >= 0;
}

function isOptionalOffset(offset: unknown): offset is number | undefined {
  return offset === undefined || isOffset(offset);
}

function isLimit(limit: unknown): limit is number {
  return isOffset(limit) && limit >= 1 && limit <= maxLimit;
}

export function isPublishKey(key: unknown): key is string {
  return typeof key === 'string' && key !== '' && key.isWellFormed() && Buffer.byteLength(key) <= maxKeyBytes;
}
