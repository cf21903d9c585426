/**
 * One connection to Redis. The only file that imports ioredis, which makes it: TLS, authentication, database, name, the
 * wait for a Redis that loads, and all of it again when the connection ended. What is said on an open connection is
 * gateway/redis-pipeline.ts, at a fifth of the cost for each message.
 *
 * Commands are never queued while Redis is away and never sent again: a resent PUBLISH would be a second message. A
 * Redis that hangs, or a route that is gone without a word, is noticed by a watchdog that counts in turns of the event
 * loop: a stall of our own is not taken for silence of the peer, since its answers are read before the next tick. It
 * knows no channels and no rooms.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Redis, type RedisOptions } from 'ioredis';
import { BackplaneError } from './backplane.ts';
import { cut, type Logger } from './log.ts';
import { RedisPipeline, type Settle } from './redis-pipeline.ts';
import { type Reply, ReplyError, type ReplyListener, type Words } from './resp.ts';

export type RedisRole = 'publisher' | 'subscriber' | 'presence';

export interface RedisConnectionOptions {
  role: RedisRole;
  url: string;
  /** Shown by CLIENT LIST. */
  name: string;
  /** Loaded on every new connection, before `onReady`. */
  scripts?: readonly Script[] | undefined;
  onReady(): void;
  onLost(): void;
  /** Of a connection that subscribes. */
  onMessage?: ReplyListener['message'];
}

/** A Lua script: run by EVALSHA, so that its text is sent once a connection. */
export interface Script {
  text: string;
  sha: string;
}

/** Reads files of this folder as one script, one behind the other. */
export function readScript(...files: string[]): Script {
  const text = files.map((file) => readFileSync(new URL(`./${file}`, import.meta.url), 'utf8')).join('');
  return { text, sha: createHash('sha1').update(text).digest('hex') };
}

/** What is known of the Redis process at the other end. */
export interface RedisServer {
  /** Another one after every restart. */
  run: string;
  /**
   * It may lack the last writes of the run before: it was a replica and became the master, or it keeps no append only
   * file, and loaded what was saved some time ago.
   */
  mayHaveLost: boolean;
}

/** How often `tick` is to be called. */
export const tickMs = 250;
/** A command without an answer for so many ticks: the connection is made anew, and its commands are of unknown outcome. */
const silentTicks = 5;
const connectTimeoutMs = 2_000;
/** A hung peer never answers the end of the connection; it is destroyed after this. */
const disconnectTimeoutMs = 100;
const slowestReconnectMs = 500;

export class RedisConnection {
  readonly #redis: Redis;
  readonly #role: RedisRole;
  readonly #log: Logger;
  /** Of the connection that is open. */
  #pipeline: RedisPipeline | undefined;
  /** How many commands it had sent at each of the last ticks, the oldest first. */
  #sentBefore: number[] = [];
  #ticksInHandshake = 0;
  #prepared = false;
  #server: RedisServer = { run: '', mayHaveLost: true };
  #lastError = '';
  /** It is being given up, for a new one or for good. */
  #leaving = false;

