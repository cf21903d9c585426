/**
 * The push of a publication as Protobuf, put together from the bytes of a `message` frame: each length is known before its
 * message is written.
 *
 * It is what `write.ts` makes of the same value, at a fifth of the cost. What has to be decoded first is left to that: a sender
 * with escapes in the name, and `data` that may stand for bytes.
 */
import { MessageCut } from '../message-cut.ts';
import { Pages } from '../pages.ts';
import { publicationPushValue } from '../publication.ts';
import { DecimalVarint, varintSize, writeVarint } from './varint.ts';
import { writeReplies } from './write.ts';

const cut = new MessageCut();
const pages = new Pages();
const offset = new DecimalVarint();
const time = new DecimalVarint();

const backslash = 0x5c;
const quote = 0x22;
const openBrace = 0x7b;
const space = 0x20;
const dollar = 0x24;

/** Tags of fields (number * 8 + type), as in schema.ts. */
const tag = {
  push: 0x22,
  channel: 0x12,
  publication: 0x22,
  data: 0x22,
  info: 0x2a,
  user: 0x0a,
  offset: 0x30,
  time: 0x48,
};
/** An empty field `client`. */
const noClient = Buffer.from([0x12, 0]);
/** Of all tags and lengths together, of varints and of `noClient`. */
const mostHeadBytes = 80;

export function publicationPush(frame: Uint8Array): Uint8Array {
  cut.of(frame);
  if (!cut.isMessage || isEscaped(frame) || mayBeBytes(frame)) return writeReplies([publicationPushValue(frame)]);
  const room = cut.roomEnd - cut.roomStart;
  const data = cut.dataEnd - cut.dataStart;
  const hasUser = cut.userEnd > cut.userStart;
  const user = hasUser ? cut.userEnd - cut.userStart - 2 : 0;
  const info = hasUser ? fieldSize(user) + noClient.length : 0;
  const offsetSize = offset.of(frame, cut.offsetStart, cut.offsetEnd);
  const publication =
    fieldSize(data) +
    (hasUser ? fieldSize(info) : 0) +
    (offsetSize > 0 ? 1 + offsetSize : 0) +
    (1 + time.of(frame, cut.atStart, cut.atEnd));
  const push = fieldSize(room) + fieldSize(publication);

  pages.begin(frame, frame.length + mostHeadBytes);
  const start = pages.at;
  writeVarint(pages, fieldSize(push));
  begin(tag.push, push);
  field(tag.channel, cut.roomStart, cut.roomEnd);
  begin(tag.publication, publication);
  begin(tag.data, data);
  pages.line(cut.dataStart, cut.dataEnd);
  if (hasUser) {
    begin(tag.info, info);
    field(tag.user, cut.userStart + 1, cut.userEnd - 1);
    pages.bytes(noClient);
  }
  if (offsetSize > 0) number(tag.offset, offset);
  number(tag.time, time);
  return pages.since(start);
}

/** Of a field with so many bytes, its tag and its length. */
function fieldSize(bytes: number): number {
  return 1 + varintSize(bytes) + bytes;
}

function begin(tag: number, bytes: number): void {
  pages.byte(tag);
  writeVarint(pages, bytes);
}

function field(tag: number, start: number, end: number): void {
  begin(tag, end - start);
  pages.part(start, end);
}

function number(tag: number, value: DecimalVarint): void {
  pages.byte(tag);
  value.write(pages);
}

function isEscaped(frame: Uint8Array): boolean {
  for (let at = cut.userStart; at < cut.userEnd; at++) if (frame[at] === backslash) return true;
  return false;
}

/** As `bytesOf` in payload.ts: an object whose first key begins with `$`, perhaps as an escape. */
function mayBeBytes(frame: Uint8Array): boolean {
  const { dataStart } = cut;
  if (frame[dataStart] !== openBrace) return false;
  let at = dataStart + 1;
  while ((frame[at] ?? quote) <= space) at++;
  return frame[at] === quote && (frame[at + 1] === dollar || frame[at + 1] === backslash);
}
