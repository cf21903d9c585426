/**
 * The outbox over Redis Cluster: one stream for each slot. Contract: gateway/backplane/outbox.ts.
 *
 * What is told of a room lies in the slot of the room, so an event is written in the step that changes who is there, and moves
 * with the slot. The node that sends looks through all slots once a second, and takes from those that have events. Owns how many
 * wait in which slot, and what is done but not removed yet. Who sends is a key in the slot of `{control}`.
 * docs/decisions/021-webhooks-in-a-cluster.md.
 */
import { BackplaneError } from '../../backplane/backplane.ts';
import {
  type KeptEvent,
  type NewEvent,
  type Outbox,
  type OutboxListener,
  senderMs,
  type Taken,
} from '../../backplane/outbox.ts';
import type { Logger } from '../../telemetry/log.ts';
import { integerOf, listOf, textOf, textsOf } from '../connection/answer.ts';
import type { Reply } from '../connection/resp.ts';
import { runOn } from '../connection/run.ts';
import { RedisNames, sharedHome } from '../names.ts';
import { appendScript, eventOf, takeScript } from '../outbox/outbox.ts';
import { Telling, type TellingOptions } from '../outbox/telling.ts';
import { readScript } from '../script.ts';
import { ShardConnections } from './connections.ts';
import type { Shards } from './shards.ts';
import { slotOf, tagOf } from './slots.ts';

const scanScript = readScript('outbox/scan.lua');
const partScript = readScript('outbox/part.lua');

/** Of one command. It bounds how long Redis is blocked: 1 ms. */
const slotsPerScan = 512;
/** Between two looks through all slots. Shorter than the pause of a sender (gateway/webhooks/sender.ts). */
const scanMs = 900;
/** By one command. It bounds how long Redis is blocked. */
const mostDropped = 1_000;
const ownSlot = slotOf(sharedHome);

export interface ClusterOutboxOptions extends TellingOptions {
  shards: Shards;
  /** Of every key. */
  prefix: string;
}

export class ClusterOutbox implements Outbox {
  readonly shared = true;
  readonly telling: Telling;
  readonly #options: ClusterOutboxOptions;
  readonly #connections: ShardConnections;
  readonly #log: Logger;
  readonly #names: RedisNames;
  /** By slot, without those that have none, as of the last answer. */
  readonly #waiting = new Map<number, number>();
  /** Entries of a slot that are to be removed. Until then nothing more is taken from it. */
  readonly #done = new Map<number, string[]>();
  #scannedAt = Number.NEGATIVE_INFINITY;

  constructor(options: ClusterOutboxOptions, log: Logger) {
    const { instance, prefix, shards } = options;
    this.#options = options;
    this.#log = log;
    this.#names = new RedisNames(prefix, shards.database, sharedHome);
    this.telling = new Telling(options, (room) => this.#names.outboxOf(slotOf(room)), log);
    this.#connections = new ShardConnections(shards);
    this.#connections.open(
      {
        role: 'webhooks',
        name: `roomcast:webhooks:${instance}`,
        scripts: [appendScript, takeScript, scanScript, partScript],
      },
      { ready: () => undefined, lost: () => undefined, second: () => undefined, removed: () => undefined },
    );
  }

  start(listener: OutboxListener): void {
    this.telling.listener = listener;
    this.#connections.connect();
  }

