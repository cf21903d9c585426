/**
 * The commands of history in Redis: arguments and replies of the scripts in gateway/redis/history/.
 *
 * Each room has two keys with one hash tag: the position, a hash that outlives the messages, and the messages, a stream. All
 * rooms, or in a cluster those of a slot, share one key: the line of writes, which shows whether Redis lost writes
 * (history/line.lua). When a room begins a new epoch: history/room.lua.
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
import { bytesOf, integerIn, listOf, textOf, unexpected } from '../connection/answer.ts';
import type { RedisConnection } from '../connection/connection.ts';
import { type Reply, ReplyError, type Words } from '../connection/resp.ts';
import type { RedisServer } from '../connection/server-info.ts';
import { readScript } from '../script.ts';

export const lineScript = readScript('script.lua', 'history/line.lua');
export const appendScript = readScript('script.lua', 'history/room.lua', 'history/append.lua');
export const readHistoryScript = readScript('script.lua', 'history/room.lua', 'history/read.lua');

/** The arguments of history/line.lua for the connected server. `whole`: others, from which slots may have come. */
export function lineArguments(
  { run, promotion, mayHaveLost }: RedisServer,
  newName: string,
  whole: readonly RedisServer[],
): Words {
  return [run, promotion, mayHaveLost ? 1 : 0, newName, ...whole.flatMap((server) => [server.run, server.promotion])];
}

export interface HistoryKeys {
  /** Prefix of the keys of the room. */
  room: string;
  lineKey: string;
  /** For an epoch or a line, should one begin. Never used before. */
  newName: string;
}

/**
 * Bounds of one script, in messages and in UTF-16 units of frames. Redis takes about 10 µs for each message, and writes
 * nothing to subscribers before the script ends. Large messages gain nothing from a batch.
 */
const maxBatchMessages = 32;
const maxBatchLength = 16_384;

/** A message to be kept. */
export interface Append {
  publication: Publication;
  /** Of its envelope. The script appends the position. */
  header: string;
  rule: HistoryRule;
  /** Prefix of the keys of the room. */
  room: string;
  line: string;
  channel: string;
  /** Undefined: the message has no key. */
  dedupeKey: string | undefined;
  settle: AppendSettle;
}

/** Called once, with an error or with the outcome. */
export type AppendSettle = (error: BackplaneError | undefined, published: Published | undefined) => void;

/**
 * A batch: messages that one script keeps and publishes, in their order. Starting a script costs Redis a third of what a
 * message alone in its script costs (docs/decisions/008-one-script-for-a-turn.md).
 */
export class AppendBatch {
  readonly #keys: string[] = [];
  /** Rules, each with its line. */
  readonly #rules: { rule: HistoryRule; line: string }[] = [];
  readonly #messages: (string | number)[] = [];
  readonly #settles: AppendSettle[] = [];
  #length = 0;

  /** Add no more messages. */
  get isFull(): boolean {
    return this.#settles.length >= maxBatchMessages || this.#length >= maxBatchLength;
  }

  add({ publication, header, rule, room, line, channel, dedupeKey, settle }: Append): void {
    const { prefix, suffix, lastSeen } = publication;
    let ruleNumber = this.#rules.findIndex((each) => each.rule === rule && each.line === line) + 1;
    if (ruleNumber === 0) ruleNumber = this.#rules.push({ rule, line });
    const [position, messages] = roomKeys(room);
    this.#keys.push(position, messages, dedupeKey ?? position);
    this.#messages.push(lastSeen?.epoch ?? '', lastSeen?.offset ?? 0, ruleNumber, channel, header, prefix, suffix);
    this.#settles.push(settle);
    this.#length += prefix.length + suffix.length;
  }

