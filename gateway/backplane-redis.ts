/**
 * The Redis backplane: one channel per room. Keeps the contract of gateway/backplane.ts.
 *
 * Two connections (gateway/redis-connection.ts): one publishes and reads, one is subscribed. Which rooms are subscribed
 * is kept in gateway/subscriptions.ts, what rooms with history keep in gateway/history-redis.ts. A canary message every
 * second, from the one to the other, shows that the way through Redis is open in both directions; without it the
 * backplane is down, whatever the connections say.
 */
import { randomBytes } from 'node:crypto';
import {
  type Backplane,
  BackplaneError,
  type BackplaneListener,
  type HistoryPage,
  type HistoryQuery,
  maxPublishBytesUnderWay,
  maxPublishesUnderWay,
  maxReadsUnderWay,
  type Publication,
  type Published,
} from './backplane.ts';
import { isPresence, unwrap, unwrapPresence, wrap } from './envelope.ts';
import { append, appendScript, type HistoryKeys, readHistory, readHistoryScript } from './history-redis.ts';
import type { Logger } from './log.ts';
import { RedisConnection, type RedisRole, readScript, type Script, tickMs } from './redis-connection.ts';
import { Subscriptions } from './subscriptions.ts';

const canaryEveryTicks = 4;
/** Without a canary for so many ticks (3 s) the backplane is down; for fewer, its subscription is asked for an answer. */
const canaryLostTicks = 12;
const canaryLateTicks = 6;
const startTimeoutMs = 3_000;

/** Within it a replica has to confirm, with ACK=replicated. Shorter than the watchdog of the connection. */
const replicationTimeoutMs = 1_000;

const publishOnce = readScript('publish.lua');

export interface RedisBackplaneOptions {
  url: string;
  /** Begins every key and channel. */
  prefix: string;
  node: string;
  dedupeMs: number;
  /** A publish resolves only when one replica has it too. */
  replicated: boolean;
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
  #readsUnderWay = 0;
  /** The WAIT under way; settled when there is none. */
  #replicating: Promise<unknown> = Promise.resolve();
  /** The one behind it, for everything that is written until it begins. */
  #nextReplication: Promise<void> | undefined;
  /** What nodes name, epochs for one, has another name on every node and in every run. */
  readonly #run = randomBytes(6).toString('base64url');
  #names = 0;

  constructor(options: RedisBackplaneOptions, log: Logger) {
    this.#options = options;
    this.#log = log;
    // Random: two nodes that were given one name would take each other's canaries for their own.
    this.#canaryChannel = `${options.prefix}:canary:${options.node}:${randomBytes(6).toString('hex')}`;
    const scripts = [publishOnce, appendScript, readHistoryScript];
    this.#publisher = this.#connection('publisher', scripts, () => undefined);
    this.#subscriber = this.#connection('subscriber', [], () => this.#subscriptions.lost());
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
    const bytes = Buffer.byteLength(publication.prefix) + Buffer.byteLength(publication.suffix);
    if (this.#underWay >= maxPublishesUnderWay || this.#bytesUnderWay + bytes > maxPublishBytesUnderWay) {
      throw new BackplaneError('unavailable', 'too many messages are waiting for Redis');
    }
    this.#underWay++;
    this.#bytesUnderWay += bytes;
    try {
      const written = this.#write(publication);
      if (this.#options.replicated) await Promise.all([written, this.#replicated()]);
      return await written;
    } finally {
      this.#underWay--;
      this.#bytesUnderWay -= bytes;
    }
  }

  renew(): void {
    // At once: nobody may be told that a room is subscribed on the connection that is given up.
    this.#subscriptions.lost();
    this.#subscriber.reconnect('the node stood still');
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#listener = undefined;
    this.#subscriptions.close();
    this.#publisher.close();
    this.#subscriber.close();
  }

  async read(room: string, query: HistoryQuery): Promise<HistoryPage> {
    if (this.#readsUnderWay >= maxReadsUnderWay) {
      throw new BackplaneError('unavailable', 'too many reads are waiting for Redis');
    }
    this.#readsUnderWay++;
    try {
      return await readHistory(this.#publisher, query, this.#historyKeys(room));
    } finally {
      this.#readsUnderWay--;
    }
  }

  async #write(publication: Publication): Promise<Published> {
    const { room, prefix, suffix, at, dedupe, history } = publication;
    const channel = this.#subscriptions.channelOf(room);
    const { dedupeMs } = this.#options;
    const dedupeKey = dedupe === undefined ? undefined : `${channel}:key:${JSON.stringify([dedupe.by, dedupe.key])}`;
    if (history !== undefined) {
      return append(this.#publisher, publication, history, { ...this.#historyKeys(room), dedupeKey, dedupeMs });
    }
    const envelope = wrap(prefix + suffix, at);
    if (dedupeKey === undefined) {
      await this.#publisher.run((redis) => redis.publish(channel, envelope));
      return { duplicate: false };
    }
    const published = await this.#publisher.run((redis) =>
      redis.evalsha(publishOnce.sha, 1, dedupeKey, dedupeMs, channel, envelope),
    );
    return { duplicate: published === 0 };
  }

  /** WAIT holds up the connection: there is one at a time, for everything written before it. */
  #replicated(): Promise<void> {
    this.#nextReplication ??= this.#replicating.then(async () => {
      // What else this turn writes is covered too.
      await new Promise((resolve) => setImmediate(resolve));
      this.#nextReplication = undefined;
      // One that fails confirms nothing, but what was written before it may have been taken: never `unavailable`.
      const waiting = this.#publisher.run((redis) => redis.wait(1, replicationTimeoutMs)).catch(() => 0);
      this.#replicating = waiting;
      if ((await waiting) < 1) throw new BackplaneError('timeout', 'no replica confirmed it in time');
    });
    return this.#nextReplication;
  }

  #historyKeys(room: string): HistoryKeys {
    this.#names++;
    return {
      channel: this.#subscriptions.channelOf(room),
      lineKey: `${this.#options.prefix}:line`,
      newName: `${this.#run}${this.#names.toString(36)}`,
    };
  }

  #connection(role: RedisRole, scripts: Script[], onLost: () => void): RedisConnection {
    const { node, url } = this.#options;
    const connection: RedisConnection = new RedisConnection(
      {
        role,
        url,
        name: `roomcast:${role}:${node}`,
        scripts,
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
    if (isPresence(bytes)) {
      this.#receivePresence(room, bytes);
      return;
    }
    const envelope = unwrap(bytes);
    if (envelope === undefined) this.#listener?.missed(room, 'unreadable');
    else this.#listener?.message(room, envelope.frame, envelope.at, envelope.position);
  }

  #receivePresence(room: string, bytes: Buffer): void {
    const frame = unwrapPresence(bytes, room);
    if (frame === undefined) this.#listener?.missed(room, 'unreadable');
    else this.#listener?.presence(frame);
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
