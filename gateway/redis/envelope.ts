/**
 * The envelope of what nodes exchange through Redis: a header in ASCII, a line feed, and the finished frame, of which a node
 * parses nothing.
 *
 *     version 1   1<kind><time>[<epoch> <offset>]
 *     version 2   2<kind><flags><time>[<data bytes> <bytes behind data>[ <epoch> <offset>]]
 *
 * - kind: `m` message in a plain room; `h` message in a room with history, the only one with a position; `p` presence, a
 *   `join` or `leave` frame or a recount; `g` gap, messages are missing here, without a frame.
 * - flags: one digit. 1: `data` is binary, and the frame holds it as base64 text. Another flag makes an envelope unreadable.
 * - time: Unix milliseconds, 13 digits.
 * - data: of messages; its length and what lies behind it, counted from the end, as the offset stands before it in the frame.
 *   Both are 0 where it is not known. Another dialect finds `data` by it, without parsing the frame.
 *
 * This release reads both versions and writes `writtenVersion`. An envelope of an unknown version or kind is reported as
 * missing messages, never guessed at. Why so: docs/decisions/014-envelope-2.md.
 */
import type { Position } from '../../shared/protocol.ts';
import type { PresenceNews, Publication } from '../backplane/backplane.ts';

export type EnvelopeVersion = 1 | 2;
/** The release before has to read it. The next release writes 2, and the one after that reads 1 no more. */
export const writtenVersion: EnvelopeVersion = 1;

const versions = { one: 0x31, two: 0x32 };
const kinds = { message: 0x6d, history: 0x68, presence: 0x70, gap: 0x67 };
const binaryFlag = 1;
const timeDigits = 13;
/** Data and position in a header are shorter. */
const maxFieldsBytes = 130;
const lineFeed = 0x0a;
const space = 0x20;
const zero = 0x30;
const openBrace = 0x7b;

/** Writes envelopes of one version. */
export class EnvelopeWriter {
  readonly #version: EnvelopeVersion;

  constructor(version: EnvelopeVersion = writtenVersion) {
    this.#version = version;
  }

  /** Of a message in a plain room. */
  message(publication: Publication): string {
    return `${this.#header('m', publication.at)}${this.#data(publication)}\n${publication.prefix}${publication.suffix}`;
  }

  /** The header of a message in a room with history; history/append.lua puts its position, a line feed and the frame behind. */
  historyHeader(publication: Publication): string {
    const separator = this.#version === 1 ? '' : ' ';
    return `${this.#header('h', publication.at)}${this.#data(publication)}${separator}`;
  }

  /** presence/change.lua puts the frame behind. */
  presenceHeader(at: number): string {
    return `${this.#header('p', at)}\n`;
  }

  gap(at: number): string {
    return `${this.#header('g', at)}\n`;
  }

  #header(kind: string, at: number): string {
    const flags = this.#version === 1 ? '' : '0';
    return `${this.#version}${kind}${flags}${at.toString().padStart(timeDigits, '0')}`;
  }

  #data({ suffix, data }: Publication): string {
    if (this.#version === 1) return '';
    if (data === undefined) return '0 0';
    const end = data.start + data.length;
    return `${Buffer.byteLength(suffix.slice(data.start, end))} ${Buffer.byteLength(suffix.slice(end))}`;
  }
}

/** Returns undefined for a version or kind that this release does not know. */
export function kindOf(bytes: Uint8Array, start: number): 'message' | 'presence' | 'gap' | undefined {
  if (bytes[start] !== versions.one && bytes[start] !== versions.two) return undefined;
  switch (bytes[start + 1]) {
    case kinds.message:
    case kinds.history:
      return 'message';
    case kinds.presence:
      return 'presence';
    case kinds.gap:
      return 'gap';
    default:
      return undefined;
  }
}

export interface Envelope {
  /** Unix milliseconds. */
  at: number;
  frame: Uint8Array;
  /** Undefined in a plain room. */
  position: Position | undefined;
  /** Where `data` lies in `frame`, in bytes. Undefined in version 1. */
  data: { start: number; length: number; isBinary: boolean } | undefined;
}

/**
 * Reads the message in `bytes` from `start` to `end`. Returns undefined for anything else. The frame shares the memory of
 * `bytes`.
 */
export function readMessage(bytes: Buffer, start = 0, end = bytes.length): Envelope | undefined {
  const hasPosition = bytes[start + 1] === kinds.history;
  if (!hasPosition && bytes[start + 1] !== kinds.message) return undefined;
  if (bytes[start] === versions.two) return readVersion2(bytes, start, end, hasPosition);
  if (bytes[start] !== versions.one) return undefined;
  const timeAt = start + 2;
  const fieldsAt = timeAt + timeDigits;
  const headerEnd = hasPosition ? lineEnd(bytes, fieldsAt) : fieldsAt;
  const at = timeIn(bytes, timeAt);
  if (at === undefined || !isFrame(bytes, headerEnd, end)) return undefined;
  const position = hasPosition ? positionIn(bytes, fieldsAt, headerEnd) : undefined;
  if (hasPosition && position === undefined) return undefined;
  return { at, frame: bytes.subarray(headerEnd + 1, end), position, data: undefined };
}

