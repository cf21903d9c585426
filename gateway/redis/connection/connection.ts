/**
 * One connection to Redis. The only file that imports ioredis, which connects and reconnects by TCP or TLS. Each new
 * connection is prepared here before it is ready: user, database, scripts, and what the server is. Commands on an open
 * connection take gateway/redis/connection/pipeline.ts instead, at a fifth of the cost.
 *
 * Commands are never queued while Redis is away, and never sent again: a second PUBLISH is a second message. A watchdog
 * reconnects when a command has no answer for `silentTicks`. It counts turns of the event loop, not time: after a stall of
 * this process, answers that wait are read before the next tick. A probe asks once a second whether the server is still
 * the same master. What follows for the other connections is gateway/redis/connection/connections.ts. It never knows channels
 * or rooms.
 */
import { Redis } from 'ioredis';
import { BackplaneError } from '../../backplane/backplane.ts';
import { type Logger, truncate } from '../../telemetry/log.ts';
import type { Script } from '../script.ts';
import type { RedisAddress } from './address.ts';
import { RedisPipeline, type Settle } from './pipeline.ts';
import { type Reply, ReplyError, type ReplyListener, type Words } from './resp.ts';
import { type RedisServer, readServer, whyUnfit } from './server-info.ts';

/** What a connection is for. Part of its name in CLIENT LIST, and `role` in log lines. */
export type RedisRole = 'pubsub' | 'history' | 'presence' | 'webhooks';

/** Logged with a command that Redis refuses. */
const purposes: Record<RedisRole, string> = {
  pubsub: 'subscribing, and publishing to plain rooms',
  history: 'keeping and reading messages of rooms with history',
  presence: 'keeping who is in which room, and which nodes live',
  webhooks: 'taking events out for the webhook',
};

export interface RedisConnectionOptions {
  role: RedisRole;
  /** In CLIENT LIST. */
  name: string;
  /** Loaded on each new connection, before `onReady`. */
  scripts?: readonly Script[] | undefined;
  onReady(): void;
  onLost(): void;
  /** Called once a second while ready. Commands sent here share one write with the master probe. */
  onSecond?(): void;
  /** A master probe is about to be sent. */
  onMasterProbe?(): void;
  /** The last master probe found the same master: it got all commands before the probe. */
  onMasterConfirmed?(): void;
  /** Only for a connection that subscribes. */
  onMessage?: ReplyListener['message'];
}

/** The other connections of the node: gateway/redis/connection/connections.ts. */
export interface Peers {
  connecting(connection: RedisConnection): void;
  /** False if another connection has another master; then all of them reconnect. */
  agree(connection: RedisConnection): boolean;
  /** Reconnects all of them. */
  renew(reason: string): void;
  /** Redis refused a command. */
  refused(error: ReplyError): void;
  closed(connection: RedisConnection): void;
}

/** Interval of `tick`. */
export const tickMs = 250;
/** Watchdog: without an answer for so many ticks it reconnects; commands in flight end with `timeout`. */
const silentTicks = 5;
/** Between two master probes, and between two calls of `onSecond`. */
const secondTicks = 4;
const connectTimeoutMs = 2_000;
/** The peer may never answer FIN; the socket is destroyed after this. */
const disconnectTimeoutMs = 100;
const fastestReconnectMs = 25;
const slowestReconnectMs = 500;
/** Ready for so long: the next reconnect begins at `fastestReconnectMs` again. */
const steadyTicks = 8;

/** Redis is no master, or not any more. A script may put other words around it. */
const notMaster = /\b(READONLY|MASTERDOWN)\b|WAIT cannot be used with replica/;

export class RedisConnection {
  readonly #redis: Redis;
  readonly #options: RedisConnectionOptions;
  readonly #address: RedisAddress;
  readonly #peers: Peers;
  readonly #log: Logger;
  /** Undefined while no connection is open. */
  #pipeline: RedisPipeline | undefined;
  /** Commands sent until each of the last ticks, the oldest first. */
  #sentBefore: number[] = [];
  #prepared = false;
  #ticksReady = 0;
  #probing = false;
  #loadingScripts = false;
  #server: RedisServer = { run: '', promotion: '', mayHaveLost: true };
  /** Since it was ready for `steadyTicks`. */
  #attempts = 0;
  #trouble = 'it has not answered yet';
  /** It is being closed, to reconnect or for good. */
  #closing = false;

  constructor(options: RedisConnectionOptions, address: RedisAddress, peers: Peers, log: Logger) {
    this.#options = options;
    this.#address = address;
    this.#peers = peers;
    this.#log = log;
    this.#redis = new Redis({
      ...address.connection,
      lazyConnect: true,
      // `#prepare` sends what ioredis would send: ioredis prints to the console when Redis refuses it.
      protocol: 2,
      enableReadyCheck: false,
      disableClientInfo: true,
      maxRetriesPerRequest: 0,
      connectTimeout: connectTimeoutMs,
      disconnectTimeout: disconnectTimeoutMs,
      // Not its own count of attempts: that begins again with each TCP connection, also if the peer refuses us.
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
    return this.#redis.status === 'ready' && this.#prepared && !this.#closing;
  }

  get role(): RedisRole {
    return this.#options.role;
  }

  /** Of the connection that is ready, else of the last one. */
  get server(): RedisServer {
    return this.#server;
  }

  /** Why the last connection was closed or not made. Means nothing while ready. */
  get trouble(): string {
    return this.#trouble;
  }

  /** Connects, and reconnects until `close`. */
  connect(): void {
    this.#peers.connecting(this);
    // `#failed` is given the error too.
    this.#redis.connect().catch(() => undefined);
  }

