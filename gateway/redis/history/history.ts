/**
 * The history of rooms in Redis: the arguments and answers of the scripts history/append.lua and history/read.lua.
 *
 * Two keys a room, which share its hash tag: the position, a hash that outlives the messages, and the messages, a stream.
 * One key for all rooms: the line, by which a Redis that has lost writes is found out. What is atomic stands in the scripts;
 * when a room begins a new epoch, in history/room.lua.
 */

import {
  BackplaneError,
  type HistoryPage,
  type HistoryQuery,
  type HistoryRule,
  type KeptMessage,
  type Publication,
  type Published,
  positionTtlMs,
  unusedPositionTtlMs,
} from '../../backplane/backplane.ts';
import type { RedisConnection } from '../connection/connection.ts';
import { type Reply, ReplyError, type Words } from '../connection/resp.ts';
import type { RedisServer } from '../connection/server.ts';
import { readScript } from '../script.ts';

export const lineScript = readScript('script.lua', 'history/line.lua');
export const appendScript = readScript('script.lua', 'history/room.lua', 'history/append.lua');
export const readHistoryScript = readScript('script.lua', 'history/room.lua', 'history/read.lua');

/** Settles the line of the server that is connected; gateway/redis/history/line.lua. */
export function settleLine({ run, promotion, mayHaveLost }: RedisServer, lineKey: string, newName: string): Words {
  return ['EVALSHA', lineScript.sha, 1, lineKey, run, promotion, mayHaveLost ? 1 : 0, newName];
}

/** The keys and names of a script. */
export interface HistoryKeys {
  /** Begins the keys of the room. */
  room: string;
  lineKey: string;
  /** Begins the name of the epoch or line that begins, if one does: never used before. */
  newName: string;
}

/**
 * In one script: few enough not to hold up Redis, which takes some 10 µs for each, and not to fill the buffers of those who
 * are subscribed, as nothing of them is written before it ends. Large messages would win nothing by it.
 */
const maxAppends = 32;
const maxAppendBytes = 16_384;

/** A message to be kept. */
export interface Append {
  publication: Publication;
  /** Of its envelope; the script puts the position behind. */
  header: string;
  rule: HistoryRule;
  /** Begins the keys of the room. */
  room: string;
  channel: string;
  /** Where the message has a key. */
  dedupeKey: string | undefined;
  settle: AppendSettle;
}

/** Called once: with an error, or without one and with the answer. */
export type AppendSettle = (error: BackplaneError | undefined, published: Published | undefined) => void;

/**
 * Messages that one script keeps and publishes, in their order. What Redis does for a script as such is a third of what one
 * message costs it, so those of one turn share one.
 */
export class Appends {
  readonly #keys: string[] = [];
  readonly #rules: HistoryRule[] = [];
  readonly #messages: (string | number)[] = [];
  readonly #settles: AppendSettle[] = [];
  #bytes = 0;

  /** No other message should be added. */
  get isFull(): boolean {
    return this.#settles.length >= maxAppends || this.#bytes >= maxAppendBytes;
  }

  add({ publication, header, rule, room, channel, dedupeKey, settle }: Append): void {
    const { prefix, suffix, known } = publication;
    let ruleNumber = this.#rules.indexOf(rule) + 1;
    if (ruleNumber === 0) ruleNumber = this.#rules.push(rule);
    const [position, messages] = roomKeys(room);
    this.#keys.push(position, messages, dedupeKey ?? position);
    this.#messages.push(known?.epoch ?? '', known?.offset ?? 0, ruleNumber, channel, header, prefix, suffix);
    this.#settles.push(settle);
    this.#bytes += prefix.length + suffix.length;
  }

  command(server: RedisServer, lineKey: string, newName: string, dedupeMs: number): Words {
    const rules = this.#rules.flatMap(({ size, maxBytes, ttlSeconds }) => {
      const ttlMs = ttlSeconds * 1000;
      return [size, maxBytes, ttlMs, Math.max(positionTtlMs, ttlMs)];
    });
    return [
      ...['EVALSHA', appendScript.sha, 1 + this.#keys.length, lineKey, ...this.#keys],
      ...[...opening(server, newName), dedupeMs, this.#rules.length, ...rules, ...this.#messages],
    ];
  }

  /** Takes what Redis answers to the command. `refused` makes an error of what it says of one message. */
  settle(error: BackplaneError | undefined, reply: Reply, refused: (error: ReplyError) => BackplaneError): void {
    const answers = error === undefined ? (reply as Reply[]) : [];
    for (const [index, settle] of this.#settles.entries()) {
      const answer = answers[index];
      if (error !== undefined) settle(error, undefined);
      else if (answer instanceof ReplyError) settle(keptOrNot(answer, refused(answer)), undefined);
      else settle(undefined, published(String(answer)));
    }
  }
}

/** The script may have kept a message that it could not publish: members get it, as soon as their nodes look. */
function keptOrNot(answer: ReplyError, refusal: BackplaneError): BackplaneError {
  if (!answer.message.startsWith('KEPT ')) return refusal;
  return new BackplaneError('timeout', 'Redis keeps the message, but refused to publish it', answer);
}

/** `<epoch> <offset>`; of a duplicate behind a `=`, and nothing else where the first one is from when the room was plain. */
function published(answer: string): Published {
  const duplicate = answer.startsWith('=');
  const space = answer.indexOf(' ');
  const position = { epoch: answer.slice(duplicate ? 1 : 0, space), offset: Number(answer.slice(space + 1)) };
  return { duplicate, position: space === -1 ? undefined : position };
}

/** Reads what is kept of a room. */
export async function readHistory(
  redis: RedisConnection,
  { after, before, limit, maxBytes, known }: HistoryQuery,
  keys: HistoryKeys,
): Promise<HistoryPage> {
  const [epoch, top, base, first, messages] = (await redis.run([
    ...['EVALSHA', readHistoryScript.sha, 3, keys.lineKey, ...roomKeys(keys.room)],
    ...[...opening(redis.server, keys.newName), known?.epoch ?? '', known?.offset ?? 0],
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

function roomKeys(room: string): [position: string, messages: string] {
  return [`${room}:position`, `${room}:messages`];
}

/** The arguments of history/room.lua. */
function opening(server: RedisServer, newName: string): (string | number)[] {
  return [server.run, server.promotion, newName];
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
