/**
 * A `message` frame of the native dialect becomes a publication of this one. Pure functions.
 *
 * It runs for each message on each node with such members, so it parses nothing: a frame has the one form that
 * gateway/protocol/roomcast/message.ts gives it, and is cut in its places. `data` stays as it is, byte for byte, but for line
 * breaks between its parts, which separate replies here.
 */
import { unsubscribes } from './codes.ts';
import { type Fields, Payload, writeJson } from './value.ts';

/** Of the first field behind the fixed part. A room name, an id and an offset contain no quote. */
const dataField = ',"data":';
const fromField = ',"from":"';
const atField = ',"at":';

/** The first fields. */
const head = /^\{"type":"message","room":"([^"\\\s]*)"(?:,"offset":(\d{1,16}))?/;

/** A publication, with the offset of its frame. */
export function publicationOf(frame: Uint8Array): Fields {
  return fieldsOf(cut(frame));
}

/** The push of a publication to a member of its room, as JSON. */
export function publicationPush(frame: Uint8Array): string {
  const { room, data, user, offset, at } = cut(frame);
  if (at === undefined && offset === undefined) return writeJson(lostPush(room));
  const info = user === undefined ? '' : `,"info":{"user":${user},"client":""}`;
  const position = offset === undefined ? '' : `,"offset":${offset}`;
  const time = at === undefined ? '' : `,"time":${at}`;
  return `{"push":{"channel":"${room}","pub":{"data":${oneLine(data)}${info}${position}${time}}}}`;
}

/** The same as a value. */
export function publicationPushValue(frame: Uint8Array): Fields {
  const publication = cut(frame);
  const { room, offset, at } = publication;
  if (at === undefined && offset === undefined) return lostPush(room);
  return { push: { channel: room, pub: fieldsOf(publication) } };
}

function fieldsOf({ data, user, offset, at }: Cut): Fields {
  const info = user === undefined ? undefined : { user: JSON.parse(user) as string, client: '' };
  return { data: new Payload(oneLine(data)), info, offset, time: at };
}

/** What is no message has no place in a plain room. */
function lostPush(channel: string): Fields {
  return { push: { channel, unsubscribe: unsubscribes.gap } };
}

interface Cut {
  room: string;
  /** JSON text. */
  data: string;
  /** JSON text of the sender's name. */
  user: string | undefined;
  offset: number | undefined;
  /** Undefined: it is no message. */
  at: number | undefined;
}

/** `{"type":"message","room":R,"offset":N or "id":I,"data":D,"from":F,"at":T,"key":K}`; `from` and `key` may be missing. */
function cut(frame: Uint8Array): Cut {
  const text = Buffer.from(frame.buffer, frame.byteOffset, frame.length).toString();
  const [, room = '', digits] = head.exec(text) ?? [];
  const offset = digits === undefined ? undefined : Number(digits);
  const dataAt = text.indexOf(dataField);
  // A string contains no quote without a backslash before it. So no string contains a field, and the last one is the right one:
  // only `key` follows.
  const atAt = text.lastIndexOf(atField);
  const at = Number.parseInt(text.slice(atAt + atField.length), 10);
  // It comes from no node, but from somebody else at Redis. In a history it keeps its place: a client that subscribes again
  // would get the same once more.
  if (room === '' || dataAt === -1 || atAt < dataAt || Number.isNaN(at)) {
    return { room, data: 'null', user: undefined, offset, at: undefined };
  }
  // Behind the data of an object with a field `from` stands its brace.
  const fromAt = text.charCodeAt(atAt - 1) === quote ? text.lastIndexOf(fromField, atAt) : -1;
  const hasFrom = fromAt > dataAt;
  const data = text.slice(dataAt + dataField.length, hasFrom ? fromAt : atAt);
  return { room, data, user: hasFrom ? text.slice(fromAt + fromField.length - 1, atAt) : undefined, offset, at };
}

const quote = 0x22;

/** JSON has line breaks only between its tokens (RFC 8259 section 7). */
export function oneLine(json: string): string {
  return json.includes('\n') || json.includes('\r') ? json.replaceAll(/[\r\n]+/g, ' ') : json;
}
