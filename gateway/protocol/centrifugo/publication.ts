/**
 * A `message` frame of the native dialect becomes a publication of this one. Pure functions.
 *
 * It runs for each message on each node with such members, so it parses nothing: a frame has the one form that
 * gateway/protocol/roomcast/message.ts gives it, and is cut in its places. `data` stays as it is, byte for byte, but for line
 * breaks between its parts, which separate replies here.
 */

import { unsubscribes } from './codes.ts';

/** Of the first field behind the fixed part. A room name, an id and an offset contain no quote. */
const dataField = ',"data":';
const fromField = ',"from":"';
const atField = ',"at":';

/** The first fields. */
const head = /^\{"type":"message","room":"([^"\\\s]*)"(?:,"offset":(\d{1,16}))?/;

/** The text of a publication. The offset is that of the frame. */
export function publicationOf(frame: Uint8Array): string {
  return cut(Buffer.from(frame.buffer, frame.byteOffset, frame.length).toString()).publication;
}

/** The push of a publication to a member of its room. */
export function publicationPush(frame: Uint8Array): string {
  const { room, publication, lost } = cut(Buffer.from(frame.buffer, frame.byteOffset, frame.length).toString());
  if (lost) return JSON.stringify({ push: { channel: room, unsubscribe: unsubscribes.gap } });
  return `{"push":{"channel":"${room}","pub":${publication}}}`;
}

interface Cut {
  room: string;
  publication: string;
  /** It is no message, and has no place in a history. */
  lost: boolean;
}

/** `{"type":"message","room":R,"offset":N or "id":I,"data":D,"from":F,"at":T,"key":K}`; `from` and `key` may be missing. */
function cut(text: string): Cut {
  const [, room = '', offset] = head.exec(text) ?? [];
  const position = offset === undefined ? '' : `,"offset":${Number(offset)}`;
  const dataAt = text.indexOf(dataField);
  // A string contains no quote without a backslash before it. So no string contains a field, and the last one is the right one:
  // only `key` follows.
  const atAt = text.lastIndexOf(atField);
  const at = Number.parseInt(text.slice(atAt + atField.length), 10);
  // It comes from no node, but from somebody else at Redis. In a history it keeps its place: a client that subscribes again
  // would get the same once more.
  if (room === '' || dataAt === -1 || atAt < dataAt || Number.isNaN(at)) {
    return { room, publication: `{"data":null${position}}`, lost: offset === undefined };
  }
  // Behind the data of an object with a field `from` stands its brace.
  const fromAt = text.charCodeAt(atAt - 1) === quote ? text.lastIndexOf(fromField, atAt) : -1;
  const hasFrom = fromAt > dataAt;
  const data = oneLine(text.slice(dataAt + dataField.length, hasFrom ? fromAt : atAt));
  const info = hasFrom ? `,"info":{"user":${text.slice(fromAt + fromField.length - 1, atAt)},"client":""}` : '';
  return { room, publication: `{"data":${data}${info}${position},"time":${at}}`, lost: false };
}

const quote = 0x22;

/** JSON has line breaks only between its tokens (RFC 8259 section 7). */
export function oneLine(json: string): string {
  return json.includes('\n') || json.includes('\r') ? json.replaceAll(/[\r\n]+/g, ' ') : json;
}
