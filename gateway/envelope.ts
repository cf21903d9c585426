/**
 * What nodes exchange through Redis: a header of fixed length, then the bytes of the finished frame.
 *
 * `1` version, `m` kind (a message), 13 digits of Unix milliseconds, a line feed. The receiving node reads 16 bytes and
 * parses nothing. An unknown version or kind is reported, not guessed at, so that nodes of two versions can run beside
 * each other in a deploy.
 *
 * Kind `p` is a `join` or `leave` frame, written by presence-change.lua under the same header.
 */
import type { JoinLeaveFrame } from '../shared/protocol.ts';

const mark = '1m';
const presenceMark = '1p';
const atDigits = 13;
const headerBytes = mark.length + atDigits + 1;
const lineFeed = 0x0a;
const openBrace = 0x7b;

export interface Envelope {
  at: number;
  frame: Uint8Array;
}

export function wrap(frame: string, at: number): string {
  return `${mark}${at.toString().padStart(atDigits, '0')}\n${frame}`;
}

/** Returns undefined for bytes that are not an envelope this version knows. The frame shares the memory of `bytes`. */
export function unwrap(bytes: Uint8Array): Envelope | undefined {
  if (bytes.length <= headerBytes || bytes[headerBytes - 1] !== lineFeed || bytes[headerBytes] !== openBrace) {
    return undefined;
  }
  if (bytes[0] !== mark.charCodeAt(0) || bytes[1] !== mark.charCodeAt(1)) return undefined;
  let at = 0;
  for (let index = mark.length; index < headerBytes - 1; index++) {
    const digit = (bytes[index] ?? 0) - 0x30;
    if (digit < 0 || digit > 9) return undefined;
    at = at * 10 + digit;
  }
  return { at, frame: bytes.subarray(headerBytes) };
}

export function isPresence(bytes: Uint8Array): boolean {
  return bytes[0] === presenceMark.charCodeAt(0) && bytes[1] === presenceMark.charCodeAt(1);
}

/** Returns undefined for bytes that are no frame of this room. */
export function unwrapPresence(bytes: Buffer, room: string): JoinLeaveFrame | undefined {
  try {
    const frame = JSON.parse(bytes.toString('utf8', headerBytes)) as JoinLeaveFrame;
    const known = (frame.type === 'join' || frame.type === 'leave') && frame.room === room;
    const isNamed = (member: object | null) => member !== null && ('user' in member || 'connection' in member);
    return known && Array.isArray(frame.members) && frame.members.every(isNamed) ? frame : undefined;
  } catch {
    return undefined;
  }
}
