/**
 * The envelope: what nodes exchange through Redis. A header in ASCII, a line feed, and the finished frame. Nodes read the
 * header only.
 *
 *     version 1   1<kind><time>[<epoch> <offset>]
 *     version 2   2<kind><flags><time>[<data bytes> <bytes behind data>[ <epoch> <offset>]]
 *
 * - kind: `m`, a message of a plain room. `h`, a message of a room with history: it alone has a position (epoch, offset). `p`,
 *   presence: a `join` or `leave` frame, or a recount. `g`, a gap: messages are missing here; no frame follows.
 * - flags: one digit. 1: `data` is binary, and the frame has it as base64 text. 0: none.
 * - time: Unix milliseconds, 13 digits.
 * - data bytes, bytes behind data: where `data` lies in the frame of a message, so that another protocol finds it without
 *   parsing. Counted from the end: only the script knows how long the offset before `data` is. `0 0`: not known.
 *
 * In a cluster the mark of the server that it is published at stands in front of an `m` or `p`: `@`, and 8 digits of the run id.
 * A server passes on what is published at it to the others of its shard. In a failover that may come to a node late: behind the
 * same message from the old primary, or behind later ones from the new primary.
 *
 * This release reads both versions, and writes `writtenVersion`. An unknown version, kind or flag is a gap for the room, never
 * guessed at. Why: docs/decisions/014-envelope-2.md.
 */
import type { Position } from '../../shared/protocol.ts';
import type { PresenceUpdate, Publication } from '../backplane/backplane.ts';

export type EnvelopeVersion = 1 | 2;
/** The release before must be able to read it. The next release writes 2; the one after that stops reading 1. */
export const writtenVersion: EnvelopeVersion = 1;

const versions = { one: 0x31, two: 0x32 };
const kinds = { message: 0x6d, history: 0x68, presence: 0x70, gap: 0x67 };
const noFlags = 0x30;
const binaryFlag = 0x31;
const timeDigits = 13;
/** Bound of the part behind the time; what nodes write is shorter. */
const maxFieldsBytes = 130;
const lineFeed = 0x0a;
const space = 0x20;
const zero = 0x30;
const openBrace = 0x7b;
const markByte = 0x40;

/** Writes envelopes of one version. */
export class EnvelopeWriter {
  readonly #version: EnvelopeVersion;
  /** What stands before the time, by kind. */
  readonly #marks: { message: string; history: string; presence: string; gap: string };

  constructor(version: EnvelopeVersion = writtenVersion) {
    this.#version = version;
    const flags = version === 1 ? '' : '0';
    const mark = (kind: string) => `${version}${kind}${flags}`;
    this.#marks = { message: mark('m'), history: mark('h'), presence: mark('p'), gap: mark('g') };
  }

  /** In a plain room. */
  message(publication: Publication): string {
    const { at, prefix, suffix } = publication;
    return `${this.#marks.message}${digits(at)}${this.#data(publication)}\n${prefix}${suffix}`;
  }

  /** The header of a message in a room with history. history/append.lua appends position, line feed and frame. */
  historyHeader(publication: Publication): string {
    const separator = this.#version === 1 ? '' : ' ';
    return `${this.#marks.history}${digits(publication.at)}${this.#data(publication)}${separator}`;
  }

  /** presence/change.lua appends the frame. */
  presenceHeader(at: number): string {
    return `${this.#marks.presence}${digits(at)}\n`;
  }

  gap(at: number): string {
    return `${this.#marks.gap}${digits(at)}\n`;
  }

  #data({ suffix, dataStart, dataLength }: Publication): string {
    if (this.#version === 1) return '';
    if (dataStart === undefined || dataLength === undefined) return '0 0';
    const end = dataStart + dataLength;
    return `${Buffer.byteLength(suffix.slice(dataStart, end))} ${Buffer.byteLength(suffix.slice(end))}`;
  }
}

function digits(at: number): string {
  return at.toString().padStart(timeDigits, '0');
}

/** Where the envelope begins. Undefined: the mark in front of it is not this one. `mark`: '' for a server that has none. */
export function behindMark(bytes: Uint8Array, start: number, mark: string): number | undefined {
  if (mark === '' || bytes[start] !== markByte) return start;
  for (let index = 1; index < mark.length; index++) {
    if (bytes[start + index] !== mark.charCodeAt(index)) return undefined;
  }
  return start + mark.length;
}

/** Returns undefined if this release does not know the version, the kind or a flag. */
export function kindOf(bytes: Uint8Array, start: number): 'message' | 'presence' | 'gap' | undefined {
  if (bytes[start] === versions.two ? !isFlags(bytes[start + 2]) : bytes[start] !== versions.one) return undefined;
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
  /** Where `data` lies in `frame`, in bytes. Not known in version 1. */
  data?: { start: number; length: number; isBinary: boolean };
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
  return { at, frame: bytes.subarray(headerEnd + 1, end), position };
}

function readVersion2(bytes: Buffer, start: number, end: number, hasPosition: boolean): Envelope | undefined {
  const flags = bytes[start + 2];
  const timeAt = start + 3;
  const fieldsAt = timeAt + timeDigits;
  const headerEnd = lineEnd(bytes, fieldsAt);
  const at = timeIn(bytes, timeAt);
  if (!isFlags(flags) || at === undefined || !isFrame(bytes, headerEnd, end)) return undefined;
  const lengthEnd = fieldEnd(bytes, fieldsAt, headerEnd);
  const behindEnd = fieldEnd(bytes, lengthEnd + 1, headerEnd);
  const length = integerIn(bytes, fieldsAt, lengthEnd);
  const behind = integerIn(bytes, lengthEnd + 1, behindEnd);
  if (length === undefined || behind === undefined || hasPosition === (behindEnd === headerEnd)) return undefined;
  const position = hasPosition ? positionIn(bytes, behindEnd + 1, headerEnd) : undefined;
  if (hasPosition && position === undefined) return undefined;
  const frame = bytes.subarray(headerEnd + 1, end);
  const dataStart = frame.length - behind - length;
  if (length === 0) return flags === noFlags && behind === 0 ? { at, frame, position } : undefined;
  if (dataStart < 0) return undefined;
  return { at, frame, position, data: { start: dataStart, length, isBinary: flags === binaryFlag } };
}

/** Reads the presence of this room in `bytes` from `start` to `end`. Returns undefined for anything else. */
export function readPresence(bytes: Buffer, start: number, end: number, room: string): PresenceUpdate | undefined {
  const flagBytes = bytes[start] === versions.two ? 1 : 0;
  try {
    const frameAt = start + 2 + flagBytes + timeDigits + 1;
    const update = JSON.parse(bytes.toString('utf8', frameAt, end)) as PresenceUpdate;
    if (update.room !== room) return undefined;
    if (update.type === 'recount') return update;
    const isJoinLeave = update.type === 'join' || update.type === 'leave';
    const isNamed = (member: object | null) => member !== null && ('user' in member || 'connection' in member);
    return isJoinLeave && Array.isArray(update.members) && update.members.every(isNamed) ? update : undefined;
  } catch {
    return undefined;
  }
}

function isFlags(byte: number | undefined): boolean {
  return byte === noFlags || byte === binaryFlag;
}

/** The first line feed; in a header that is too long, some other byte. */
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

/** Accepts only what nodes write: digits, no leading zero, at most 10. */
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
  // Number accepts more than digits: compare with what a node writes.
  const isOffset = Number.isSafeInteger(offset) && offset > 0 && text.slice(separator + 1) === String(offset);
  return separator > 0 && isOffset ? { epoch: text.slice(0, separator), offset } : undefined;
}
