/**
 * One connection to Redis. ioredis connects and reconnects (gateway/redis/connection/dial.ts). Each new connection is
 * prepared here before it is ready: user, database, scripts, and what the server is. Commands on an open connection take
 * gateway/redis/connection/pipeline.ts, at a fifth of what they cost with ioredis.
 *
 * Commands are never queued while Redis is away, and never sent again: a second PUBLISH is a second message. A watchdog
 * reconnects when a command has no answer for `silentTicks`, or for `busyTicks` while messages come: the answer may be behind
 * them. It counts turns of the event loop, not time: after a stall of this process, answers that wait are read before the next
 * tick. A probe asks once a second whether the server is still the same master. What follows for the other connections is
 * connections.ts. It never knows channels or rooms.
 */
import { BackplaneError } from '../../backplane/backplane.ts';
import { type Logger, truncate } from '../../telemetry/log.ts';
import { namingKeys, Repair, repairScript } from '../repair.ts';
import { evaluation, type Script, textOf } from '../script.ts';
import type { Endpoint, RedisAddress } from './address.ts';
import { dial, type RedisClient } from './dial.ts';
import { RedisPipeline, type Settle } from './pipeline.ts';
import { prepare } from './prepare.ts';
import { isRedirect } from './redirect.ts';
import { type Reply, ReplyError, type ReplyListener, type Words } from './resp.ts';
import { purposes, type RedisRole } from './role.ts';
import { leadsTo, type Master, sentinelTrouble } from './sentinels.ts';
import { type RedisServer, readServer, whyUnfit } from './server-info.ts';

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
  /** Only for a connection that subscribes. The second, in a cluster: a channel is not subscribed any more. */
  onMessage?: ReplyListener['message'];
  onUnsubscribed?: ReplyListener['unsubscribed'];
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
/** In place of `silentTicks`, where something has come meanwhile on a connection that subscribes. */
const busyTicks = 20;
/** Between two master probes, and between two calls of `onSecond`. */
const secondTicks = 4;
const fastestReconnectMs = 25;
const slowestReconnectMs = 500;
/** Ready for so long: the next reconnect begins at `fastestReconnectMs` again. */
const steadyTicks = 8;

/** Redis is no master, or not any more. A script may put other words around it. */
const notMaster = /\b(READONLY|MASTERDOWN)\b|WAIT cannot be used with replica/;

export class RedisConnection {
  readonly #redis: RedisClient;
  readonly #options: RedisConnectionOptions;
  readonly #address: RedisAddress;
  readonly #peers: Peers;
  readonly #log: Logger;
  /** Undefined: its keys are those of the operator's backend. */
  readonly #repair: Repair | undefined;
  /** Undefined while no connection is open. */
  #pipeline: RedisPipeline | undefined;
  /** At each of the last ticks, the newest first: commands sent, and bytes that had come if it subscribes. */
  #before: { sent: number; bytes: number }[] = [];
  #prepared = false;
  #ticksReady = 0;
  #probing = false;
  #loadingScripts = false;
  #server: RedisServer = { run: '', mark: '', promotion: '', mayHaveLost: true, isWhole: false };
  /** Since it was ready for `steadyTicks`. */
  #attempts = 0;
  #trouble = 'it has not answered yet';
  /** It is being closed, to reconnect or for good. */
  #closing = false;
  #closed = false;