  constructor({ role, url, name, scripts = [], onReady, onLost, onMessage }: RedisConnectionOptions, log: Logger) {
    this.#role = role;
    this.#log = log;
    this.#redis = new Redis({
      ...addressOf(url),
      lazyConnect: true,
      connectionName: name,
      // RESP3 lets a connection that subscribes send commands too. All others speak what is simpler to read.
      protocol: onMessage === undefined ? 2 : 3,
      // It sends nothing but its handshake, which ends with the connection.
      maxRetriesPerRequest: 0,
      connectTimeout: connectTimeoutMs,
      disconnectTimeout: disconnectTimeoutMs,
      retryStrategy: (attempt) => Math.min(25 * 2 ** attempt, slowestReconnectMs) * (0.5 + Math.random() / 2),
    });
    this.#redis.on('error', (error: Error) => this.#failed(error));
    this.#redis.on('ready', () => {
      // The handshake is answered, so ioredis waits for nothing and writes nothing any more.
      const { stream } = this.#redis;
      stream.removeAllListeners('data');
      this.#pipeline = new RedisPipeline(stream, onMessage);
      this.#prepare(this.#pipeline, scripts, onMessage !== undefined).then(
        () => {
          this.#lastError = '';
          this.#prepared = true;
          this.#log.info({ role }, 'redis connected');
          onReady();
        },
        (error: Error) => this.reconnect(error.message),
      );
    });
    this.#redis.on('close', () => {
      this.#pipeline?.end();
      this.#pipeline = undefined;
      this.#prepared = false;
      this.#leaving = false;
      this.#ticksInHandshake = 0;
      this.#sentBefore = [];
      onLost();
    });
  }

  get ready(): boolean {
    return this.#redis.status === 'ready' && this.#prepared && !this.#leaving;
  }

  /** Of the connection that is ready, or the last one that was. */
  get server(): RedisServer {
    return this.#server;
  }

  /** Begins to connect, and goes on trying until `close`. What goes wrong is told by the error event. */
  connect(): void {
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

  /** The watchdog; see `tickMs`. */
  tick(): void {
    this.#ticksInHandshake = this.#redis.status === 'connect' ? this.#ticksInHandshake + 1 : 0;
    const before = this.#sentBefore.length < silentTicks ? 0 : (this.#sentBefore.shift() ?? 0);
    const { sent, settled } = this.#pipeline ?? { sent: 0, settled: 0 };
    this.#sentBefore.push(sent);
    if (settled < before || this.#ticksInHandshake > silentTicks) this.reconnect('it does not answer');
  }

  /** Gives up an open connection for a new one. */
  reconnect(reason: string): void {
    const open = this.#redis.status === 'ready' || this.#redis.status === 'connect';
    if (!open || this.#leaving) return;
    this.#leaving = true;
    this.#log.warn({ role: this.#role, reason: cut(reason) }, 'connecting to redis again');
    this.#pipeline?.flush();
    this.#redis.disconnect(true);
  }

  close(): void {
    this.#leaving = true;
    this.#pipeline?.flush();
    this.#redis.disconnect();
  }

  async #prepare(pipeline: RedisPipeline, scripts: readonly Script[], subscribes: boolean): Promise<void> {
    if (scripts.length === 0) return;
    const run = (...words: string[]) =>
      new Promise<Reply>((resolve, reject) => {
        pipeline.send(words, (error, reply) => (error === undefined ? resolve(reply) : reject(error)));
      });
    const [info] = await Promise.all([run('INFO'), ...scripts.map(({ text }) => run('SCRIPT', 'LOAD', text))]);
    // Where HELLO is not known ioredis goes on in RESP2; only RESP3 has verbatim strings.
    if (subscribes && !String(info).startsWith('txt:')) {
      throw new Error('it does not speak RESP3; use Redis 6 or newer');
    }
    const { isReplica, ...server } = readInfo(String(info));
    // It takes PUBLISH, though only its own subscribers get that; and it may be promoted while we are connected.
    if (isReplica) throw new Error('it is a replica, and the master is wanted');
    this.#server = server;
  }

  /** While Redis is away every attempt fails alike; the log says it once. */
  #failed(error: Error): void {
    if (error.message === this.#lastError) return;
    this.#lastError = error.message;
    this.#log.warn({ role: this.#role, error: cut(error.message) }, 'redis connection failed');
  }

  /** What it means that Redis does not carry out a command, or a part of one. */
  refused(error: ReplyError): BackplaneError {
    // It has become a replica, or has forgotten its scripts: a new connection finds the master, and loads them again.
    if (/^(READONLY|NOSCRIPT)/.test(error.message)) this.reconnect(error.message);
    this.#log.error({ role: this.#role, error: cut(error.message) }, 'redis refused a command');
    return new BackplaneError('unavailable', 'Redis refused it');
  }
}

/** `redis://user:password@host:port/database`; `rediss://` is TLS, with `?ca=` the file of its CA. */
function addressOf(text: string) {
  const url = new URL(text);
  const ca = url.searchParams.get('ca');
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? 6379 : Number(url.port),
    ...(url.username === '' ? {} : { username: decodeURIComponent(url.username) }),
    ...(url.password === '' ? {} : { password: decodeURIComponent(url.password) }),
    db: Number(url.pathname.slice(1)),
    ...(url.protocol === 'rediss:' ? { tls: ca === null ? {} : { ca: readFileSync(ca) } } : {}),
  } satisfies RedisOptions;
}

/** `info` is the answer to INFO. */
function readInfo(info: string): RedisServer & { isReplica: boolean } {
  const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
  const wasReplica = /[^0]/.test(field('master_replid2'));
  return {
    run: field('run_id'),
    mayHaveLost: wasReplica || field('aof_enabled') !== '1',
    isReplica: field('role') !== 'master',
  };
}
