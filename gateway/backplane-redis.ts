/**
 * The Redis backplane: one channel per room. Keeps the contract of gateway/backplane.ts.
 *
 * Two connections (gateway/redis-connection.ts): one publishes, one is subscribed. Which rooms are subscribed is kept in
 * gateway/subscriptions.ts. A canary message every second, from the one to the other, shows that the way through Redis
 * is open in both directions; without it the backplane is down, whatever the connections say.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
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
import type { Logger } from './log.ts';
import { RedisConnection, type RedisRole, tickMs } from './redis-connection.ts';
import { Subscriptions } from './subscriptions.ts';

const canaryEveryTicks = 4;
/** Without a canary for so many ticks (3 s) the backplane is down; for fewer, its subscription is asked for an answer. */
const canaryLostTicks = 12;
const canaryLateTicks = 6;
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
  readonly #publisher: RedisConnection;
  readonly #subscriber: RedisConnection;
  readonly #subscriptions: Subscriptions;
  readonly #canaryChannel: string;
  readonly #connectedBefore = new Set<RedisRole>();
  #timer: NodeJS.Timeout | undefined;
  #ticks = 0;
  #ticksSinceCanary = canaryLostTicks;
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
    this.#publisher = this.#connection('publisher', () => undefined);
    this.#subscriber = this.#connection('subscriber', () => this.#subscriptions.lost());
    this.#subscriptions = new Subscriptions(
      options.prefix,
      {
        subscribe: (channels) => this.#subscriber.run((redis) => redis.subscribe(...channels)),
        unsubscribe: (channels) => this.#subscriber.run((redis) => redis.unsubscribe(...channels)),
      },
      (error) => this.#subscriber.reconnect(error.message),
    );
    this.#subscriber.onMessage((channel, bytes) => this.#receive(channel, bytes));
  }

  get up(): boolean {
    return this.#publisher.ready && this.#subscriber.ready && this.#ticksSinceCanary < canaryLostTicks;
  }

  async start(listener: BackplaneListener): Promise<void> {
    this.#listener = listener;
    this.#subscriptions.onRestored = (room) => listener.missed(room, 'interrupted');
    this.#timer = setInterval(() => this.#tick(), tickMs);
    this.#publisher.connect();
    this.#subscriber.connect();
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
    const bytes = Buffer.byteLength(publication.frame);
    if (this.#underWay >= maxPublishesUnderWay || this.#bytesUnderWay + bytes > maxPublishBytesUnderWay) {
      throw new BackplaneError('unavailable', 'too many messages are waiting for Redis');
    }
    this.#underWay++;
    this.#bytesUnderWay += bytes;
    try {
      return await this.#write(publication);
    } finally {
      this.#underWay--;
      this.#bytesUnderWay -= bytes;
    }
  }

  renew(): void {
    this.#subscriber.reconnect('the node stood still');
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#listener = undefined;
    this.#subscriptions.close();
    this.#publisher.close();
    this.#subscriber.close();
  }

  async #write({ room, frame, at, dedupe }: Publication): Promise<Published> {
    const channel = this.#subscriptions.channelOf(room);
    const envelope = wrap(frame, at);
    if (dedupe === undefined) {
      await this.#publisher.run((redis) => redis.publish(channel, envelope));
      return { duplicate: false };
    }
    const key = `${channel}:key:${JSON.stringify([dedupe.by, dedupe.key])}`;
    const { dedupeMs } = this.#options;
    const published = await this.#publisher.run((redis) =>
      redis.eval(publishOnce, 1, key, dedupeMs, channel, envelope),
    );
    return { duplicate: published === 0 };
  }

  #connection(role: RedisRole, onLost: () => void): RedisConnection {
    const { node, url } = this.#options;
    const connection: RedisConnection = new RedisConnection(
      {
        role,
        url,
        name: `roomcast:${role}:${node}`,
        onReady: () => {
          if (this.#connectedBefore.has(role)) this.#listener?.reconnected();
          this.#connectedBefore.add(role);
          if (connection === this.#subscriber) this.#resubscribe();
          else this.#sendCanary();
        },
        onLost: () => {
          onLost();
          this.#noticeState();
        },
      },
      this.#log,
    );
    return connection;
  }

  /** Every room again, after each new connection of the subscriber; the canary goes first. */
  #resubscribe(): void {
    this.#subscriber
      .run((redis) => redis.subscribe(this.#canaryChannel))
      .then(() => this.#sendCanary())
      .catch((error: Error) => this.#subscriber.reconnect(error.message));
    this.#subscriptions.restore();
  }

  #receive(channel: Buffer, bytes: Buffer): void {
    // What a connection that is being given up still brings is told as missed.
    if (!this.#subscriber.ready) return;
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

  #tick(): void {
    this.#ticks++;
    this.#ticksSinceCanary++;
    this.#publisher.tick();
    this.#subscriber.tick();
    if (this.#ticks % canaryEveryTicks === 0) this.#sendCanary();
    this.#noticeState();
  }

  #sendCanary(): void {
    if (!this.#publisher.ready || !this.#subscriber.ready) return;
    this.#publisher
      .run((redis) => redis.publish(this.#canaryChannel, String(performance.now())))
      .catch((error: Error) => this.#publisher.reconnect(error.message));
    // Nothing is ever sent on a subscribed connection; only a question shows that it is dead.
    if (this.#ticksSinceCanary < canaryLateTicks) return;
    this.#subscriber.run((redis) => redis.ping()).catch((error: Error) => this.#subscriber.reconnect(error.message));
  }

  #canaryBack(sentAt: number): void {
    const roundTripMs = performance.now() - sentAt;
    // Anybody with access to Redis can write into the channel.
    if (!(roundTripMs >= 0)) return;
    this.#ticksSinceCanary = 0;
    this.#listener?.roundTrip(roundTripMs / 1000);
    this.#noticeState();
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