  /** Events that belong to no room. */
  async append(events: readonly NewEvent[]): Promise<void> {
    const texts = events.flatMap(({ id, at, text }) => [id, at, text]);
    const reply = await runOn(this.#connections.shared, (connection) =>
      connection.evaluation(appendScript, [this.#names.outboxOf(ownSlot)], [this.#options.most, ...texts]),
    );
    this.#dropped(integerOf(reply));
  }

  async take(limit: number, done: readonly string[]): Promise<Taken> {
    for (const place of done) {
      const [slot = '', entry = ''] = place.split(' ');
      this.#isDone(Number(slot), entry);
    }
    const mine = await this.#claim(senderMs);
    await this.#removeDone();
    // Its numbers are old when it is the sender again.
    if (!mine) {
      this.#scannedAt = Number.NEGATIVE_INFINITY;
      return { mine, waiting: 0, events: [] };
    }
    const isDue = performance.now() - this.#scannedAt >= scanMs;
    if (isDue) await this.#scan();
    let events = limit > 0 ? await this.#takeSome(limit) : [];
    if (!isDue && limit > 0 && events.length === 0) {
      await this.#scan();
      events = await this.#takeSome(limit);
    }
    // What is above that is dropped with the next look, and counted then.
    return { mine, waiting: Math.min(this.#total, this.#options.most), events };
  }

  async release(): Promise<void> {
    await this.#claim(0);
  }

  close(): void {
    this.telling.listener = undefined;
    this.#connections.close();
  }

  get #total(): number {
    return [...this.#waiting.values()].reduce((sum, waiting) => sum + waiting, 0);
  }

  /** True if this node is the sender now. */
  async #claim(lifetimeMs: number): Promise<boolean> {
    const keys = [this.#names.outboxOf(ownSlot), this.#names.outboxSender];
    const words = [this.#options.instance, lifetimeMs, 0];
    const reply = await runOn(this.#connections.shared, (connection) => connection.evaluation(takeScript, keys, words));
    return listOf(reply)[1] === 1;
  }

  async #removeDone(): Promise<void> {
    await Promise.all([...this.#done.keys()].map((slot) => this.#takeFrom(slot, 0)));
  }

  /** The first slots that have so many together. Next time others come first. */
  async #takeSome(limit: number): Promise<KeptEvent[]> {
    const parts: Promise<KeptEvent[]>[] = [];
    let left = limit;
    for (const [slot, waiting] of [...this.#waiting]) {
      if (left <= 0) break;
      if (this.#done.has(slot)) continue;
      this.#waiting.delete(slot);
      this.#waiting.set(slot, waiting);
      parts.push(this.#takeFrom(slot, left));
      left -= waiting;
    }
    return (await Promise.all(parts)).flat().slice(0, limit);
  }

  /** None if the slot is away: it is looked at again later. */
  async #takeFrom(slot: number, limit: number, drop = 0): Promise<KeptEvent[]> {
    const done = this.#done.get(slot) ?? [];
    let reply: unknown[];
    try {
      reply = listOf(
        await runOn(this.#connections.ofSlot(slot), (connection) =>
          connection.evaluation(partScript, [this.#names.outboxOf(slot)], [limit, drop, ...done]),
        ),
      );
    } catch (error) {
      if (!(error instanceof BackplaneError)) throw error;
      return [];
    }
    if (this.#done.get(slot) === done) this.#done.delete(slot);
    const [waiting, dropped, entries] = reply as [Reply, Reply, Reply];
    this.#count(slot, integerOf(waiting));
    this.#dropped(integerOf(dropped));
    return listOf(entries).flatMap((each) => {
      const [entry, fields] = listOf(each);
      const kept = eventOf(textOf(entry), listOf(fields));
      if (kept !== undefined) return [{ ...kept, entry: `${slot} ${kept.entry}` }];
      this.#log.warn({ key: this.#names.outboxOf(slot), entry: textOf(entry) }, 'not an event of a node; removed');
      this.#isDone(slot, textOf(entry));
      return [];
    });
  }

  /** Looks through all slots. What a shard that is away has is counted as before. */
  async #scan(): Promise<void> {
    this.#scannedAt = performance.now();
    await Promise.all(this.#connections.slots.map((slots) => this.#scanShard(slots)));
    let excess = this.#total - this.#options.most;
    // From those that have most: a flood in one room costs no other its events.
    for (const [slot, waiting] of [...this.#waiting].sort(([, one], [, other]) => other - one)) {
      for (let left = Math.min(waiting, excess); left > 0; left -= mostDropped) {
        await this.#takeFrom(slot, 0, Math.min(left, mostDropped));
      }
      excess -= waiting;
    }
  }

  /** One command after the other, so that others get their turn. */
  async #scanShard(slots: readonly number[]): Promise<void> {
    const [before = '', behind = ''] = this.#names.outboxOf(0).split(`{${tagOf(0)}}`);
    for (let at = 0; at < slots.length; at += slotsPerScan) {
      const asked = slots.slice(at, at + slotsPerScan);
      try {
        const reply = await runOn(this.#connections.ofSlot(asked[0] ?? 0), (connection) =>
          connection.evaluation(scanScript, [], [`${before}{`, `}${behind}`, ...asked.map(tagOf)]),
        );
        this.#counted(asked, reply);
      } catch (error) {
        if (!(error instanceof BackplaneError)) throw error;
      }
    }
  }

  #counted(asked: readonly number[], reply: Reply): void {
    const [full, unknown] = listOf(reply);
    const flat = listOf(full);
    const numbers = new Map<string, number>();
    for (let index = 0; index < flat.length; index += 2) {
      numbers.set(String(flat[index]), integerOf(flat[index + 1]));
    }
    const isUnknown = new Set(textsOf(unknown));
    for (const slot of asked) if (!isUnknown.has(tagOf(slot))) this.#count(slot, numbers.get(tagOf(slot)) ?? 0);
  }

  #count(slot: number, waiting: number): void {
    if (waiting === 0) this.#waiting.delete(slot);
    else this.#waiting.set(slot, waiting);
  }

  #isDone(slot: number, entry: string): void {
    const before = this.#done.get(slot) ?? [];
    if (!before.includes(entry)) this.#done.set(slot, [...before, entry]);
  }

  #dropped(events: number): void {
    if (events > 0) this.telling.listener?.dropped(events);
  }
}
