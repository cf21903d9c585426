/**
 * What a node did for a piece of work, seen from outside: its system calls, what Redis was asked for, and how much memory
 * it took for objects.
 *
 * Objects are what the heap grew by, so the node is started with room for all of them before the first collection; if
 * one happens nevertheless, they were more than any budget allows. It is also told not to optimize, so that the count does
 * not depend on when V8 gets round to it. A node's timers make objects too, some 100 kB a second, so objects are counted while
 * the work is done once more at full speed: strace makes it take several times as long.
 */
import { Redis } from 'ioredis';
import { scrape } from '../integration/admin.ts';
import { onCleanup } from '../support/cleanup.ts';
import type { SpawnedNode } from '../support/node.ts';
import { countSystemCalls, type SystemCalls } from './system-calls.ts';

/** For Node: all objects of a piece of work stay in the young generation. */
export const meterFlags = ['--min-semi-space-size=128', '--max-semi-space-size=128', '--no-opt'];

/** The least of so many times is what it costs to ask. */
const timesAsked = 3;

export interface Counts extends SystemCalls {
  /** To Redis, those that its scripts made included. */
  commands: number;
  /** To Redis. */
  redisBytes: number;
  /** Of objects, on the heap of V8. */
  heapBytes: number;
}

interface Reading {
  commands: number;
  redisBytes: number;
  heapBytes: number;
  collections: number;
}

export class Meter {
  readonly #node: SpawnedNode;
  readonly #redis: Redis;
  #asking: Counts | undefined;

  constructor(node: SpawnedNode, redisUrl: string) {
    this.#node = node;
    this.#redis = new Redis(redisUrl);
    onCleanup(() => this.#redis.disconnect());
  }

  /** What the node did until `work` was done, without what it takes to ask. The work is done twice. */
  async measure(work: () => Promise<unknown>): Promise<Counts> {
    this.#asking ??= await this.#costOfAsking();
    return combine(await this.#count(work), this.#asking, (spent, asking) => spent - asking);
  }

  async #costOfAsking(): Promise<Counts> {
    const nothing = async () => undefined;
    let least = await this.#count(nothing);
    for (let time = 1; time < timesAsked; time++) least = combine(least, await this.#count(nothing), Math.min);
    return least;
  }

  async #count(work: () => Promise<unknown>): Promise<Counts> {
    const heapBytes = await this.#countObjects(work);
    const before = await this.#read();
    const counted = await countSystemCalls(this.#node.pid);
    await work();
    const calls = await counted();
    const after = await this.#read();
    return {
      ...calls,
      commands: after.commands - before.commands,
      redisBytes: after.redisBytes - before.redisBytes,
      heapBytes,
    };
  }

  async #countObjects(work: () => Promise<unknown>): Promise<number> {
    const before = await this.#read();
    await work();
    const after = await this.#read();
    return after.collections > before.collections ? Number.POSITIVE_INFINITY : after.heapBytes - before.heapBytes;
  }

  async #read(): Promise<Reading> {
    const [stats, commandStats] = [await this.#redis.info('stats'), await this.#redis.info('commandstats')];
    const series = await scrape(this.#node);
    let collections = 0;
    for (const [name, value] of series) if (name.startsWith('nodejs_gc_duration_seconds_count')) collections += value;
    return {
      commands: commandsIn(commandStats),
      redisBytes: Number(/total_net_input_bytes:(\d+)/.exec(stats)?.[1]),
      heapBytes: series.get('nodejs_heap_size_used_bytes') ?? 0,
      collections,
    };
  }
}

/** INFO is our own. */
function commandsIn(commandStats: string): number {
  let commands = 0;
  for (const [, name, calls] of commandStats.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)) {
    if (name !== 'info') commands += Number(calls);
  }
  return commands;
}

function combine(one: Counts, other: Counts, by: (one: number, other: number) => number): Counts {
  const names = Object.keys(one) as (keyof Counts)[];
  return Object.fromEntries(names.map((name) => [name, by(one[name], other[name])])) as unknown as Counts;
}