  command(connection: RedisConnection, newName: string, dedupeMs: number): Words {
    const { run, promotion } = connection.server;
    const values: (string | number)[] = [run, promotion, newName, dedupeMs, this.#rules.length];
    const first = this.#keys.length;
    for (const { rule, line } of this.#rules) {
      const ttlMs = rule.ttlSeconds * 1000;
      let at = this.#keys.indexOf(line, first);
      if (at === -1) at = this.#keys.push(line) - 1;
      values.push(rule.size, rule.maxBytes, ttlMs, Math.max(positionTtlMs, ttlMs), at + 1);
    }
    for (const word of this.#messages) values.push(word);
    return connection.evaluation(appendScript, this.#keys, values);
  }

  /** Takes the reply to the command. `refused` turns the error of one message into a BackplaneError. */
  settle(error: BackplaneError | undefined, reply: Reply, refused: (error: ReplyError) => BackplaneError): void {
    const answers = Array.isArray(reply) && reply.length === this.#settles.length ? reply : [];
    let index = 0;
    for (const settle of this.#settles) {
      const answer = answers[index++];
      const outcome = answer instanceof Buffer ? published(String(answer)) : undefined;
      if (error !== undefined) settle(error, undefined);
      else if (answer instanceof ReplyError) settle(keptOrNot(answer, refused(answer)), undefined);
      else settle(outcome === undefined ? unexpected() : undefined, outcome);
    }
  }
}

/** KEPT: the script kept the message, and Redis refused the PUBLISH. Nodes find it by their next probe of the room. */
function keptOrNot(answer: ReplyError, refusal: BackplaneError): BackplaneError {
  if (!answer.message.startsWith('KEPT ')) return refusal;
  return new BackplaneError('timeout', 'Redis kept the message, and refused to publish it', answer);
}

/** `<epoch> <offset>`. Of a duplicate: `=` and the position of the first; `=` alone if the room was plain at that time. */
function published(answer: string): Published | undefined {
  if (answer === '=') return { duplicate: true, position: undefined };
  // Hot path: the groups of a match would be objects.
  if (!/^=?[^ ]+ \d{1,16}$/.test(answer)) return undefined;
  const duplicate = answer.startsWith('=');
  const space = answer.indexOf(' ');
  const position = { epoch: answer.slice(duplicate ? 1 : 0, space), offset: Number(answer.slice(space + 1)) };
  return { duplicate, position };
}

/** Runs history/read.lua. */
export async function readHistory(
  redis: RedisConnection,
  { after, before, limit, maxBytes, lastSeen }: HistoryQuery,
  keys: HistoryKeys,
): Promise<HistoryPage> {
  const words = [
    ...[...serverArguments(redis.server, keys.newName), lastSeen?.epoch ?? '', lastSeen?.offset ?? 0],
    ...[epochAsked(after), after?.offset ?? 0, before ?? Number.MAX_SAFE_INTEGER, limit, maxBytes],
    ...[positionTtlMs, unusedPositionTtlMs],
  ];
  const command = redis.evaluation(readHistoryScript, [keys.lineKey, ...roomKeys(keys.room)], words);
  const [epoch, top, base, first, messages] = listOf(await redis.run(command));
  return {
    epoch: textOf(epoch),
    top: integerIn(top),
    base: integerIn(base),
    first: integerIn(first),
    messages: pairs(listOf(messages)),
  };
}

function roomKeys(room: string): [position: string, messages: string] {
  return [`${room}:position`, `${room}:messages`];
}

/** The first arguments of each script: history/room.lua. */
function serverArguments(server: RedisServer, newName: string): (string | number)[] {
  return [server.run, server.promotion, newName];
}

/** `=` before an epoch, which may come from a client: it is never taken for one of the two marks. */
function epochAsked(after: HistoryQuery['after']): string {
  if (after === undefined) return '';
  return after.epoch === undefined ? '*' : `=${after.epoch}`;
}

function pairs(flat: Reply[]): KeptMessage[] {
  const messages: KeptMessage[] = [];
  for (let index = 0; index + 1 < flat.length; index += 2) {
    messages.push({ offset: integerIn(flat[index]), frame: bytesOf(flat[index + 1]) });
  }
  return messages;
}