  constructor(options: RedisConnectionOptions, address: RedisAddress, peers: Peers, log: Logger) {
    this.#options = options;
    this.#address = address;
    this.#peers = peers;
    this.#log = log;
    const repair = (key: string, command: string) => this.run(this.evaluation(repairScript, [key], [command]));
    this.#repair = options.role === 'inputs' ? undefined : new Repair(repair, log);
    this.#redis = dial(address, () => this.#retryDelayMs());
    this.#redis.on('error', (error: Error) => {
      // Each sentinel has told its own trouble.
      if (!error.message.startsWith('All sentinels are unreachable')) this.#failed(error.message);
    });
    if (address.kind === 'sentinel') {
      this.#redis.on('sentinelError', (error: Error) => this.#failed(sentinelTrouble(error.message, address.master)));
    }
    this.#redis.on('ready', () => this.#opened());
    this.#redis.on('close', () => this.#ended());
    this.#redis.on('end', () => this.#gaveUp());
  }

  get ready(): boolean {
    return this.#redis.status === 'ready' && this.#prepared && !this.#closing;
  }

  /** It leads to a server of a cluster: channels are sharded, and scripts declare no keys. */
  get isSharded(): boolean {
    return this.#address.kind === 'single' && this.#address.isShard === true;
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
    this.#dial();
  }

  /**
   * Sends one command. `unavailable`: Redis certainly did not execute it. `timeout`: unknown. `answers`: replies to the
   * command; `settle` is given the last one.
   */
  send(words: Words, settle: (error: BackplaneError | undefined, reply: Reply) => void, answers = 1): void {
    if (!this.ready || this.#pipeline === undefined) settle(new BackplaneError('unavailable', 'Redis is away'), null);
    else {
      const outcome: Settle = (error, reply) =>
        settle(error instanceof ReplyError ? this.refused(namingKeys(error, words, this.isSharded)) : error, reply);
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

  /** The command that runs a script here. */
  evaluation(script: Script, keys: readonly string[], values: Words): Words {
    return evaluation(script, this.isSharded, keys, values);
  }

  /** The command that publishes here. */
  publishing(channel: string, text: string): Words {
    return [this.isSharded ? 'SPUBLISH' : 'PUBLISH', channel, text];
  }

  /** Sharded channels have to be of one slot. */
  subscribe(channels: readonly string[]): Promise<unknown> {
    return this.run([this.isSharded ? 'SSUBSCRIBE' : 'SUBSCRIBE', ...channels], channels.length);
  }

  /** `done`: it is answered, or has failed. Called before what Redis says next, which may be in the same read. */
  unsubscribe(channels: readonly string[], done: () => void): void {
    if (!this.isSharded) this.send(['UNSUBSCRIBE', ...channels], done, channels.length);
    else if (!this.ready) done();
    else this.#pipeline?.leave(channels, done, (error) => this.refused(error));
  }

  /** Call it every `tickMs`: the watchdog, and what is due every second. */
  tick(): void {
    const { sent, settled } = this.#pipeline ?? { sent: 0, settled: 0 };
    const bytes = this.#options.onMessage === undefined ? 0 : (this.#redis.stream?.bytesRead ?? 0);
    const isLate = (ticks: number) => settled < (this.#before[ticks - 1]?.sent ?? 0);
    const isSilent = isLate(silentTicks) && this.#before[silentTicks - 1]?.bytes === bytes;
    if (isSilent || isLate(busyTicks)) this.reconnect('it does not answer');
    this.#before = [{ sent, bytes }, ...this.#before.slice(0, busyTicks - 1)];
    if (!this.ready) return;
    this.#ticksReady++;
    if (this.#ticksReady === steadyTicks) this.#attempts = 0;
    if (this.#ticksReady % secondTicks !== 0) return;
    this.#probeMaster();
    this.#options.onSecond?.();
  }

  /** Where the connection, or the attempt to make it, leads; by address. */
  get peer(): Endpoint | undefined {
    const { remoteAddress: host, remotePort: port } = this.#redis.stream ?? {};
    return host === undefined || port === undefined ? undefined : { host, port };
  }

  /** Sentinel names another master. Leaves any other server; gives up an attempt, which may hang, to reach one. */
  follow(master: Master): void {
    if (leadsTo(master, this.peer)) return;
    this.#attempts = 0;
    this.reconnect('the sentinels name another master');
  }

  /** Closes an open connection or gives up an attempt, and connects again. */
  reconnect(reason: string): void {
    if (!['ready', 'connect', 'connecting'].includes(this.#redis.status) || this.#closing) return;
    this.#closing = true;
    this.#trouble = truncate(reason);
    this.#log.warn({ role: this.#options.role, reason: truncate(reason) }, 'connecting to redis again');
    this.#pipeline?.flush();
    this.#redis.disconnect(true);
  }

  close(): void {
    this.#closed = true;
    this.#closing = true;
    this.#pipeline?.flush();
    this.#redis.disconnect();
    this.#peers.closed(this);
  }

  /** Handles the error of a command, or of a part of one. Returns it as a BackplaneError. */
  refused(error: ReplyError): BackplaneError {
    const { message } = error;
    const { role } = this.#options;
    if (this.isSharded && isRedirect(error)) {
      // The shard reads anew where its slots are, and says that in the log.
      this.#peers.refused(error);
      return new BackplaneError('unavailable', 'its slot is at another server, or on its way there', error);
    }
    this.#log.error({ role, for: purposes[role], error: truncate(message) }, 'redis refused a command');
    if (notMaster.test(message)) this.#peers.renew(message);
    else if (message.startsWith('NOSCRIPT')) this.#loadScripts();
    this.#repair?.heard(message);
    this.#peers.refused(error);
    return new BackplaneError('unavailable', 'Redis refused it', error);
  }

  get #scriptTexts(): string[] {
    return [...(this.#options.scripts ?? []), repairScript].map((script) => textOf(script, this.isSharded));
  }

  #dial(): void {
    // `#failed` is given the error too.
    this.#redis.connect().catch(() => undefined);
  }

  #retryDelayMs(): number {
    const delayMs = Math.min(fastestReconnectMs * 2 ** this.#attempts++, slowestReconnectMs);
    return delayMs * (0.5 + Math.random() / 2);
  }

  #opened(): void {
    const { stream } = this.#redis;
    // From here on ioredis neither reads nor writes.
    stream.removeAllListeners('data');
    const { onMessage, onUnsubscribed } = this.#options;
    const unsubscribed = this.isSharded && onMessage !== undefined ? onUnsubscribed : undefined;
    const pipeline = new RedisPipeline(stream, { message: onMessage, unsubscribed });
    this.#pipeline = pipeline;
    const { name } = this.#options;
    const texts = this.#scriptTexts;
    prepare(pipeline, this.#address, {
      name,
      texts,
      subscribes: onMessage !== undefined,
      isSharded: this.isSharded,
    }).then(
      (server) => {
        this.#server = server;
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
    this.#before = [];
    this.#options.onLost();
  }

  /** ioredis makes no more attempts: it was told to disconnect while it asked a sentinel. */
  #gaveUp(): void {
    this.#closing = false;
    if (!this.#closed) setTimeout(() => this.#closed || this.#dial(), this.#retryDelayMs()).unref();
  }

  /** SCRIPT FLUSH: Redis has forgotten the scripts. It executed nothing of the commands that it refused for that. */
  #loadScripts(): void {
    if (this.#loadingScripts) return;
    this.#loadingScripts = true;
    Promise.all(this.#scriptTexts.map((text) => this.run(['SCRIPT', 'LOAD', text])))
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
      const unfit = whyUnfit(String(info), this.isSharded);
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
