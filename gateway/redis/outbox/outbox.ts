/**
 * The outbox over Redis: a stream of all nodes. Contract: gateway/backplane/outbox.ts.
 *
 * The scripts of presence and occupancy append to it themselves, in the step that changes who is there; it gives them the
 * words for that (`telling`), and hears what became of it (`told`). It takes events out on a connection of its own, so that
 * no batch delays a message or a write of presence. Who sends is a key with a lifetime: that of a run of a node.
 */
import {
  type EventType,
  type KeptEvent,
  type NewEvent,
  type Outbox,
  type OutboxListener,
  senderMs,
  type Taken,
} from '../../backplane/outbox.ts';
import { type Logger, truncate } from '../../telemetry/log.ts';
import { integerOf, listOf, textOf } from '../connection/answer.ts';
import type { RedisConnection } from '../connection/connection.ts';
import type { RedisConnections } from '../connection/connections.ts';
import type { Reply, Words } from '../connection/resp.ts';
import { RedisNames } from '../names.ts';
import { readScript } from '../script.ts';

const appendScript = readScript('outbox/append.lua');
const takeScript = readScript('outbox/take.lua');

export interface RedisOutboxOptions {
  redis: RedisConnections;
  /** Of every key. */
  prefix: string;
  /** This run of this node, unique. */
  instance: string;
  /** Of the events that stores tell. */
  types: Iterable<EventType>;
  /** Events that are kept. */
  most: number;
}

/** What a script needs to append events: its last key, and arguments. */
export interface Telling {
  keys: readonly string[];
  /** The types that are wanted, separated by spaces; the prefix of their ids; events kept. */
  words: readonly [types: string, prefix: string, most: number];
}

export const tellNothing: Telling = { keys: [], words: ['', '', 0] };

export class RedisOutbox implements Outbox {
  readonly shared = true;
  readonly #options: RedisOutboxOptions;
  readonly #connection: RedisConnection;
  readonly #log: Logger;
  readonly #types: ReadonlySet<EventType>;
  readonly #key: string;
  readonly #sender: string;
  #listener: OutboxListener | undefined;
  /** Runs of scripts that may tell something. */
  #writes = 0;
  /** Entries that no node wrote. */
  readonly #foreign: string[] = [];

  constructor(options: RedisOutboxOptions, log: Logger) {
    const { instance, prefix, redis, types } = options;
    this.#options = options;
    this.#log = log;
    this.#types = new Set(types);
    const names = new RedisNames(prefix, redis.database);
    this.#key = names.outbox;
    this.#sender = names.outboxSender;
    this.#connection = redis.add({
      role: 'webhooks',
      name: `roomcast:webhooks:${instance}`,
      scripts: [appendScript, takeScript],
      onReady: () => undefined,
      onLost: () => undefined,
    });
  }

  start(listener: OutboxListener): void {
    this.#listener = listener;
    this.#connection.connect();
  }

  /** For one run of a script that may tell events of these types. */
  telling(...types: EventType[]): Telling {
    const wanted = types.filter((type) => this.#types.has(type));
    if (wanted.length === 0) return tellNothing;
    const prefix = `${this.#options.instance}-${++this.#writes}-`;
    return { keys: [this.#key], words: [wanted.join(' '), prefix, this.#options.most] };
  }

  /** What a script says of the events that it told. */
  told(dropped: number, refusal: string): void {
    if (dropped === 0) return;
    if (refusal !== '') {
      this.#log.error({ key: this.#key, error: truncate(refusal) }, 'redis refused an event for the webhook');
    }
    this.#listener?.dropped(dropped);
  }

  async append(events: readonly NewEvent[]): Promise<void> {
    const texts = events.flatMap(({ id, at, text }) => [id, at, text]);
    const words = this.#connection.evaluation(appendScript, [this.#key], [this.#options.most, ...texts]);
    this.told(integerOf(await this.#connection.run(words)), '');
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
    this.#listener = undefined;
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
function eventOf(entry: string, flat: Reply[]): KeptEvent | undefined {
  const fields = new Map<string, string>();
  for (let index = 0; index < flat.length; index += 2) fields.set(String(flat[index]), String(flat[index + 1]));
  const at = Number(fields.get('at') ?? entry.slice(0, entry.indexOf('-')));
  const [id, text] = [fields.get('id'), fields.get('event')];
  return id === undefined || text === undefined ? undefined : { entry, id, at, text };
}
