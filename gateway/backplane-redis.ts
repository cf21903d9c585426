/**
 * The Redis backplane: one channel per room. Keeps the contract of gateway/backplane.ts.
 *
 * Two connections (gateway/redis-connection.ts). One is subscribed, and publishes to plain rooms, so that the answer and
 * the message itself come in one read. The other one keeps and reads history, which may be long and must not hold up live
 * messages. Which rooms are subscribed is kept in gateway/subscriptions.ts, what rooms with history keep in
 * gateway/history-redis.ts. A canary message every second, from the one to the other, shows that the way through Redis is
 * open in both directions; without it the backplane is down, whatever the connections say.
 */
import { randomBytes } from 'node:crypto';
import {
  type Backplane,
  BackplaneError,
  type BackplaneListener,
  type HistoryPage,
  type HistoryQuery,
  type HistoryRule,
  maxPublishBytesUnderWay,
  maxPublishesUnderWay,
  maxReadsUnderWay,
  type Publication,
  type Published,
} from './backplane.ts';
import { isPresence, unwrap, unwrapPresence, wrap } from './envelope.ts';
import { Appends, appendScript, readHistory, readHistoryScript } from './history-redis.ts';
import type { Logger } from './log.ts';
import { RedisConnection, type RedisRole, readScript, type Script, tickMs } from './redis-connection.ts';
import type { ReplyListener, Words } from './resp.ts';
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
  /** Keeps and reads history. */
  readonly #publisher: RedisConnection;
  /** Carries what is live. */
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
  /** Messages of this turn for rooms with history. */
  #appends: Appends | undefined;
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
    this.#publisher = this.#connection('publisher', { scripts });
    this.#subscriber = this.#connection('subscriber', {
      scripts: [publishOnce],
      onMessage: (channel, bytes, start, end) => this.#receive(channel, bytes, start, end),
      onLost: () => this.#subscriptions.lost(),
    });
    this.#subscriptions = new Subscriptions(
      options.prefix,
      {
        subscribe: (channels) => this.#subscriber.run(['SUBSCRIBE', ...channels], channels.length),
        unsubscribe: (channels) => this.#subscriber.run(['UNSUBSCRIBE', ...channels], channels.length),
      },
      (error) => this.#subscriber.reconnect(error.message),
    );
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

  publish(publication: Publication): Promise<Published> {
    const bytes = Buffer.byteLength(publication.prefix) + Buffer.byteLength(publication.suffix);
    if (this.#underWay >= maxPublishesUnderWay || this.#bytesUnderWay + bytes > maxPublishBytesUnderWay) {
      return Promise.reject(new BackplaneError('unavailable', 'too many messages are waiting for Redis'));
    }
    this.#underWay++;
    this.#bytesUnderWay += bytes;
    const settled = () => {
      this.#underWay--;
      this.#bytesUnderWay -= bytes;
    };
    if (!this.#options.replicated) return this.#write(publication, settled);
    const written = this.#write(publication, () => undefined);
    return Promise.all([written, this.#replicated()])
      .then(([published]) => published)
      .finally(settled);
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
      // Whoever has published and asks then has to find it.
      this.#writeAppends();
      const channel = this.#subscriptions.channelOf(room);
      return await readHistory(this.#publisher, query, { channel, lineKey: this.#lineKey, newName: this.#newName() });
    } finally {
      this.#readsUnderWay--;
    }
  }

  /** A callback and one promise, as it is done for every message. */
  #write(publication: Publication, settled: () => void): Promise<Published> {
    const { room, dedupe, history } = publication;
    const channel = this.#subscriptions.channelOf(room);
    const dedupeKey = dedupe === undefined ? undefined : `${channel}:key:${JSON.stringify([dedupe.by, dedupe.key])}`;
    return new Promise((resolve, reject) => {
      if (history !== undefined) {
        this.#append(publication, history, channel, dedupeKey, (error, published) => {
          settled();
          if (published === undefined) reject(error);
          else resolve(published);
        });
      } else {
        // WAIT counts what its own connection has written.
        const connection = this.#options.replicated ? this.#publisher : this.#subscriber;
        connection.send(this.#publishing(publication, channel, dedupeKey), (error, reply) => {
          settled();
          if (error === undefined) resolve({ duplicate: dedupeKey !== undefined && reply === 0 });
          else reject(error);
        });
      }
    });
  }

  #publishing({ prefix, suffix, at }: Publication, channel: string, dedupeKey: string | undefined): Words {
    const envelope = wrap(prefix + suffix, at);
    return dedupeKey === undefined
      ? ['PUBLISH', channel, envelope]
      : ['EVALSHA', publishOnce.sha, 1, dedupeKey, this.#options.dedupeMs, channel, envelope];
  }

  #append(
    publication: Publication,
    history: HistoryRule,
    channel: string,
    dedupeKey: string | undefined,
    settle: (error: Error | undefined, published: Published | undefined) => void,
  ): void {
    if (this.#appends === undefined) {
      this.#appends = new Appends();
      setImmediate(() => this.#writeAppends());
    }
    this.#appends.add(publication, history, channel, dedupeKey, settle);
    if (this.#appends.isFull) this.#writeAppends();
  }

  #writeAppends(): void {
    const appends = this.#appends;
    if (appends === undefined) return;
    this.#appends = undefined;
    const command = appends.command(this.#publisher, this.#lineKey, this.#newName(), this.#options.dedupeMs);
    this.#publisher.send(command, (error, reply) => {
      appends.settle(error, reply, (refusal) => this.#publisher.refused(refusal));
    });
    this.#publisher.flush();
  }

  /** WAIT holds up the connection: there is one at a time, for everything written before it. */
  #replicated(): Promise<void> {
    this.#nextReplication ??= this.#replicating.then(async () => {
      // What else this turn writes is covered too.
      await new Promise((resolve) => setImmediate(resolve));
      this.#nextReplication = undefined;
      this.#writeAppends();
      // One that fails confirms nothing, but what was written before it may have been taken: never `unavailable`.
      const waiting = this.#publisher.run(['WAIT', 1, replicationTimeoutMs]).catch(() => 0);
      this.#replicating = waiting;
      if ((await waiting) === 0) throw new BackplaneError('timeout', 'no replica confirmed it in time');
    });
    return this.#nextReplication;
  }

  get #lineKey(): string {
    return `${this.#options.prefix}:line`;
  }

  #newName(): string {
    this.#names++;
    return `${this.#run}${this.#names.toString(36)}`;
  }

  #connection(
    role: RedisRole,
    parts: { scripts?: Script[]; onMessage?: ReplyListener['message']; onLost?: () => void },
  ): RedisConnection {
    const { node, url } = this.#options;
    const connection: RedisConnection = new RedisConnection(
      {
        role,
        url,
        name: `roomcast:${role}:${node}`,
        scripts: parts.scripts,
        onMessage: parts.onMessage,
        onReady: () => {
          if (this.#connectedBefore.has(role)) this.#listener?.reconnected();
          this.#connectedBefore.add(role);
          if (connection === this.#subscriber) this.#resubscribe();
          else this.#sendCanary();
        },
        onLost: () => {
          parts.onLost?.();
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
      .run(['SUBSCRIBE', this.#canaryChannel])
      .then(() => this.#sendCanary())
      .catch((error: Error) => this.#subscriber.reconnect(error.message));
    this.#subscriptions.restore();
  }

  /** What stands in `bytes` from `start` to `end`. */
  #receive(channel: string, bytes: Buffer, start: number, end: number): void {
    // What a connection that is being given up still brings is told as missed.
    if (!this.#subscriber.ready) return;
    const room = this.#subscriptions.receive(channel);
    if (room === undefined) {
      if (channel === this.#canaryChannel) this.#canaryBack(Number(bytes.toString('latin1', start, end)));
    } else if (isPresence(bytes, start)) {
      const frame = unwrapPresence(bytes, start, end, room);
      if (frame === undefined) this.#listener?.missed(room, 'unreadable');
      else this.#listener?.presence(frame);
    } else {
      const envelope = unwrap(bytes, start, end);
      if (envelope === undefined) this.#listener?.missed(room, 'unreadable');
      else this.#listener?.message(room, envelope.frame, envelope.at, envelope.position);
    }
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
      .run(['PUBLISH', this.#canaryChannel, performance.now()])
      .catch((error: Error) => this.#publisher.reconnect(error.message));
    // Nothing is ever sent on a subscribed connection; only a question shows that it is dead.
    if (this.#ticksSinceCanary < canaryLateTicks) return;
    this.#subscriber.run(['PING']).catch((error: Error) => this.#subscriber.reconnect(error.message));
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
