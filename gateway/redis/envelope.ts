/**
 * What nodes exchange through Redis: a header, then the bytes of the finished frame.
 *
 * `1` version, `m` (a message) or `h` (a message of a room with history), 13 digits of Unix milliseconds, with `h` the
 * epoch, a space and the offset, and a line feed. The receiving node parses nothing of the frame. An unknown version or
 * kind is reported, not guessed at, so that nodes of two versions can run beside each other in a deploy.
 *
 * `p` is a `join` or `leave` frame, or a recount, under the same header as `m`; presence/change.lua writes it. `g` is a
 * header alone: here messages are missing.
 */
import type { Position } from '../../shared/protocol.ts';
import type { PresenceNews } from '../backplane/backplane.ts';

const mark = '1m';
const keptMark = '1h';
const presenceMark = '1p';
const gapMark = '1g';
const atDigits = 13;
const markAndTimeBytes = mark.length + atDigits;
/** Epoch, space and offset are shorter. */
const maxPositionBytes = 100;
const lineFeed = 0x0a;
const openBrace = 0x7b;

export interface Envelope {
  at: number;
  frame: Uint8Array;
  /** Undefined in a plain room. */
  position: Position | undefined;
}

export function wrap(frame: string, at: number): string {
  return `${mark}${digits(at)}\n${frame}`;
}

/** What begins the envelope of a message that is kept; its position, a line feed and the frame follow. */
export function keptHeader(at: number): string {
  return `${keptMark}${digits(at)}`;
}

/**
 * Reads the envelope that stands in `bytes` from `start` to `end`; undefined if this version does not know it. The frame
 * shares the memory of `bytes`.
 */
export function unwrap(bytes: Buffer, start = 0, end = bytes.length): Envelope | undefined {
  const positionAt = start + markAndTimeBytes;
  const kept = bytes[start + 1] === keptMark.charCodeAt(1);
  if (bytes[start] !== mark.charCodeAt(0) || (!kept && bytes[start + 1] !== mark.charCodeAt(1))) return undefined;
  const headerEnd = kept ? positionEnd(bytes, positionAt) : positionAt;
  if (headerEnd + 1 >= end || bytes[headerEnd] !== lineFeed || bytes[headerEnd + 1] !== openBrace) return undefined;
  let at = 0;
  for (let index = start + mark.length; index < positionAt; index++) {
    const digit = (bytes[index] ?? 0) - 0x30;
    if (digit < 0 || digit > 9) return undefined;
    at = at * 10 + digit;
  }
  const position = kept ? positionOf(bytes.toString('latin1', positionAt, headerEnd)) : undefined;
  if (kept && position === undefined) return undefined;
  return { at, frame: bytes.subarray(headerEnd + 1, end), position };
}

function positionEnd(bytes: Buffer, from: number): number {
  let end = from;
  while (end < from + maxPositionBytes && bytes[end] !== lineFeed) end++;
  return end;
}

function positionOf(text: string): Position | undefined {
  const space = text.indexOf(' ');
  const offset = Number(text.slice(space + 1));
  // Number takes more than digits: what is read must be what was written.
  const isOffset = Number.isSafeInteger(offset) && offset > 0 && text.slice(space + 1) === String(offset);
  return space > 0 && isOffset ? { epoch: text.slice(0, space), offset } : undefined;
}

function digits(at: number): string {
  return at.toString().padStart(atDigits, '0');
}

export function isPresence(bytes: Uint8Array, start: number): boolean {
  return hasMark(bytes, start, presenceMark);
}

/** Tells all nodes that messages of the room are missing here. A node that does not know it tells the same. */
export function gapEnvelope(at: number): string {
  return `${gapMark}${digits(at)}\n`;
}

export function isGap(bytes: Uint8Array, start: number): boolean {
  return hasMark(bytes, start, gapMark);
}

function hasMark(bytes: Uint8Array, start: number, wanted: string): boolean {
  return bytes[start] === wanted.charCodeAt(0) && bytes[start + 1] === wanted.charCodeAt(1);
}

/** Returns undefined for bytes that are no news of this room. */
export function unwrapPresence(bytes: Buffer, start: number, end: number, room: string): PresenceNews | undefined {
  try {
    const news = JSON.parse(bytes.toString('utf8', start + markAndTimeBytes + 1, end)) as PresenceNews;
    if (news.room !== room) return undefined;
    if (news.type === 'recount') return news;
    const known = news.type === 'join' || news.type === 'leave';
    const isNamed = (member: object | null) => member !== null && ('user' in member || 'connection' in member);
    return known && Array.isArray(news.members) && news.members.every(isNamed) ? news : undefined;
  } catch {
    return undefined;
  }
}
