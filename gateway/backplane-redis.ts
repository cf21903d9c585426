/**
 * The Redis backplane: one channel per room, by ioredis. Keeps the contract of gateway/backplane.ts.
 *
 * Two connections: one publishes, one is subscribed. Commands have a bounded time, are never queued while Redis is away
 * and never sent again behind our back (a resent PUBLISH would be a second message). Who is subscribed to what is
 * decided here, in gateway/subscriptions.ts; a canary message every second shows that the way through Redis is open.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Redis, type RedisOptions } from 'ioredis';
import {
  type Backplane,
  BackplaneError,
  type BackplaneListener,
  maxPublishBytesUnderWay,
  maxPublishesUnderWay,
  type Publication,
  type Published,
} from './backplane.ts';
import { unwrap, wrap } from './envelope.ts';
import { cut, type Logger } from './log.ts';
import { Subscriptions } from './subscriptions.ts';

const commandTimeoutMs = 1_500;
const connectTimeoutMs = 2_000;
/** A hung peer never answers the end of the connection; it is destroyed after this. */
const disconnectTimeoutMs = 100;
const slowestReconnectMs = 500;
const canaryIntervalMs = 1_000;
/** Without a canary for this long the backplane is down. */
const canaryLateMs = 3_000;
const startTimeoutMs = 3_000;

const publishOnce = readFileSync(new URL('./publish.lua', import.meta.url), 'utf8');

export interface RedisBackplaneOptions {
  url: string;
  /** Begins every key and channel. */
  prefix: string;
  node: string;
  dedupeMs: number;
}

export class RedisBackplane implements Backplane {
  readonly #options: RedisBackplaneOptions;
  readonly #log: Logger;
  readonly #publisher: Redis;
  readonly #subscriber: Redis;
  readonly #subscriptions: Subscriptions;
  readonly #canaryChannel: string;
  #canaryTimer: NodeJS.Timeout | undefined;
  #canaryAt = Number.NEGATIVE_INFINITY;
  #listener: BackplaneListener | undefined;
  #wasUp = false;
  #onFirstUp: () => void = () => undefined;
  #underWay = 0;
  #bytesUnderWay = 0;

