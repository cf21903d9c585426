/**
 * The queue of messages to be kept: one script for all of a turn of the event loop, and with ACK=replicated one WAIT behind it.
 *
 * Owns the batch of this turn, the WAIT in flight, and whether the line of writes is settled. The scripts' arguments are
 * gateway/redis/history/commands.ts.
 */
import { randomBytes } from 'node:crypto';
import { BackplaneError, type HistoryPage, type HistoryQuery } from '../../backplane/backplane.ts';
import type { RedisConnection } from '../connection/connection.ts';
import type { RedisNames } from '../names.ts';
import { type Append, AppendBatch, readHistory, settleLine } from './commands.ts';

/** Timeout of WAIT. Shorter than the watchdog of the connection. */
const replicationTimeoutMs = 1_000;

export class HistoryQueue {
  readonly #connection: RedisConnection;
  readonly #names: RedisNames;
  readonly #dedupeMs: number;
  /** Of this turn. */
  #batch: AppendBatch | undefined;
  /** The WAIT in flight; settled if there is none. */
  #replicating: Promise<unknown> = Promise.resolve();
  /** The WAIT behind it. Covers everything that is written before it is sent. */
  #nextReplication: Promise<void> | undefined;
  /** Part of each name that this node gives (to epochs, for one): unique for each process. */
  readonly #run = randomBytes(6).toString('base64url');
  #namesGiven = 0;
  #lineSettled = false;

  constructor(connection: RedisConnection, names: RedisNames, dedupeMs: number) {
    this.#connection = connection;
    this.#names = names;
    this.#dedupeMs = dedupeMs;
  }

  /** False until Redis has executed history/line.lua. It does not while it refuses writes. */
  get lineSettled(): boolean {
    return this.#lineSettled;
  }

  /** Call it first on each new connection. `probe` repeats it while Redis refuses it. */
  settleLine(): void {
    this.#lineSettled = false;
    const { server } = this.#connection;
    this.#connection.send(settleLine(server, this.#names.line, this.#newName()), (error) => {
      this.#lineSettled = error === undefined && server === this.#connection.server;
    });
  }

  add(append: Append): void {
    if (this.#batch === undefined) {
      this.#batch = new AppendBatch();
      setImmediate(() => this.flush());
    }
    this.#batch.add(append);
    if (this.#batch.isFull) this.flush();
  }

  /** Writes the batch of this turn. */
  flush(): void {
    const batch = this.#batch;
    if (batch === undefined) return;
    this.#batch = undefined;
    this.#write(batch, this.#dedupeMs);
    this.#connection.flush();
  }

  /** Keeps a message alone, with a dedupe time of 1 ms: shows whether Redis executes all commands of the script. */
  probe(append: Append): void {
    if (!this.#lineSettled) this.settleLine();
    const alone = new AppendBatch();
    alone.add(append);
    this.#write(alone, 1);
  }

  /** Resolves when a replica has everything written up to now. Rejects with `timeout`. */
  replicated(): Promise<void> {
    // WAIT blocks the connection: one at a time, for everything before it.
    this.#nextReplication ??= this.#replicating.then(async () => {
      // It covers what this turn still writes, too.
      await new Promise((resolve) => setImmediate(resolve));
      this.#nextReplication = undefined;
      this.flush();
      const waiting = this.#connection.run(['WAIT', 1, replicationTimeoutMs]).catch((error: BackplaneError) => error);
      this.#replicating = waiting;
      const answer = await waiting;
      if (typeof answer === 'number' && answer > 0) return;
      // Redis may have executed the writes before it: never `unavailable`.
      const cause =
        answer instanceof BackplaneError ? answer.cause : new Error('WAIT: no replica confirmed it in time');
      throw new BackplaneError('timeout', 'no replica confirmed it in time', cause);
    });
    return this.#nextReplication;
  }

  read(room: string, query: HistoryQuery): Promise<HistoryPage> {
    // A read finds what was published before it.
    this.flush();
    const { line: lineKey } = this.#names;
    const newName = this.#newName();
    return readHistory(this.#connection, query, { room: this.#names.room(room), lineKey, newName });
  }

  #write(batch: AppendBatch, dedupeMs: number): void {
    const command = batch.command(this.#connection.server, this.#names.line, this.#newName(), dedupeMs);
    this.#connection.send(command, (error, reply) => {
      batch.settle(error, reply, (refusal) => this.#connection.refused(refusal));
    });
  }

  #newName(): string {
    this.#namesGiven++;
    return `${this.#run}${this.#namesGiven.toString(36)}`;
  }
}
