/**
 * A stream of the operator's backend, as one consumer group reads it: one node at a time, in order.
 *
 * Which node, is a key with a lifetime beside the stream: that of a run of a node. Acknowledging, parking, taking the place of
 * the reader and reading are one step (turn.lua), so no entry goes to a node that has lost its place. It has a connection of its
 * own, to a Redis that need not be that of the nodes. It never knows what is in an entry. Next: gateway/inputs/stream-source.ts.
 */
import { deferred } from '../../../shared/deferred.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { RedisAddress } from '../connection/address.ts';
import { integerOf, listOf, textOf } from '../connection/answer.ts';
import type { RedisConnection } from '../connection/connection.ts';
import { RedisConnections } from '../connection/connections.ts';
import { type Reply, ReplyError } from '../connection/resp.ts';
import { readScript } from '../script.ts';

const turnScript = readScript('inputs/turn.lua');

/** So long after its last turn a reader that was killed is replaced. */
export const readerMs = 5_000;
/** Entries in the stream of parked ones, about; the oldest go. */
export const maxParked = 10_000;
/** Of the entries of one turn; it reads up to ten entries beyond. */
export const maxTurnBytes = 8_388_608;

export interface StreamOptions {
  address: RedisAddress;
  stream: string;
  group: string;
  /** This run of this node, unique. */
  instance: string;
}

export interface StreamEntry {
  id: string;
  fields: Map<string, Buffer>;
}

/** Entries that need not be read again. */
export interface Settled {
  done: readonly string[];
  parked: readonly { id: string; reason: string }[];
}

export interface StreamTurn {
  /** This node is the reader: no, still, or since this turn. */
  mine: 'no' | 'still' | 'newly';
  /** Entries that are not acknowledged; undefined where Redis does not count them (before 7.0, or after XDEL). */
  lag: number | undefined;
  /** The last entry that the group has read. */
  last: string;
  /** For the next turn: where to go on among entries that were left. '': there are none. */
  from: string;
  entries: StreamEntry[];
}

export class RedisStream {
  readonly #connection: RedisConnection;
  readonly #options: StreamOptions;
  readonly #keys: readonly string[];
  readonly #ready = deferred();

  constructor(options: StreamOptions, log: Logger) {
    const { address, group, instance, stream } = options;
    this.#options = options;
    this.#keys = [stream, `${stream}:${group}:reader`, `${stream}:${group}:parked`];
    this.#connection = new RedisConnections(address, log).add({
      role: 'inputs',
      name: `roomcast:inputs:${instance}`,
      scripts: [turnScript],
      onReady: () => this.#ready.resolve(),
      onLost: () => undefined,
    });
  }

  /** Connects, and connects again until `close`. Resolves when it was there once. */
  connect(): Promise<void> {
    this.#connection.connect();
    return this.#ready.promise;
  }

  /** Why it cannot be reached. Means nothing while it can. */
  get trouble(): string {
    return this.#connection.trouble;
  }

  /**
   * Settles entries. Then takes the place of the reader or keeps it, for `readerMs` from now on, unless another node has it, and
   * reads at most `limit` entries of about `maxTurnBytes`: from `from` on those that were left, or new ones. Rejects with a BackplaneError.
   */
  async turn(limit: number, from: string, settled: Settled): Promise<StreamTurn> {
    const reply = await this.#run(readerMs, limit, from, settled);
    const [mine, lag, last, next, entries] = listOf(reply);
    const held = integerOf(mine);
    const counted = integerOf(lag);
    return {
      mine: held === 0 ? 'no' : held === 1 ? 'still' : 'newly',
      lag: counted < 0 ? undefined : counted,
      last: textOf(last),
      from: textOf(next),
      entries: listOf(entries).map(entryOf),
    };
  }

  /** Resolves when there may be an entry behind `last`, or after `ms`. Rejects with a BackplaneError. */
  async wait(last: string, ms: number): Promise<void> {
    const { stream } = this.#options;
    await this.#connection.run(['XREAD', 'COUNT', 1, 'BLOCK', ms, 'STREAMS', stream, last]);
  }

  /** Settles entries, and gives the place of the reader up. */
  async release(settled: Settled): Promise<void> {
    await this.#run(0, 0, '', settled);
  }

  close(): void {
    this.#connection.close();
  }

  #run(lifetimeMs: number, limit: number, from: string, { done, parked }: Settled): Promise<Reply> {
    const { group, instance } = this.#options;
    const words = [group, instance, lifetimeMs, limit, from, maxParked, maxTurnBytes, done.length, ...done];
    const reasons = parked.flatMap(({ id, reason }) => [id, reason]);
    return this.#connection.run(this.#connection.evaluation(turnScript, this.#keys, [...words, ...reasons]));
  }
}

function entryOf(reply: Reply): StreamEntry {
  const [id, flat] = listOf(reply);
  const fields = new Map<string, Buffer>();
  const values = listOf(flat);
  for (let index = 0; index + 1 < values.length; index += 2) {
    const value = values[index + 1];
    if (value instanceof ReplyError || !(value instanceof Buffer)) continue;
    fields.set(textOf(values[index]), value);
  }
  return { id: textOf(id), fields };
}
