/**
 * A `message` frame of the native dialect becomes a publication of this one. Pure functions.
 *
 * A push is made for each message on each node with such members, so it is put together from the bytes of the frame. `data` stays
 * as it is, byte for byte, but for line breaks between its parts, which separate replies here.
 */
import { unsubscribes } from './codes.ts';
import { MessageCut } from './message-cut.ts';
import { Pages } from './pages.ts';
import { type Fields, Payload, writeJson } from './value.ts';

const cut = new MessageCut();
const pages = new Pages();

const channelField = Buffer.from('{"push":{"channel":"');
const dataField = Buffer.from('","pub":{"data":');
const userField = Buffer.from(',"info":{"user":');
const noClient = Buffer.from(',"client":""}');
const offsetField = Buffer.from(',"offset":');
const timeField = Buffer.from(',"time":');
const end = Buffer.from('}}}');
const fieldBytes = [channelField, dataField, userField, noClient, offsetField, timeField, end].reduce(
  (sum, { length }) => sum + length,
  0,
);

/** The push of a publication to a member of its room, as JSON. */
export function publicationPush(frame: Uint8Array): Buffer {
  cut.of(frame);
  if (!cut.isMessage) return Buffer.from(writeJson(publicationPushValue(frame)));
  pages.begin(frame, frame.length + fieldBytes);
  const start = pages.at;
  pages.bytes(channelField);
  pages.part(cut.roomStart, cut.roomEnd);
  pages.bytes(dataField);
  pages.line(cut.dataStart, cut.dataEnd);
  if (cut.userEnd > cut.userStart) {
    pages.bytes(userField);
    pages.part(cut.userStart, cut.userEnd);
    pages.bytes(noClient);
  }
  if (cut.offsetEnd > cut.offsetStart) {
    pages.bytes(offsetField);
    pages.part(cut.offsetStart, cut.offsetEnd);
  }
  pages.bytes(timeField);
  pages.part(cut.atStart, cut.atEnd);
  pages.bytes(end);
  return pages.since(start);
}

/** The same as a value. */
export function publicationPushValue(frame: Uint8Array): Fields {
  const publication = publicationOf(frame);
  const channel = textOf(frame, cut.roomStart, cut.roomEnd);
  // What is no message has no place in a plain room. In a history it keeps its place: a client that subscribes again would get the
  // same once more.
  if (!cut.isMessage && publication.offset === undefined) {
    return { push: { channel, unsubscribe: unsubscribes.gap } };
  }
  return { push: { channel, pub: publication } };
}

/** A publication, with the offset of its frame. */
export function publicationOf(frame: Uint8Array): Fields {
  cut.of(frame);
  const { isMessage, offsetStart, offsetEnd, dataStart, dataEnd, userStart, userEnd, atStart, atEnd } = cut;
  const offset = offsetEnd > offsetStart ? Number(textOf(frame, offsetStart, offsetEnd)) : undefined;
  if (!isMessage) return { data: new Payload('null'), offset };
  const info =
    userEnd > userStart ? { user: JSON.parse(textOf(frame, userStart, userEnd)) as string, client: '' } : undefined;
  const data = new Payload(oneLine(textOf(frame, dataStart, dataEnd)));
  return { data, info, offset, time: Number(textOf(frame, atStart, atEnd)) };
}

function textOf(frame: Uint8Array, start: number, end: number): string {
  return Buffer.from(frame.buffer, frame.byteOffset + start, end - start).toString('utf8');
}

/** As `Pages.line`. */
export function oneLine(json: string): string {
  return json.includes('\n') || json.includes('\r') ? json.replaceAll(/[\r\n]/g, ' ') : json;
}