  /**
   * Sends one command. `unavailable`: Redis certainly did not execute it. `timeout`: unknown. `answers`: replies to the
   * command; `settle` is given the last one.
   */
  send(words: Words, settle: (error: BackplaneError | undefined, reply: Reply) => void, answers = 1): void {
    if (!this.ready || this.#pipeline === undefined) settle(new BackplaneError('unavailable', 'Redis is away'), null);
    else {
      const outcome: Settle = (error, reply) =>
        settle(error instanceof ReplyError ? this.refused(namingKeys(error, words)) : error, reply);
      this.#pipeline.send(words, outcome, answers);
    }
  }

  /** Writes the commands of this turn at once. */
  flush(): void {
    this.#pipeline?.flush();
  }

  /** `send`, as a promise. */
  run(words: Words, answers = 1): Promise<Reply> {
    return new Promise((resolve, reject) => {
      this.send(words, (error, reply) => (error === undefined ? resolve(reply) : reject(error)), answers);
    });
  }

  /** Call it every `tickMs`: the watchdog, and what is due every second. */
  tick(): void {
    const before = this.#sentBefore.length < silentTicks ? 0 : (this.#sentBefore.shift() ?? 0);
    const { sent, settled } = this.#pipeline ?? { sent: 0, settled: 0 };
    this.#sentBefore.push(sent);
    if (settled < before) this.reconnect('it does not answer');
    if (!this.ready) return;
    this.#ticksReady++;
    if (this.#ticksReady === steadyTicks) this.#attempts = 0;
    if (this.#ticksReady % secondTicks !== 0) return;
    this.#probeMaster();
    this.#options.onSecond?.();
  }

  /** Closes an open connection, and connects again. */
  reconnect(reason: string): void {
    const open = this.#redis.status === 'ready' || this.#redis.status === 'connect';
    if (!open || this.#closing) return;
    this.#closing = true;
    this.#trouble = truncate(reason);
    this.#log.warn({ role: this.#options.role, reason: truncate(reason) }, 'connecting to redis again');
    this.#pipeline?.flush();
    this.#redis.disconnect(true);
  }

  close(): void {
    this.#closing = true;
    this.#pipeline?.flush();
    this.#redis.disconnect();
    this.#peers.closed(this);
  }

  /** Handles the error of a command, or of a part of one. Returns it as a BackplaneError. */
  refused(error: ReplyError): BackplaneError {
    const { message } = error;
    const { role } = this.#options;
    this.#log.error({ role, for: purposes[role], error: truncate(message) }, 'redis refused a command');
    if (notMaster.test(message)) this.#peers.renew(message);
    else if (message.startsWith('NOSCRIPT')) this.#loadScripts();
    this.#peers.refused(error);
    return new BackplaneError('unavailable', 'Redis refused it', error);
  }

  #opened(): void {
    const { stream } = this.#redis;
    // From here on ioredis neither reads nor writes.
    stream.removeAllListeners('data');
    const pipeline = new RedisPipeline(stream, this.#options.onMessage);
    this.#pipeline = pipeline;
    this.#prepare(pipeline).then(
      () => {
        if (this.#pipeline !== pipeline || this.#closing || !this.#peers.agree(this)) return;
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
    if (this.#prepared && !this.#closing) this.#trouble = 'it has ended the connection';
    this.#pipeline?.end();
    this.#pipeline = undefined;
    this.#prepared = false;
    this.#closing = false;
    this.#probing = false;
    this.#loadingScripts = false;
    this.#ticksReady = 0;
    this.#sentBefore = [];
    this.#options.onLost();
  }

  /** The first commands, in one write. Rejects if Redis is unfit to serve with. */
  async #prepare(pipeline: RedisPipeline): Promise<void> {
    const { name, onMessage, scripts = [] } = this.#options;
    const { username, password, database } = this.#address;
    const run = (...words: string[]) =>
      new Promise<Reply>((resolve, reject) => {
        pipeline.send(words, (error, reply) => (error === undefined ? resolve(reply) : reject(error)));
      });
    // RESP3: a connection that is subscribed may send other commands too.
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

  /** SCRIPT FLUSH: Redis has forgotten the scripts. It executed nothing of the commands that it refused for that. */
  #loadScripts(): void {
    if (this.#loadingScripts) return;
    this.#loadingScripts = true;
    const scripts = this.#options.scripts ?? [];
    Promise.all(scripts.map(({ text }) => this.run(['SCRIPT', 'LOAD', text])))
      .catch((error: Error) => this.reconnect(error.message))
      .finally(() => {
        this.#loadingScripts = false;
      });
  }

  /** A connection stays open while its server becomes a replica, and perhaps a master again. */
  #probeMaster(): void {
    if (this.#probing) return;
    this.#probing = true;
    this.#options.onMasterProbe?.();
    this.send(['INFO', 'replication'], (error, info) => {
      this.#probing = false;
      if (error !== undefined) return;
      const unfit = whyUnfit(String(info));
      if (unfit !== undefined) this.#peers.renew(unfit);
      else if (readServer(String(info)).promotion !== this.#server.promotion) {
        this.#peers.renew('it was demoted and promoted again');
      } else this.#options.onMasterConfirmed?.();
    });
  }

  #failed(reason: string): void {
    this.#trouble = truncate(reason);
    this.#log.warn({ role: this.#options.role, error: truncate(reason) }, 'redis connection failed');
  }
}

/** An error of Redis does not say which key is of another type. */
function namingKeys(error: ReplyError, words: Words): ReplyError {
  if (!error.message.includes('WRONGTYPE Operation')) return error;
  const keys = words[0] === 'EVALSHA' ? words.slice(3, 3 + Number(words[2])) : words.slice(1, 2);
  return new ReplyError(`WRONGTYPE ${keys.join(' or ')} is of another type than Roomcast gives it; delete it`);
}
