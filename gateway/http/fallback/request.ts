/**
 * What a request of the fallback asks for: its room, the position to resume from, and how long to wait. Pure functions.
 */
import type { Position } from '../../../shared/protocol.ts';
import { isRoomName, roomNameRule } from '../../../shared/room.ts';
import type { HandshakeRequest } from '../handshake.ts';

const maxEpochCharacters = 64;
/** Less than the 30 s after which HAProxy (deploy/haproxy/haproxy.cfg) and many proxies give up. */
const longestWaitSeconds = 25;

/** A segment of the path becomes the name of a room. It is decoded once. Throws a TypeError for the client. */
export function readRoom(segment: string): string {
  const room = decode(segment);
  if (!isRoomName(room)) {
    throw new TypeError(`The path must have the percent-encoded name of a room, ${roomNameRule}.`);
  }
  return room;
}

function decode(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch {
    // Not valid percent-encoding, or not UTF-8: no name of a room.
    return undefined;
  }
}

/**
 * The position after which the client resumes, as `<epoch>:<offset>`. The header wins: EventSource sends the newest
 * position there, with the URL that it was made with. Throws a TypeError for the client.
 */
export function readSince({ headers, query }: HandshakeRequest): Position | undefined {
  const lastEventIds = headers.get('last-event-id');
  if (lastEventIds !== undefined && lastEventIds.length > 1) throw new TypeError('Send one Last-Event-ID.');
  const text = lastEventIds?.[0] ?? new URLSearchParams(query).get('since') ?? '';
  if (text === '') return undefined;
  const [, epoch = '', digits = ''] = /^(.+):(\d{1,16})$/s.exec(text) ?? [];
  const offset = Number(digits);
  if (epoch === '' || epoch.length > maxEpochCharacters || !Number.isSafeInteger(offset)) {
    throw new TypeError('since and Last-Event-ID must be the id of an event, <epoch>:<offset>.');
  }
  return { epoch, offset };
}

/** How long a poll waits. Throws a TypeError for the client. */
export function readWaitMs({ query }: HandshakeRequest): number {
  const text = new URLSearchParams(query).get('wait') ?? String(longestWaitSeconds);
  if (!/^\d{1,2}$/.test(text) || Number(text) > longestWaitSeconds) {
    throw new TypeError(`wait must be a whole number of seconds, from 0 to ${longestWaitSeconds}.`);
  }
  return Number(text) * 1000;
}
