/**
 * What nodes exchange through Redis: a header, then the bytes of the finished frame.
 *
 * `1` version, `m` (a message) or `h` (a message of a room with history), 13 digits of Unix milliseconds, with `h` the
 * epoch, a space and the offset, and a line feed. The receiving node parses nothing of the frame. An unknown version or
 * kind is reported, not guessed at, so that nodes of two versions can run beside each other in a deploy.
 */
import type { Position } from '../shared/protocol.ts';

const mark = '1m';
const keptMark = '1h';
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

/** Returns undefined for bytes that are not an envelope this version knows. The frame shares the memory of `bytes`. */
export function unwrap(bytes: Buffer): Envelope | undefined {
  const kept = bytes[1] === keptMark.charCodeAt(1);
  if (bytes[0] !== mark.charCodeAt(0) || (!kept && bytes[1] !== mark.charCodeAt(1))) return undefined;
  const end = kept ? bytes.subarray(0, markAndTimeBytes + maxPositionBytes).indexOf(lineFeed) : markAndTimeBytes;
  if (bytes[end] !== lineFeed || bytes[end + 1] !== openBrace) return undefined;
  let at = 0;
  for (let index = mark.length; index < markAndTimeBytes; index++) {
    const digit = (bytes[index] ?? 0) - 0x30;
    if (digit < 0 || digit > 9) return undefined;
    at = at * 10 + digit;
  }
  const position = kept ? positionOf(bytes.toString('latin1', markAndTimeBytes, end)) : undefined;
  if (kept && position === undefined) return undefined;
  return { at, frame: bytes.subarray(end + 1), position };
}

function positionOf(text: string): Position | undefined {
  const space = text.indexOf(' ');
  const offset = Number(text.slice(space + 1));
  return space > 0 && Number.isSafeInteger(offset) && offset > 0 ? { epoch: text.slice(0, space), offset } : undefined;
}

function digits(at: number): string {
  return at.toString().padStart(atDigits, '0');
}
