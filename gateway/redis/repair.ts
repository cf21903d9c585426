/**
 * Keys of ours that are of another type, because somebody has replaced them. What was in such a key is gone, and every command
 * that needs it fails, until it is gone too. So it is deleted, and all is as if somebody had only deleted it: nodes write again
 * what they know, and tell what they do not.
 *
 * Owns which keys those are, and their types. It hears of errors (gateway/redis/connection/connection.ts) and never knows what
 * failed. Only keys of nodes: a stream that the operator names in GATEWAY_INPUTS_FILE is never touched.
 */
import { type Logger, truncate } from '../telemetry/log.ts';
import { type Reply, ReplyError, type Words } from './connection/resp.ts';
import { readScript } from './script.ts';

export const repairScript = readScript('repair.lua');

/** The ends of all names in gateway/redis/names.ts, and a command that reads keys of that type only. */
const readsOf: readonly [RegExp, command: string][] = [
  [/:key:\[.*\]$/s, 'GET'],
  [/:(counted|outbox:sender)$/, 'GET'],
  [/:(position|line|users|blocks|leases)$/, 'HLEN'],
  // Of all nodes, or of a room.
  [/^[^{}]*:nodes$/, 'HLEN'],
  [/\}:nodes$/, 'SRANDMEMBER'],
  [/:(ended|rooms)$/, 'SRANDMEMBER'],
  [/:members$/, 'ZCARD'],
  [/:(messages|outbox)$/, 'XLEN'],
];

/** Undefined: nodes write no such key. */
export function readOf(key: string): string | undefined {
  return readsOf.find(([name]) => name.test(key))?.[1];
}

/** Of a message, and what is between two keys. A key of a publish may hold any text; then it is the only one. */
const wrongType = 'WRONGTYPE ';
const explanation = ' is of another type than Roomcast gives it';
const between = ' or ';

/** Redis does not say which key of a command is of another type: names those of `words`. Any other error stays as it is. */
export function namingKeys(error: ReplyError, words: Words, isSharded: boolean): ReplyError {
  if (!error.message.includes('WRONGTYPE Operation')) return error;
  // Where EVALSHA has the number of keys: gateway/redis/script.ts.
  const at = isSharded ? 3 : 2;
  const keys = words[0] === 'EVALSHA' ? words.slice(at + 1, at + 1 + Number(words[at])) : words.slice(1, 2);
  return new ReplyError(`${wrongType}${keys.join(between)}${explanation}`);
}

/** The keys in an error like that, which scripts write too (script.lua). None in any other. */
export function wrongKeys(message: string): string[] {
  const from = message.indexOf(wrongType);
  const end = message.indexOf(explanation);
  if (from === -1 || end === -1) return [];
  const named = message.slice(from + wrongType.length, end);
  return (named.includes(':key:[') ? [named] : named.split(between)).filter((key) => readOf(key) !== undefined);
}

export class Repair {
  /** Runs `repairScript`. Rejects with a BackplaneError. */
  readonly #run: (key: string, command: string) => Promise<Reply>;
  readonly #log: Logger;
  readonly #underWay = new Set<string>();

  constructor(run: (key: string, command: string) => Promise<Reply>, log: Logger) {
    this.#run = run;
    this.#log = log;
  }

  /** Redis has refused a command with this message. */
  heard(message: string): void {
    for (const key of wrongKeys(message)) this.#check(key);
  }

  #check(key: string): void {
    const command = readOf(key);
    if (command === undefined || this.#underWay.has(key)) return;
    this.#underWay.add(key);
    this.#run(key, command)
      .then((deleted) => {
        const fields = { reason: truncate(key) };
        if (deleted === 1) this.#log.error(fields, 'a key of another type was deleted; somebody has replaced it');
      })
      // It is refused, or Redis is away: the connection has logged it. The next command that fails tries again.
      .catch(() => undefined)
      .finally(() => this.#underWay.delete(key));
  }
}
