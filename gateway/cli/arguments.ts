/** Arguments and options of the command line, from text to values. Pure functions; each throws a WrongUse with a sentence. */
import type { Position } from '../../shared/protocol.ts';
import { isRoomName, roomNameRule } from '../../shared/room.ts';
import { isUrlOf } from '../../shared/url.ts';
import { isUserName, maxUserBytes } from '../auth/grants.ts';
import { WrongUse } from './failure.ts';

export function readRoom(text: string): string {
  if (isRoomName(text)) return text;
  throw new WrongUse(`A room name has ${roomNameRule}.`);
}

export function readUser(text: string): string {
  if (isUserName(text)) return text;
  throw new WrongUse(`A user has 1 to ${maxUserBytes} bytes of valid Unicode.`);
}

/** Of a gateway. */
export function readEndpoint(text: string): string {
  if (isUrlOf(text, 'ws', 'wss')) return text;
  throw new WrongUse('It must be a URL that begins with ws:// or wss://, for instance wss://example.com/ws.');
}

/** Of the admin port of a node. */
export function readApiUrl(text: string): string {
  if (isUrlOf(text, 'http', 'https') && !/[?#@]/.test(text)) return text;
  throw new WrongUse('It must be a URL that begins with http:// or https://, for instance http://127.0.0.1:8081.');
}

export function readPosition(text: string): Position {
  const [, epoch = '', offset = ''] = /^(.{1,64}):(\d{1,15})$/.exec(text) ?? [];
  if (epoch !== '') return { epoch, offset: Number(offset) };
  throw new WrongUse('It must be an epoch, a colon and an offset, as `tail` prints them: 5f2c9a:120.');
}

/** `20000`, `20_000`, `20k`, `0.02M`, `2e4`. */
export function readNumber(text: string, least: number, most: number): number {
  const [, digits = '', unit = ''] = /^([\d_.]+(?:e\d+)?)([kM]?)$/.exec(text) ?? [];
  const value = Number(digits.replaceAll('_', '') || Number.NaN) * { '': 1, k: 1e3, M: 1e6 }[unit as '' | 'k' | 'M'];
  if (value >= least && value <= most) return value;
  throw new WrongUse(`It must be a number from ${least} to ${most}.`);
}

export function readWholeNumber(text: string, least: number, most: number): number {
  const value = readNumber(text, least, most);
  if (Number.isInteger(value)) return value;
  throw new WrongUse('It must be a whole number.');
}
