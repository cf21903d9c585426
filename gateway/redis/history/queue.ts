/**
 * The queue of messages to be kept: one script for all of a turn of the event loop, and with ACK=replicated one WAIT behind it.
 *
 * Owns the batch of this turn, the WAIT in flight, and whether the lines of writes are settled: one, or in a cluster one for each
 * slot of the shard. The scripts' arguments are gateway/redis/history/commands.ts.
 */
import { randomBytes } from 'node:crypto';
import { BackplaneError, type HistoryPage, type HistoryQuery } from '../../backplane/backplane.ts';
import type { RedisConnection } from '../connection/connection.ts';
import type { RedisServer } from '../connection/server-info.ts';
import type { RedisNames } from '../names.ts';
import { type Append, AppendBatch, lineArguments, lineScript, readHistory } from './commands.ts';

/** Bounds how long one command blocks Redis: 0.2 ms. Between two of them others have their turn. */
const linesPerCommand = 100;
const pauseMs = 10;
/** Timeout of WAIT. Shorter than the watchdog of the connection. */
const replicationTimeoutMs = 1_000;

/** Lines of writes. */
export interface Lines {
  keys: readonly string[];
  /** Other servers of a cluster, from which a line may have come with its slot. */
  whole: readonly RedisServer[];
}

/** Lines that are being settled. */
interface Settling {
  readonly server: RedisServer;
  readonly whole: Lines['whole'];
  /** For their turn. */
  readonly waiting: Set<string>;
  unanswered: number;
}

export class HistoryQueue {
  readonly #connection: RedisConnection;
  readonly #names: RedisNames;
  readonly #dedupeMs: number;
  readonly #lines: () => Lines;
  /** Of this turn. */
  #batch: AppendBatch | undefined;
  /** The WAIT in flight; settled if there is none. */
  #replicating: Promise<unknown> = Promise.resolve();
  /** The WAIT behind it. Covers everything that is written before it is sent. */
  #nextReplication: Promise<void> | undefined;
  /** Part of each name that this node gives (to epochs, for one): unique for each process. */
  readonly #run = randomBytes(6).toString('base64url');
  #namesGiven = 0;
  #settled = false;
  #settling: Settling | undefined;
  #settledServer: RedisServer | undefined;

  /** `lines`: those of the connected server, whenever they have to be settled. */
  constructor(connection: RedisConnection, names: RedisNames, dedupeMs: number, lines: () => Lines) {
    this.#connection = connection;
    this.#names = names;
    this.#dedupeMs = dedupeMs;
    this.#lines = lines;
  }

  /** False until Redis has executed history/line.lua. It does not while it refuses writes. */
  get settled(): boolean {
    return this.#settled;
  }

  /** The lines are settled, and the server lacks nothing that came to it. */
  get isWhole(): boolean {
    return this.#connection.ready && this.#settled && this.#settledServer?.isWhole === true;
  }

  /** The last server whose lines were settled, also when it is away. */
  get settledServer(): RedisServer | undefined {
    return this.#settledServer;
  }

  /** Call it first on each new connection: what is sent behind it finds its line settled. `probe` repeats it while Redis refuses it. */
  settle(): void {
    const { keys, whole } = this.#lines();
    this.#settled = false;
    const waiting = new Set(keys);
    this.#settling = { ...{ server: this.#connection.server, whole }, waiting, unanswered: waiting.size };
    this.#settleOn(this.#settling);
  }

  /** What is sent behind it finds them settled. Rejects with a BackplaneError. */
  async settleLines({ keys, whole }: Lines): Promise<void> {
    const commands: Promise<unknown>[] = [];
    for (let at = 0; at < keys.length; at += linesPerCommand) {
      const words = lineArguments(this.#connection.server, this.#newName(), whole);
      const part = keys.slice(at, at + linesPerCommand);
      commands.push(this.#connection.run(this.#connection.evaluation(lineScript, part, words)));
    }
    await Promise.all(commands);
  }

  #settleOn(settling: Settling): void {
    if (this.#settling !== settling) return;
    this.#settleSome(settling, []);
    if (settling.waiting.size > 0) setTimeout(() => this.#settleOn(settling), pauseMs);
  }

  /** `part`: those that are needed first. */
  #settleSome(settling: Settling, part: string[]): void {
    const { server, waiting, whole } = settling;
    for (const key of part) waiting.delete(key);
    for (const key of waiting) {
      if (part.length === linesPerCommand) break;
      part.push(key);
      waiting.delete(key);
    }
    this.settleLines({ keys: part, whole })
      .then(() => {
        settling.unanswered -= part.length;
        if (this.#settling !== settling || settling.unanswered > 0) return;
        this.#settling = undefined;
        this.#settled = server === this.#connection.server;
        if (this.#settled) this.#settledServer = server;
      })
      .catch(() => {
        // The connection has logged it.
        if (this.#settling === settling) this.#settling = undefined;
      });
  }

  /** A line that waits for its turn is settled before what is sent now. */
  #needs(line: string): void {
    if (this.#settling?.waiting.has(line)) this.#settleSome(this.#settling, [line]);
  }

  add(append: Append): void {
    this.#needs(append.line);
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
    if (!this.#settled && this.#settling === undefined) this.settle();
    this.#needs(append.line);
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
    const lineKey = this.#names.line(room);
    this.#needs(lineKey);
    const keys = { room: this.#names.room(room), lineKey, newName: this.#newName() };
    return readHistory(this.#connection, query, keys);
  }

  #write(batch: AppendBatch, dedupeMs: number): void {
    const command = batch.command(this.#connection, this.#newName(), dedupeMs);
    this.#connection.send(command, (error, reply) => {
      batch.settle(error, reply, (refusal) => this.#connection.refused(refusal));
    });
  }

  #newName(): string {
    this.#namesGiven++;
    return `${this.#run}${this.#namesGiven.toString(36)}`;
  }
}
