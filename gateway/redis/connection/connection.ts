/**
 * One connection to Redis. The only file that imports ioredis, which makes it: TCP, TLS, and all of it again when the
 * connection ended. Who we are, the database, the scripts and what the server is are settled here on each new connection,
 * before it is ready. What is said on an open one is gateway/redis/connection/pipeline.ts, at a fifth of the cost for each message.
 *
 * Commands are never queued while Redis is away and never sent again: a resent PUBLISH would be a second message. A
 * Redis that hangs, or a route that is gone without a word, is noticed by a watchdog that counts in turns of the event
 * loop: a stall of our own is not taken for silence of the peer, since its answers are read before the next tick. Once a
 * second the server is asked whether it still is the master that it was. What follows for the other connections of the
 * node is gateway/redis/connection/connections.ts. It knows no channels and no rooms.
 */
import { Redis } from 'ioredis';
import { BackplaneError } from '../../backplane/backplane.ts';
import { cut, type Logger } from '../../telemetry/log.ts';
import type { Script } from '../script.ts';
import type { RedisAddress } from './address.ts';
import { RedisPipeline, type Settle } from './pipeline.ts';
import { type Reply, ReplyError, type ReplyListener, type Words } from './resp.ts';
import { type RedisServer, readServer, whyUnfit } from './server.ts';

/** What a connection is for. Part of its name in CLIENT LIST, and `role` in log lines. */
export type RedisRole = 'pubsub' | 'history' | 'presence';

/** Logged with a command that Redis refuses. */
const purposes: Record<RedisRole, string> = {
  pubsub: 'subscribing, and publishing to plain rooms',
  history: 'keeping and reading messages of rooms with history',
  presence: 'keeping who is in which room, and which nodes live',
};

export interface RedisConnectionOptions {
  role: RedisRole;
  /** Shown by CLIENT LIST. */
  name: string;
  /** Loaded on every new connection, before `onReady`. */
  scripts?: readonly Script[] | undefined;
  onReady(): void;
  onLost(): void;
  /** About once a second while it is ready. What is sent here leaves in one write with the question for the master. */
  onSecond?(): void;
  /** Called before each question for the master; the answer is told by `onProven`. */
  onAsked?(): void;
  /** What was sent before the question was sent to a master, which it still is. */
  onProven?(): void;
  /** Of a connection that subscribes. */
  onMessage?: ReplyListener['message'];
}

/** The other connections of the node: gateway/redis/connection/connections.ts. */
export interface Peers {
  connecting(connection: RedisConnection): void;
  /** False if others are connected to another master; then all of them are made anew. */
  agree(connection: RedisConnection): boolean;
  /** Makes all of them anew. */
  renew(reason: string): void;
  /** Redis did not carry out a command. */
  refused(error: ReplyError): void;
  closed(connection: RedisConnection): void;
}

/** How often `tick` is called. */
export const tickMs = 250;
/** A command without an answer for so many ticks: the connection is made anew, and its commands are of unknown outcome. */
const silentTicks = 5;
/** Ticks between two questions for the master, and between two calls of `onSecond`. */
const secondTicks = 4;
const connectTimeoutMs = 2_000;
/** A hung peer never answers the end of the connection; it is destroyed after this. */
const disconnectTimeoutMs = 100;
const fastestReconnectMs = 25;
const slowestReconnectMs = 500;
/** A connection that has been ready for so long was worth making: the next attempt is a fast one again. */
const steadyTicks = 8;

/** Errors by which Redis says that it is not the master (any more), in whatever words a script wraps them. */
const notMaster = /\b(READONLY|MASTERDOWN)\b|WAIT cannot be used with replica/;

export class RedisConnection {
  readonly #redis: Redis;
  readonly #options: RedisConnectionOptions;
  readonly #address: RedisAddress;
  readonly #peers: Peers;
  readonly #log: Logger;
  /** Of the connection that is open. */
  #pipeline: RedisPipeline | undefined;
  /** How many commands it had sent at each of the last ticks, the oldest first. */
  #sentBefore: number[] = [];
  #prepared = false;
  #ticksReady = 0;
  #asking = false;
  #loading = false;
  #server: RedisServer = { run: '', promotion: '', mayHaveLost: true };
  /** Attempts to connect since it was steady. */
  #attempts = 0;
  #trouble = 'it has not answered yet';
  /** It is being given up, for a new one or for good. */
  #leaving = false;

