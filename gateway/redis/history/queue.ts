/**
 * Messages on their way into the history of rooms: those of one turn of the event loop are kept by one script, and with
 * ACK=replicated one WAIT follows them.
 *
 * Owns what waits for the end of the turn, the WAIT under way, and whether the line of writes is settled. What stands in
 * the script is gateway/redis/history/history.ts.
 */
import { randomBytes } from 'node:crypto';
import { BackplaneError, type HistoryPage, type HistoryQuery } from '../../backplane/backplane.ts';
import type { RedisConnection } from '../connection/connection.ts';
import type { RedisNames } from '../names.ts';
import { type Append, Appends, readHistory, settleLine } from './history.ts';

/** Within it a replica has to confirm, with ACK=replicated. Shorter than the watchdog of the connection. */
const replicationTimeoutMs = 1_000;

export class HistoryQueue {
  readonly #connection: RedisConnection;
  readonly #names: RedisNames;
  readonly #dedupeMs: number;
  /** Messages of this turn. */
  #appends: Appends | undefined;
  /** The WAIT under way; settled when there is none. */
  #replicating: Promise<unknown> = Promise.resolve();
  /** The one behind it, for everything that is written until it begins. */
  #nextReplication: Promise<void> | undefined;
  /** What nodes name, epochs for one, has another name on every node and in every run. */
  readonly #run = randomBytes(6).toString('base64url');
  #named = 0;
  #lineSettled = false;

  constructor(connection: RedisConnection, names: RedisNames, dedupeMs: number) {
    this.#connection = connection;
    this.#names = names;
    this.#dedupeMs = dedupeMs;
  }

  /** False until Redis has taken up what this node knows of it, which it does not while it refuses writes. */
  get lineSettled(): boolean {
    return this.#lineSettled;
  }

  /** The first thing on each new connection; again as long as it is refused. */
  settleLine(): void {
    this.#lineSettled = false;
    const { server } = this.#connection;
    this.#connection.send(settleLine(server, this.#names.line, this.#newName()), (error) => {
      this.#lineSettled = error === undefined && server === this.#connection.server;
    });
  }

  add(append: Append): void {
    if (this.#appends === undefined) {
      this.#appends = new Appends();
      setImmediate(() => this.flush());
    }
    this.#appends.add(append);
    if (this.#appends.isFull) this.flush();
  }

  /** Writes what waits for the end of the turn. */
  flush(): void {
    const appends = this.#appends;
    if (appends === undefined) return;
    this.#appends = undefined;
    this.#write(appends, this.#dedupeMs);
    this.#connection.flush();
  }

  /** Keeps a message whose key is forgotten at once, to see whether Redis carries out all that it takes. */
  try(append: Append): void {
    if (!this.#lineSettled) this.settleLine();
    const alone = new Appends();
    alone.add(append);
    this.#write(alone, 1);
  }

  /** Resolves when a replica has everything that was written up to now; rejects with `timeout`. */
  replicated(): Promise<void> {
    // WAIT holds up the connection: there is one at a time, for everything written before it.
    this.#nextReplication ??= this.#replicating.then(async () => {
      // What else this turn writes is covered too.
      await new Promise((resolve) => setImmediate(resolve));
      this.#nextReplication = undefined;
      this.flush();
      const waiting = this.#connection.run(['WAIT', 1, replicationTimeoutMs]).catch((error: BackplaneError) => error);
      this.#replicating = waiting;
      const answer = await waiting;
      if (typeof answer === 'number' && answer > 0) return;
      // What was written before it may have been taken: never `unavailable`.
      const cause =
        answer instanceof BackplaneError ? answer.cause : new Error('WAIT: no replica confirmed it in time');
      throw new BackplaneError('timeout', 'no replica confirmed it in time', cause);
    });
    return this.#nextReplication;
  }

  read(room: string, query: HistoryQuery): Promise<HistoryPage> {
    // Whoever has published and asks then has to find it.
    this.flush();
    const { line: lineKey } = this.#names;
    const newName = this.#newName();
    return readHistory(this.#connection, query, { room: this.#names.room(room), lineKey, newName });
  }

  #write(appends: Appends, dedupeMs: number): void {
    const command = appends.command(this.#connection.server, this.#names.line, this.#newName(), dedupeMs);
    this.#connection.send(command, (error, reply) => {
      appends.settle(error, reply, (refusal) => this.#connection.refused(refusal));
    });
  }

  #newName(): string {
    this.#named++;
    return `${this.#run}${this.#named.toString(36)}`;
  }
}
