/**
 * The outbox over Redis: a stream of all nodes. Contract: gateway/backplane/outbox.ts.
 *
 * The scripts of presence and occupancy append to it themselves (`telling`). It takes events out on a connection of its own, so
 * that no batch delays a message or a write of presence. Who sends is a key with a lifetime: that of a run of a node.
 */
import {
  type KeptEvent,
  type NewEvent,
  type Outbox,
  type OutboxListener,
  senderMs,
  type Taken,
} from '../../backplane/outbox.ts';
import type { Logger } from '../../telemetry/log.ts';
import { integerOf, listOf, textOf } from '../connection/answer.ts';
import type { RedisConnection } from '../connection/connection.ts';
import type { RedisConnections } from '../connection/connections.ts';
import type { Reply, Words } from '../connection/resp.ts';
import { RedisNames } from '../names.ts';
import { readScript } from '../script.ts';
import { Telling, type TellingOptions } from './telling.ts';

export const appendScript = readScript('outbox/append.lua');
export const takeScript = readScript('outbox/take.lua');

export interface RedisOutboxOptions extends TellingOptions {
  redis: RedisConnections;
  /** Of every key. */
  prefix: string;
}

export class RedisOutbox implements Outbox {
  readonly shared = true;
  readonly telling: Telling;
  readonly #options: RedisOutboxOptions;
  readonly #connection: RedisConnection;
  readonly #log: Logger;
  readonly #key: string;
  readonly #sender: string;
  /** Entries that no node wrote. */
  readonly #foreign: string[] = [];

  constructor(options: RedisOutboxOptions, log: Logger) {
    const { instance, prefix, redis } = options;
    this.#options = options;
    this.#log = log;
    const names = new RedisNames(prefix, redis.database);
    this.#key = names.outbox;
    this.#sender = names.outboxSender;
    this.telling = new Telling(options, () => this.#key, log);
    this.#connection = redis.add({
      role: 'webhooks',
      name: `roomcast:webhooks:${instance}`,
      scripts: [appendScript, takeScript],
      onReady: () => undefined,
      onLost: () => undefined,
    });
  }

  start(listener: OutboxListener): void {
    this.telling.listener = listener;
    this.#connection.connect();
  }

  async append(events: readonly NewEvent[]): Promise<void> {
    const texts = events.flatMap(({ id, at, text }) => [id, at, text]);
    const words = this.#connection.evaluation(appendScript, [this.#key], [this.#options.most, ...texts]);
    const dropped = integerOf(await this.#connection.run(words));
    if (dropped > 0) this.telling.listener?.dropped(dropped);
  }

  async take(limit: number, done: readonly string[]): Promise<Taken> {
    const reply = await this.#connection.run(this.#turn(senderMs, limit, done));
    const [waiting, mine, entries] = listOf(reply);
    const events = listOf(entries).flatMap((each) => {
      const [entry, fields] = listOf(each);
      return eventOf(textOf(entry), listOf(fields)) ?? this.#skip(textOf(entry));
    });
    return { mine: mine === 1, waiting: integerOf(waiting) - this.#foreign.length, events };
  }

  async release(): Promise<void> {
    await this.#connection.run(this.#turn(0, 0, []));
  }

  close(): void {
    this.telling.listener = undefined;
    this.#connection.close();
  }

  /** It is removed with the next turn. */
  #skip(entry: string): [] {
    this.#log.warn({ key: this.#key, entry }, 'not an event of a node; removed');
    this.#foreign.push(entry);
    return [];
  }

  #turn(lifetimeMs: number, limit: number, done: readonly string[]): Words {
    const words = [this.#options.instance, lifetimeMs, limit, ...done, ...this.#foreign.splice(0)];
    return this.#connection.evaluation(takeScript, [this.#key, this.#sender], words);
  }
}

/** An entry begins with the Unix ms at which Redis took it. Undefined: no node wrote it. */
export function eventOf(entry: string, flat: Reply[]): KeptEvent | undefined {
  const fields = new Map<string, string>();
  for (let index = 0; index < flat.length; index += 2) fields.set(String(flat[index]), String(flat[index + 1]));
  const at = Number(fields.get('at') ?? entry.slice(0, entry.indexOf('-')));
  const [id, text] = [fields.get('id'), fields.get('event')];
  return id === undefined || text === undefined ? undefined : { entry, id, at, text };
}