  constructor(options: RedisConnectionOptions, address: RedisAddress, peers: Peers, log: Logger) {
    this.#options = options;
    this.#address = address;
    this.#peers = peers;
    this.#log = log;
    this.#redis = new Redis({
      ...address.connection,
      lazyConnect: true,
      // All that it would say itself is said by `#prepare`: it writes to the console where it does not like an answer.
      protocol: 2,
      enableReadyCheck: false,
      disableClientInfo: true,
      maxRetriesPerRequest: 0,
      connectTimeout: connectTimeoutMs,
      disconnectTimeout: disconnectTimeoutMs,
      // Its own count begins anew with each TCP connection, also with a peer that refuses us.
      retryStrategy: () => {
        const delayMs = Math.min(fastestReconnectMs * 2 ** this.#attempts++, slowestReconnectMs);
        return delayMs * (0.5 + Math.random() / 2);
      },
    });
    this.#redis.on('error', (error: Error) => this.#failed(error.message));
    this.#redis.on('ready', () => this.#opened());
    this.#redis.on('close', () => this.#ended());
  }

  get ready(): boolean {
    return this.#redis.status === 'ready' && this.#prepared && !this.#leaving;
  }

  /** Of the connection that is ready, or the last one that was. */
  get server(): RedisServer {
    return this.#server;
  }

  /** Why the last connection was given up or not made; of no use while it is ready. */
  get trouble(): string {
    return this.#trouble;
  }

  /** Begins to connect, and goes on trying until `close`. What goes wrong is told by the error event. */
  connect(): void {
    this.#peers.connecting(this);
    this.#redis.connect().catch(() => undefined);
  }

  /**
   * Sends one command. Its error is a BackplaneError: `unavailable` if it was certainly not carried out, `timeout` if
   * nobody knows.
   */
  send(words: Words, settle: (error: BackplaneError | undefined, reply: Reply) => void, answers = 1): void {
    if (!this.ready || this.#pipeline === undefined) settle(new BackplaneError('unavailable', 'Redis is away'), null);
    else {
      const outcome: Settle = (error, reply) =>
        settle(error instanceof ReplyError ? this.refused(error) : error, reply);
      this.#pipeline.send(words, outcome, answers);
    }
  }

  /** Writes at once what was sent in this turn. */
  flush(): void {
    this.#pipeline?.flush();
  }

  /** `send` for those who wait. `answers`: how many Redis gives; the last one is returned. */
  run(words: Words, answers = 1): Promise<Reply> {
    return new Promise((resolve, reject) => {
      this.send(words, (error, reply) => (error === undefined ? resolve(reply) : reject(error)), answers);
    });
  }

  /** The watchdog, and what is due every second; see `tickMs`. */
  tick(): void {
    const before = this.#sentBefore.length < silentTicks ? 0 : (this.#sentBefore.shift() ?? 0);
    const { sent, settled } = this.#pipeline ?? { sent: 0, settled: 0 };
    this.#sentBefore.push(sent);
    if (settled < before) this.reconnect('it does not answer');
    if (!this.ready) return;
    this.#ticksReady++;
    if (this.#ticksReady === steadyTicks) this.#attempts = 0;
    if (this.#ticksReady % secondTicks !== 0) return;
    this.#askForMaster();
    this.#options.onSecond?.();
  }

  /** Gives up an open connection for a new one. */
  reconnect(reason: string): void {
    const open = this.#redis.status === 'ready' || this.#redis.status === 'connect';
    if (!open || this.#leaving) return;
    this.#leaving = true;
    this.#trouble = cut(reason);
    this.#log.warn({ role: this.#options.role, reason: cut(reason) }, 'connecting to redis again');
    this.#pipeline?.flush();
    this.#redis.disconnect(true);
  }

  close(): void {
    this.#leaving = true;
    this.#pipeline?.flush();
    this.#redis.disconnect();
    this.#peers.closed(this);
  }

  /** What it means that Redis does not carry out a command, or a part of one. */
  refused(error: ReplyError): BackplaneError {
    const { message } = error;
    const { role } = this.#options;
    this.#log.error({ role, for: purposes[role], error: cut(message) }, 'redis refused a command');
    if (notMaster.test(message)) this.#peers.renew(message);
    else if (message.startsWith('NOSCRIPT')) this.#loadScripts();
    this.#peers.refused(error);
    return new BackplaneError('unavailable', 'Redis refused it', error);
  }

  #opened(): void {
    const { stream } = this.#redis;
    // From here on ioredis reads and writes nothing.
    stream.removeAllListeners('data');
    const pipeline = new RedisPipeline(stream, this.#options.onMessage);
    this.#pipeline = pipeline;
    this.#prepare(pipeline).then(
      () => {
        if (this.#pipeline !== pipeline || this.#leaving || !this.#peers.agree(this)) return;
        this.#prepared = true;
        this.#log.info({ role: this.#options.role }, 'redis connected');
        this.#options.onReady();
      },
      (error: Error) => {
        if (this.#pipeline === pipeline) this.reconnect(error.message);
      },
    );
  }

  #ended(): void {
    if (this.#prepared && !this.#leaving) this.#trouble = 'it has ended the connection';
    this.#pipeline?.end();
    this.#pipeline = undefined;
    this.#prepared = false;
    this.#leaving = false;
    this.#asking = false;
    this.#loading = false;
    this.#ticksReady = 0;
    this.#sentBefore = [];
    this.#options.onLost();
  }

  /** Everything before the first command of others, in one write. Rejects where Redis is none to serve with. */
  async #prepare(pipeline: RedisPipeline): Promise<void> {
    const { name, onMessage, scripts = [] } = this.#options;
    const { username, password, database } = this.#address;
    const run = (...words: string[]) =>
      new Promise<Reply>((resolve, reject) => {
        pipeline.send(words, (error, reply) => (error === undefined ? resolve(reply) : reject(error)));
      });
    // RESP3 lets a connection that subscribes send commands too. All others speak what is simpler to read.
    const hello = ['HELLO', onMessage === undefined ? '2' : '3'];
    if (password !== undefined) hello.push('AUTH', username ?? 'default', password);
    const [, , info] = await Promise.all([
      run(...hello, 'SETNAME', name).catch((error: Error) => {
        throw /unknown command|NOPROTO/i.test(error.message)
          ? new Error('it does not speak RESP3; use Redis 6.2 or newer')
          : error;
      }),
      database === 0
        ? undefined
        : run('SELECT', String(database)).catch((error: Error) => {
            throw new Error(`database ${database} cannot be selected: ${error.message}`);
          }),
      run('INFO'),
      ...scripts.map(({ text }) => run('SCRIPT', 'LOAD', text)),
    ]);
    const unfit = whyUnfit(String(info));
    if (unfit !== undefined) throw new Error(unfit);
    this.#server = readServer(String(info));
  }

  /** Somebody has emptied the cache of scripts. What was refused for that was not carried out. */
  #loadScripts(): void {
    if (this.#loading) return;
    this.#loading = true;
    const scripts = this.#options.scripts ?? [];
    Promise.all(scripts.map(({ text }) => this.run(['SCRIPT', 'LOAD', text])))
      .catch((error: Error) => this.reconnect(error.message))
      .finally(() => {
        this.#loading = false;
      });
  }

  /** A connection outlives what is at its other end: a master becomes a replica, and perhaps a master again. */
  #askForMaster(): void {
    if (this.#asking) return;
    this.#asking = true;
    this.#options.onAsked?.();
    this.send(['INFO', 'replication'], (error, info) => {
      this.#asking = false;
      if (error !== undefined) return;
      const unfit = whyUnfit(String(info));
      if (unfit !== undefined) this.#peers.renew(unfit);
      else if (readServer(String(info)).promotion !== this.#server.promotion) {
        this.#peers.renew('it was a replica in the meantime');
      } else this.#options.onProven?.();
    });
  }

  #failed(reason: string): void {
    this.#trouble = cut(reason);
    this.#log.warn({ role: this.#options.role, error: cut(reason) }, 'redis connection failed');
  }
}
