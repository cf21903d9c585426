/**
 * One connection to Redis, by ioredis, and the only file that imports it.
 *
 * Commands are never queued while Redis is away and never sent again behind our back: a resent PUBLISH would be a second
 * message. A Redis that hangs, or a route that is gone without a word, is noticed by a watchdog that counts in turns of
 * the event loop: a stall of our own is not taken for silence of the peer, since its answers are read before the next
 * tick. It knows no channels and no rooms.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Redis, type RedisOptions } from 'ioredis';
import { BackplaneError } from './backplane.ts';
import { cut, type Logger } from './log.ts';

export type RedisRole = 'publisher' | 'subscriber' | 'presence';

export interface RedisConnectionOptions {
  role: RedisRole;
  url: string;
  /** Shown by CLIENT LIST. */
  name: string;
  /** Loaded on every new connection, before `onReady`. */
  scripts?: readonly Script[];
  onReady(): void;
  onLost(): void;
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
  #sent = 0;
  #answered = 0;
  /** `#sent` at each of the last ticks, the oldest first. */
  #sentBefore: number[] = [];
  #ticksInHandshake = 0;
  #prepared = false;
  #server: RedisServer = { run: '', mayHaveLost: true };
  #lastError = '';
  /** It is being given up, for a new one or for good. */
  #leaving = false;

  constructor({ role, url, name, scripts = [], onReady, onLost }: RedisConnectionOptions, log: Logger) {
    this.#role = role;
    this.#log = log;
    this.#redis = new Redis({
      ...addressOf(url),
      lazyConnect: true,
      connectionName: name,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      autoResubscribe: false,
      // What was under way when the connection ended is rejected at once.
      maxRetriesPerRequest: 0,
      connectTimeout: connectTimeoutMs,
      disconnectTimeout: disconnectTimeoutMs,
      retryStrategy: (attempt) => Math.min(25 * 2 ** attempt, slowestReconnectMs) * (0.5 + Math.random() / 2),
    });
    this.#redis.on('error', (error: Error) => this.#failed(error));
    this.#redis.on('ready', () => {
      this.#prepare(scripts).then(
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

  onMessage(handle: (channel: Buffer, bytes: Buffer) => void): void {
    this.#redis.on('messageBuffer', handle);
  }

  /**
   * Writes one command. Rejects with a BackplaneError: `unavailable` if it was certainly not carried out, `timeout` if
   * nobody knows.
   */
  async run<Reply>(command: (redis: Redis) => Promise<Reply>): Promise<Reply> {
    if (!this.ready) throw new BackplaneError('unavailable', 'Redis is away');
    try {
      return await this.#watched(() => command(this.#redis));
    } catch (error) {
      throw this.#outcome(error as Error);
    }
  }

  /** The watchdog; see `tickMs`. */
  tick(): void {
    this.#ticksInHandshake = this.#redis.status === 'connect' ? this.#ticksInHandshake + 1 : 0;
    const before = this.#sentBefore.length < silentTicks ? 0 : (this.#sentBefore.shift() ?? 0);
    this.#sentBefore.push(this.#sent);
    if (this.#answered < before || this.#ticksInHandshake > silentTicks) this.reconnect('it does not answer');
  }

  /** Gives up an open connection for a new one. */
  reconnect(reason: string): void {
    const open = this.#redis.status === 'ready' || this.#redis.status === 'connect';
    if (!open || this.#leaving) return;
    this.#leaving = true;
    this.#log.warn({ role: this.#role, reason: cut(reason) }, 'connecting to redis again');
    this.#redis.disconnect(true);
  }

  close(): void {
    this.#leaving = true;
    this.#redis.disconnect();
  }

  async #watched<Reply>(command: () => Promise<Reply>): Promise<Reply> {
    this.#sent++;
    try {
      return await command();
    } finally {
      this.#answered++;
    }
  }

  async #prepare(scripts: readonly Script[]): Promise<void> {
    if (scripts.length === 0) return;
    const [info] = await Promise.all([
      this.#watched(() => this.#redis.info()),
      ...scripts.map(({ text }) => this.#watched(() => this.#redis.script('LOAD', text))),
    ]);
    const { isReplica, ...server } = readInfo(info);
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

  #outcome(error: Error): BackplaneError {
    if (error.name === 'ReplyError') {
      // It has become a replica, or has forgotten its scripts: a new connection finds the master, and loads them again.
      if (/^(READONLY|NOSCRIPT)/.test(error.message)) this.reconnect(error.message);
      this.#log.error({ role: this.#role, error: cut(error.message) }, 'redis refused a command');
      return new BackplaneError('unavailable', 'Redis refused it');
    }
    // ioredis says this of a command that it did not write; everything else ended on the way.
    return error.message.startsWith("Stream isn't writeable")
      ? new BackplaneError('unavailable', 'Redis is away')
      : new BackplaneError('timeout', 'Redis did not answer in time');
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
