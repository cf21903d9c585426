/**
 * What a source hands out becomes a message for a room, or the reason why it never can. A pure function.
 *
 * Rooms and users come from the operator's own backend, which may publish to every room, like a caller of the HTTP API. What is
 * checked is the form.
 */
import { isRoomName, roomNameRule } from '../../shared/room.ts';
import { isUserName, maxUserBytes } from '../auth/grants.ts';
import type { ServerMessage } from '../operations/publish.ts';
import { isPublishKey, maxKeyBytes } from '../protocol/roomcast/decode.ts';
import { maxDepth, scanObject } from '../protocol/roomcast/object-text.ts';
import { type Place, textAt, wordOf } from './place.ts';

/** A message as its source has it. */
export interface SourceMessage {
  /** Stable, and of no other message of the input; undefined if the source has none. At most `maxKeyBytes`. */
  id: string | undefined;
  /** Undefined: no such header. */
  header(name: string): string | undefined;
  /** Undefined: none. */
  body: Buffer | undefined;
}

/** Where the fields are; of one input. */
export interface Places {
  room: Place;
  /** Undefined: the id of the source is the key. */
  key: Place | undefined;
  from: Place | undefined;
  /** The names of a path into the body; empty: all of it. */
  data: readonly string[];
}

/** Why a message can never be published. */
export class Poison {
  /** A sentence for the operator. */
  readonly reason: string;

  constructor(reason: string) {
    this.reason = reason;
  }
}

/** `maxBytes`: of the body. */
export function readMessage(message: SourceMessage, places: Places, maxBytes: number): ServerMessage | Poison {
  const text = textOf(message.body, maxBytes);
  if (text instanceof Poison) return text;
  const word = (place: Place) => ('header' in place ? message.header(place.header) : wordOf(textAt(text, place.path)));
  const room = word(places.room);
  if (room === undefined)
    return new Poison(`no room: ${described(places.room)} is not there, or neither text nor number`);
  if (!isRoomName(room)) return new Poison(`not the name of a room, which is ${roomNameRule}`);
  const key = places.key === undefined ? message.id : word(places.key);
  if (key === undefined) return new Poison(`no key: ${places.key ? described(places.key) : 'an id'} is not there`);
  if (!isPublishKey(key)) return new Poison(`the key must have 1 to ${maxKeyBytes} bytes`);
  const from = places.from && word(places.from);
  if (from !== undefined && !isUserName(from)) return new Poison(`from must have 1 to ${maxUserBytes} bytes`);
  const data = textAt(text, places.data);
  if (data === undefined) return new Poison(`no data: ${described({ path: places.data })} is not there`);
  return { room, key, from, data };
}

/** The JSON of a body, without white space around it. */
function textOf(body: Buffer | undefined, maxBytes: number): string | Poison {
  if (body === undefined) return new Poison('no body');
  if (body.length > maxBytes) {
    return new Poison(`the body has ${body.length} bytes, and GATEWAY_MAX_MESSAGE_BYTES is ${maxBytes}`);
  }
  const text = body.toString();
  try {
    JSON.parse(text);
  } catch {
    return new Poison('the body is not JSON');
  }
  // Bytes that are no UTF-8 would become others silently.
  if (text.includes('\ufffd') && !Buffer.from(text).equals(body)) return new Poison('the body is not UTF-8');
  const scan = scanObject(`{"data":${text}}`);
  return scan?.data ?? new Poison(`the body is nested more than ${maxDepth - 1} levels deep`);
}

function described(place: Place): string {
  return 'header' in place ? `the header ${place.header}` : `$${place.path.map((name) => `["${name}"]`).join('')}`;
}
