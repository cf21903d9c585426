/**
 * The history of rooms in Redis: the arguments and answers of the scripts history-append.lua and history-read.lua.
 *
 * Two keys a room, which share its channel's name and hash tag: the position, a hash that outlives the messages, and the
 * messages, a stream. One key for all rooms: the line, by which a Redis that has lost writes is found out. What is atomic
 * stands in the scripts; when a room begins a new epoch, in history-room.lua.
 */

import {
  type HistoryPage,
  type HistoryQuery,
  type HistoryRule,
  type KeptMessage,
  type Publication,
  type Published,
  positionTtlMs,
  unusedPositionTtlMs,
} from './backplane.ts';
import { keptHeader } from './envelope.ts';
import { type RedisConnection, readScript } from './redis-connection.ts';
import type { Reply, Words } from './resp.ts';

export const appendScript = readScript('history-room.lua', 'history-append.lua');
export const readHistoryScript = readScript('history-room.lua', 'history-read.lua');

/** The keys and names of a script. */
export interface HistoryKeys {
  channel: string;
  lineKey: string;
  /** Names the epoch or line that begins, if one does: never used before. */
  newName: string;
}

export interface AppendOptions extends HistoryKeys {
  /** Where the message has a key. */
  dedupeKey: string | undefined;
  dedupeMs: number;
}

/** Keeps and publishes a message of a room with history. */
export function appendCommand(
  redis: RedisConnection,
  { prefix, suffix, at, known }: Publication,
  { size, maxBytes, ttlSeconds }: HistoryRule,
  options: AppendOptions,
): Words {
  const { channel, dedupeKey, dedupeMs, newName } = options;
  const keys = [...keysOf(options), ...(dedupeKey === undefined ? [] : [dedupeKey])];
  const ttlMs = ttlSeconds * 1000;
  return [
    ...['EVALSHA', appendScript.sha, keys.length, ...keys],
    ...opening(redis, newName, known),
    ...[channel, keptHeader(at), prefix, suffix],
    ...[size, maxBytes, ttlMs, Math.max(positionTtlMs, ttlMs), dedupeMs],
  ];
}

/** What Redis answers to `appendCommand`. */
export function appended(reply: Reply): Published {
  const [kept, epoch, offset] = reply as [number, Buffer, Buffer];
  return {
    duplicate: kept === 0,
    // The first one of a key may be from a time when the room was a plain one.
    position: epoch.length === 0 ? undefined : { epoch: String(epoch), offset: Number(offset) },
  };
}

/** Reads what is kept of a room. */
export async function readHistory(
  redis: RedisConnection,
  { after, before, limit, maxBytes, known }: HistoryQuery,
  keys: HistoryKeys,
): Promise<HistoryPage> {
  const [epoch, top, base, first, messages] = (await redis.run([
    ...['EVALSHA', readHistoryScript.sha, 3, ...keysOf(keys)],
    ...opening(redis, keys.newName, known),
    ...[epochAsked(after), after?.offset ?? 0, before ?? Number.MAX_SAFE_INTEGER, limit, maxBytes],
    ...[positionTtlMs, unusedPositionTtlMs],
  ])) as [Buffer, Buffer, Buffer, Buffer, Buffer[]];
  return {
    epoch: epoch.toString(),
    top: Number(top.toString()),
    base: Number(base.toString()),
    first: Number(first.toString()),
    messages: pairs(messages),
  };
}

function keysOf({ channel, lineKey }: HistoryKeys): string[] {
  return [`${channel}:position`, `${channel}:messages`, lineKey];
}

/** The arguments of history-room.lua. */
function opening({ server }: RedisConnection, newName: string, known: HistoryQuery['known']): (string | number)[] {
  return [server.run, server.mayHaveLost ? 1 : 0, newName, known?.epoch ?? '', known?.offset ?? 0];
}

/** An epoch may come from a client, so it must not be taken for one of the two marks. */
function epochAsked(after: HistoryQuery['after']): string {
  if (after === undefined) return '';
  return after.epoch === undefined ? '*' : `=${after.epoch}`;
}

function pairs(flat: Buffer[]): KeptMessage[] {
  const messages: KeptMessage[] = [];
  for (let index = 0; index + 1 < flat.length; index += 2) {
    const [offset, frame] = [flat[index], flat[index + 1]];
    if (offset !== undefined && frame !== undefined) messages.push({ offset: Number(offset.toString()), frame });
  }
  return messages;
}