  constructor(options: RedisBackplaneOptions, log: Logger) {
    this.#options = options;
    this.#log = log;
    // Random: two nodes that were given one name would take each other's canaries for their own.
    this.#canaryChannel = `${options.prefix}:canary:${options.node}:${randomBytes(6).toString('hex')}`;
    this.#publisher = this.#connection('publisher');
    this.#subscriber = this.#connection('subscriber');
    this.#subscriptions = new Subscriptions(
      options.prefix,
      {
        subscribe: (channels) => this.#subscriber.subscribe(...channels),
        unsubscribe: (channels) => this.#subscriber.unsubscribe(...channels),
      },
      (error) => this.#reconnect(this.#subscriber, error.message),
    );
    this.#subscriber.on('ready', () => this.#resubscribe());
    this.#subscriber.on('close', () => this.#subscriptions.lost());
    this.#subscriber.on('messageBuffer', (channel: Buffer, bytes: Buffer) => this.#receive(channel, bytes));
  }

  get up(): boolean {
    return (
      this.#publisher.status === 'ready' &&
      this.#subscriber.status === 'ready' &&
      performance.now() - this.#canaryAt < canaryLateMs
    );
  }

  async start(listener: BackplaneListener): Promise<void> {
    this.#listener = listener;
    this.#subscriptions.onRestored = (room) => listener.missed(room, 'interrupted');
    this.#canaryTimer = setInterval(() => this.#sendCanary(), canaryIntervalMs);
    // What goes wrong is told by the error event, and tried again.
    for (const redis of [this.#publisher, this.#subscriber]) redis.connect().catch(() => undefined);
    await new Promise<void>((resolve) => {
      this.#onFirstUp = resolve;
      setTimeout(resolve, startTimeoutMs).unref();
    });
  }

  subscribe(room: string): Promise<void> {
    return this.#subscriptions.add(room);
  }

  unsubscribe(room: string): void {
    this.#subscriptions.remove(room);
  }

  async publish(publication: Publication): Promise<Published> {
    const bytes = publication.frame.length;
    if (this.#publisher.status !== 'ready') throw new BackplaneError('unavailable', 'Redis is away');
    if (this.#underWay >= maxPublishesUnderWay || this.#bytesUnderWay + bytes > maxPublishBytesUnderWay) {
      throw new BackplaneError('unavailable', 'too many messages are waiting for Redis');
    }
    this.#underWay++;
    this.#bytesUnderWay += bytes;
    try {
      return await this.#write(publication);
    } catch (error) {
      throw this.#outcome(error as Error);
    } finally {
      this.#underWay--;
      this.#bytesUnderWay -= bytes;
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#canaryTimer);
    this.#listener = undefined;
    this.#subscriptions.close();
    this.#publisher.disconnect();
    this.#subscriber.disconnect();
  }

  async #write({ room, frame, at, dedupe }: Publication): Promise<Published> {
    const channel = this.#subscriptions.channelOf(room);
    if (dedupe === undefined) {
      await this.#publisher.publish(channel, wrap(frame, at));
      return { duplicate: false };
    }
    const key = `${channel}:key:${JSON.stringify([dedupe.by, dedupe.key])}`;
    const published = await this.#publisher.eval(publishOnce, 1, key, this.#options.dedupeMs, channel, wrap(frame, at));
    return { duplicate: published === 0 };
  }

  /** Redis answered with an error, or the command was never written: not taken. Everything else is unknown. */
  #outcome(error: Error): BackplaneError {
    if (error.name === 'ReplyError') {
      this.#log.error({ error: cut(error.message) }, 'redis refused a message');
      return new BackplaneError('unavailable', 'Redis refused the message');
    }
    return error.message.startsWith("Stream isn't writeable")
      ? new BackplaneError('unavailable', 'Redis is away')
      : new BackplaneError('timeout', 'Redis did not answer in time');
  }

  #connection(role: 'publisher' | 'subscriber'): Redis {
    const redis = new Redis({
      ...connectionOptions(this.#options.url),
      lazyConnect: true,
      connectionName: `roomcast:${role}:${this.#options.node}`,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      autoResubscribe: false,
      maxRetriesPerRequest: 0,
      commandTimeout: commandTimeoutMs,
      connectTimeout: connectTimeoutMs,
      disconnectTimeout: disconnectTimeoutMs,
      retryStrategy: (attempt) => Math.min(25 * 2 ** attempt, slowestReconnectMs) * (0.5 + Math.random() / 2),
    });
    let lastError = '';
    let connectedBefore = false;
    redis.on('error', (error: Error) => {
      // While Redis is away every attempt fails alike; the log says it once.
      if (error.message !== lastError) this.#log.warn({ role, error: cut(error.message) }, 'redis connection failed');
      lastError = error.message;
    });
    redis.on('ready', () => {
      lastError = '';
      if (connectedBefore) this.#listener?.reconnected();
      connectedBefore = true;
      this.#log.info({ role }, 'redis connected');
    });
    redis.on('close', () => this.#noticeState());
    return redis;
  }

  /** Every room again, after each new connection of the subscriber; the canary goes first. */
  #resubscribe(): void {
    this.#subscriber
      .subscribe(this.#canaryChannel)
      .then(() => this.#sendCanary())
      .catch((error: Error) => this.#reconnect(this.#subscriber, error.message));
    this.#subscriptions.restore();
  }

  #receive(channel: Buffer, bytes: Buffer): void {
    const name = channel.toString('latin1');
    if (name === this.#canaryChannel) {
      this.#canaryBack(Number(bytes.toString('latin1')));
      return;
    }
    const room = this.#subscriptions.receive(name);
    if (room === undefined) return;
    const envelope = unwrap(bytes);
    if (envelope === undefined) this.#listener?.missed(room, 'unreadable');
    else this.#listener?.message(room, envelope.frame, envelope.at);
  }

  #canaryBack(sentAt: number): void {
    const now = performance.now();
    if (!(sentAt <= now)) return;
    this.#canaryAt = now;
    this.#listener?.roundTrip((now - sentAt) / 1000);
    this.#noticeState();
  }

  #sendCanary(): void {
    this.#noticeState();
    if (this.#publisher.status !== 'ready' || this.#subscriber.status !== 'ready') return;
    const late = performance.now() - this.#canaryAt > canaryLateMs - canaryIntervalMs;
    this.#publisher
      .publish(this.#canaryChannel, String(performance.now()))
      .catch((error: Error) => this.#reconnect(this.#publisher, error.message));
    // Half-open or hung: a subscribed connection has nothing else that would ever time out.
    if (late) this.#subscriber.ping().catch((error: Error) => this.#reconnect(this.#subscriber, error.message));
  }

  #reconnect(redis: Redis, reason: string): void {
    if (redis.status !== 'ready' || this.#listener === undefined) return;
    this.#log.warn({ error: cut(reason) }, 'redis does not answer; connecting again');
    redis.disconnect(true);
  }

  #noticeState(): void {
    const { up } = this;
    if (up === this.#wasUp || this.#listener === undefined) return;
    this.#wasUp = up;
    if (up) {
      this.#log.info('backplane up');
      this.#onFirstUp();
    } else this.#log.error('backplane down: publishes fail until Redis is back');
  }
}

/** `redis://user:password@host:port/database`; `rediss://` is TLS, with `?ca=` the file of its CA. */
function connectionOptions(text: string) {
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