function readVersion2(bytes: Buffer, start: number, end: number, hasPosition: boolean): Envelope | undefined {
  const flags = (bytes[start + 2] ?? 0) - zero;
  const timeAt = start + 3;
  const fieldsAt = timeAt + timeDigits;
  const headerEnd = lineEnd(bytes, fieldsAt);
  const at = timeIn(bytes, timeAt);
  if ((flags !== 0 && flags !== binaryFlag) || at === undefined || !isFrame(bytes, headerEnd, end)) return undefined;
  const lengthEnd = fieldEnd(bytes, fieldsAt, headerEnd);
  const behindEnd = fieldEnd(bytes, lengthEnd + 1, headerEnd);
  const length = integerIn(bytes, fieldsAt, lengthEnd);
  const behind = integerIn(bytes, lengthEnd + 1, behindEnd);
  if (length === undefined || behind === undefined || hasPosition === (behindEnd === headerEnd)) return undefined;
  const position = hasPosition ? positionIn(bytes, behindEnd + 1, headerEnd) : undefined;
  if (hasPosition && position === undefined) return undefined;
  const frame = bytes.subarray(headerEnd + 1, end);
  const dataStart = frame.length - behind - length;
  if (length === 0) return flags === 0 && behind === 0 ? { at, frame, position, data: undefined } : undefined;
  if (dataStart < 0) return undefined;
  return { at, frame, position, data: { start: dataStart, length, isBinary: flags === binaryFlag } };
}

/** Reads the presence of this room in `bytes` from `start` to `end`. Returns undefined for anything else. */
export function readPresence(bytes: Buffer, start: number, end: number, room: string): PresenceNews | undefined {
  const flagBytes = bytes[start] === versions.two ? 1 : 0;
  try {
    const frameAt = start + 2 + flagBytes + timeDigits + 1;
    const news = JSON.parse(bytes.toString('utf8', frameAt, end)) as PresenceNews;
    if (news.room !== room) return undefined;
    if (news.type === 'recount') return news;
    const isKnown = news.type === 'join' || news.type === 'leave';
    const isNamed = (member: object | null) => member !== null && ('user' in member || 'connection' in member);
    return isKnown && Array.isArray(news.members) && news.members.every(isNamed) ? news : undefined;
  } catch {
    return undefined;
  }
}

/** The end of the header. One that is longer than any header ends where no line feed is. */
function lineEnd(bytes: Buffer, from: number): number {
  let end = from;
  while (end < from + maxFieldsBytes && bytes[end] !== lineFeed) end++;
  return end;
}

/** The next space, or `headerEnd`. */
function fieldEnd(bytes: Buffer, from: number, headerEnd: number): number {
  let end = from;
  while (end < headerEnd && bytes[end] !== space) end++;
  return end;
}

function isFrame(bytes: Buffer, headerEnd: number, end: number): boolean {
  return headerEnd + 1 < end && bytes[headerEnd] === lineFeed && bytes[headerEnd + 1] === openBrace;
}

function timeIn(bytes: Buffer, from: number): number | undefined {
  let time = 0;
  for (let index = from; index < from + timeDigits; index++) {
    const digit = (bytes[index] ?? 0) - zero;
    if (digit < 0 || digit > 9) return undefined;
    time = time * 10 + digit;
  }
  return time;
}

/** Accepts what this release writes alone: no sign, no zero before another digit, below 10^10. */
function integerIn(bytes: Buffer, from: number, to: number): number | undefined {
  if (to <= from || to > from + 10 || (bytes[from] === zero && to > from + 1)) return undefined;
  let integer = 0;
  for (let index = from; index < to; index++) {
    const digit = (bytes[index] ?? 0) - zero;
    if (digit < 0 || digit > 9) return undefined;
    integer = integer * 10 + digit;
  }
  return integer;
}

function positionIn(bytes: Buffer, from: number, to: number): Position | undefined {
  const text = bytes.toString('latin1', from, to);
  const separator = text.indexOf(' ');
  const offset = Number(text.slice(separator + 1));
  // Number takes more than digits: what is read must be what was written.
  const isOffset = Number.isSafeInteger(offset) && offset > 0 && text.slice(separator + 1) === String(offset);
  return separator > 0 && isOffset ? { epoch: text.slice(0, separator), offset } : undefined;
}
