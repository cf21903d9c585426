/**
 * A Redis Stream as a source: takes a batch, has it published, acknowledges it with the next turn.
 *
 * Every node runs one; gateway/redis/inputs/stream.ts lets one of them read. Owns the term: the time in which this node is
 * surely the reader. A term that has ended does not come back: what was left in it is read again from the oldest entry on.
 */
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { BackplaneError } from '../backplane/backplane.ts';
import type { RedisAddress } from '../redis/connection/address.ts';
import { RedisStream, readerMs, type StreamEntry, type StreamTurn } from '../redis/inputs/stream.ts';
import { type Logger, truncate } from '../telemetry/log.ts';
import type { Outcome } from './intake.ts';
import { Poison } from './message.ts';
import { closeMs, type Source, type SourceParts } from './source.ts';

export interface StreamSettings {
  kind: 'redis';
  name: string;
  address: RedisAddress;
  stream: string;
  group: string;
  /** The field of an entry that is the body. */
  body: string;
}

/** Between two attempts to become the reader, between two turns while a batch is under way, and after a failure. */
const pollMs = 1_000;
/** Longest wait of Redis for an entry. Far below the time after which a connection without answers is given up. */
const blockMs = 400;
/** So long before the end of its place a reader publishes nothing any more. */
const marginMs = 1_000;
/** Where entries begin that were read and not acknowledged. */
const oldest = '0-0';

/** A time in which this node is the reader. */
interface Term {
  /** Of performance.now(). */
  until: number;
  ended: boolean;
}

export class StreamSource implements Source {
  readonly #settings: StreamSettings;
  readonly #parts: SourceParts;
  readonly #stream: RedisStream;
  readonly #log: Logger;
  #term: Term | undefined;
  #lag = 0;
  /** Where to go on among entries that were left; '': all are done. */
  #from = oldest;
  /** Entries to read: one after a failure, in case that a batch is more than a reply may be. */
  #limit: number;
  #done: string[] = [];
  #parked: { id: string; reason: string }[] = [];
  readonly #closing = new AbortController();
  #ended = false;
  #running: Promise<void> = Promise.resolve();

  constructor(settings: StreamSettings, parts: SourceParts) {
    this.#settings = settings;
    this.#parts = parts;
    this.#limit = parts.most;
    this.#log = parts.log;
    this.#stream = new RedisStream({ ...settings, instance: `${parts.instance}-${parts.name}` }, parts.log);
  }

  get lag(): number {
    return this.#lag;
  }

  start(): void {
    this.#running = this.#run();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.race([this.#running, delay(closeMs, undefined, { ref: false })]);
    this.#ended = true;
    await this.#stream
      .release(this.#takeSettled())
      .catch((error: Error) => this.#tell(error, 'another node reads the stream a few seconds later'));
    this.#stream.close();
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    await Promise.race([this.#stream.connect(), once(signal, 'abort')]);
    while (!signal.aborted) {
      try {
        await this.#step();
        this.#limit = this.#parts.most;
      } catch (error) {
        this.#limit = 1;
        // Redis away or hanging, or it refuses the commands: its connection says why.
        this.#tell(error as Error, 'a stream cannot be read; it is tried again');
        await this.#pause();
      }
    }
  }

  async #step(): Promise<void> {
    const { last, entries, mine } = await this.#turn(this.#limit);
    if (mine === 'no') await this.#pause();
    else if (entries.length > 0) await this.#publish(entries);
    else if (this.#from === '') await this.#stream.wait(last, blockMs);
  }

  /** Settles what is done, keeps or takes the place of the reader, and reads. */
  async #turn(limit: number): Promise<StreamTurn> {
    const askedAt = performance.now();
    const settled = this.#takeSettled();
    const isOver = this.#term === undefined || !this.#holds(this.#term);
    const turn = await this.#stream.turn(limit, isOver ? oldest : this.#from, settled).catch((error: unknown) => {
      this.#done.push(...settled.done);
      this.#parked.push(...settled.parked);
      // It may have read entries that nobody has got, so reading begins again at the oldest.
      this.#endTerm();
      throw error;
    });
    this.#lag = turn.mine === 'no' ? 0 : (turn.lag ?? Number.NaN);
    if (turn.mine === 'no' || turn.mine === 'newly' || isOver) this.#endTerm();
    if (turn.mine === 'no') return turn;
    if (this.#term === undefined) this.#log.info({ input: this.#parts.name }, 'this node reads the stream');
    this.#term ??= { until: 0, ended: false };
    this.#term.until = askedAt + readerMs - marginMs;
    // A turn that only confirms the place reads nothing, and nothing is to be skipped.
    if (limit > 0) this.#from = turn.from;
    else if (isOver || turn.mine === 'newly') this.#from = oldest;
    return turn;
  }

  async #publish(entries: readonly StreamEntry[]): Promise<void> {
    const term = this.#term;
    if (term === undefined) return;
    let confirmed: Promise<unknown> = Promise.resolve();
    const confirming = setInterval(() => {
      // The place was given up.
      if (this.#ended) return;
      const confirm = () =>
        this.#turn(0).catch((error: Error) => this.#tell(error, 'the place of the reader is not confirmed'));
      confirmed = confirmed.then(confirm);
    }, pollMs);
    const mayGoOn = () => this.#holds(term) && !this.#ended;
    await Promise.all(
      entries.map(async (entry) => {
        const outcome = await this.#parts.intake.take(this.#messageOf(entry), mayGoOn);
        this.#settle(entry, outcome);
      }),
    );
    clearInterval(confirming);
    // Turns do not overlap: each begins where the one before has ended.
    await confirmed;
  }

  #settle({ id }: StreamEntry, outcome: Outcome): void {
    if (outcome === 'published') this.#done.push(id);
    else if (outcome instanceof Poison) this.#parked.push({ id, reason: outcome.reason });
  }

  #messageOf({ id, fields }: StreamEntry) {
    return {
      id: `${this.#settings.name}:${id}`,
      header: (name: string) => fields.get(name)?.toString(),
      body: fields.get(this.#settings.body),
    };
  }

  /** Once false for a term, always. */
  #holds(term: Term): boolean {
    if (performance.now() > term.until) term.ended = true;
    return !term.ended;
  }

  #endTerm(): void {
    if (this.#term !== undefined) this.#term.ended = true;
    this.#term = undefined;
  }

  #takeSettled() {
    return { done: this.#done.splice(0), parked: this.#parked.splice(0) };
  }

  /** Until the next look, or the end of the node. */
  async #pause(): Promise<void> {
    await delay(pollMs, undefined, { signal: this.#closing.signal }).catch((error: Error) => {
      if (error.name !== 'AbortError') throw error;
    });
  }

  #tell(error: Error, what: string): void {
    const said = error instanceof BackplaneError ? `${error.message}: ${this.#stream.trouble}` : String(error.stack);
    const { name } = this.#parts;
    this.#log.warn({ input: name, reason: truncate(`${name}: ${said}`) }, what);
  }
}
