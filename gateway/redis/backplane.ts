/**
 * The backplane over Redis: one channel per room. Contract: gateway/backplane/backplane.ts.
 *
 * Two connections (docs/decisions/009-one-connection-for-what-is-live.md). `pubsub` is subscribed, and publishes to plain
 * rooms: the answer and the message come in one read. `history` keeps and reads messages (gateway/redis/history/queue.ts):
 * large answers do not delay live messages. With ACK=replicated it publishes to plain rooms too, as WAIT counts the writes of
 * its own connection only.
 *
 * Owns the publishes and reads in flight. Subscriptions are gateway/redis/subscriptions.ts. While gateway/redis/canary.ts says
 * that messages do not come back, nothing is published. It never knows members or frames.
 */
import { randomBytes } from 'node:crypto';
import {
  type Backplane,
  BackplaneError,
  type BackplaneListener,
  type HistoryPage,
  type HistoryQuery,
  type HistoryRule,
  maxPublishBytesInFlight,
  maxPublishesInFlight,
  maxReadsInFlight,
  type Publication,
  type Published,
} from '../backplane/backplane.ts';
import type { Logger } from '../telemetry/log.ts';
import { Canary } from './canary.ts';
import { type RedisConnection, type RedisConnectionOptions, type RedisRole, tickMs } from './connection/connection.ts';
import type { RedisConnections } from './connection/connections.ts';
import type { Reply, ReplyError, Words } from './connection/resp.ts';
import { inClusterMode } from './connection/server-info.ts';
import { controlScripts } from './control/scripts.ts';
import { deliver } from './delivery.ts';
import { type EnvelopeVersion, EnvelopeWriter } from './envelope.ts';
import { appendScript, lineScript, readHistoryScript } from './history/commands.ts';
import { HistoryQueue } from './history/queue.ts';
import { RedisNames } from './names.ts';
import { type OwnChannel, OwnChannels } from './own-channels.ts';
import { readScript } from './script.ts';
import { Subscriptions } from './subscriptions.ts';
import { UnconfirmedRooms } from './unconfirmed-rooms.ts';

const startTimeoutMs = 3_000;

/** Of the write probe. It needs every command that another message needs. */
const canaryRule: HistoryRule = { size: 1, maxBytes: 1, ttlSeconds: 60 };

const publishOnce = readScript('script.lua', 'publish.lua');

export interface RedisBackplaneOptions {
  redis: RedisConnections;
  /** Of every key and channel. */
  prefix: string;
  node: string;
  dedupeMs: number;
  /** A publish resolves when one replica has the message too. */
  replicated: boolean;
  /** Of the envelopes that this node writes; it reads all versions. */
  envelopeVersion?: EnvelopeVersion;
}

export class RedisBackplane implements Backplane {
  readonly #options: RedisBackplaneOptions;
  readonly #log: Logger;
  readonly #names: RedisNames;
  readonly #history: RedisConnection;
  readonly #pubsub: RedisConnection;
  readonly #historyQueue: HistoryQueue;
  readonly #subscriptions: Subscriptions;
  readonly #ownChannels = new OwnChannels();
  readonly #canary: Canary;
  readonly #canaryChannel: string;
  readonly #envelopes: EnvelopeWriter;
  readonly #unconfirmed = new UnconfirmedRooms();
  /** Of the last master that `#pubsub` was connected to. */
  #promotion = '';
  readonly #connectedBefore = new Set<RedisRole>();
  #timer: NodeJS.Timeout | undefined;
  #listener: BackplaneListener | undefined;
  #wasUp = false;
  #onStarted: () => void = () => undefined;
  #publishesInFlight = 0;
  #bytesInFlight = 0;
  #readsInFlight = 0;

  constructor(options: RedisBackplaneOptions, log: Logger) {
    const { redis, prefix, node, dedupeMs } = options;
    this.#options = options;
    this.#log = log;
    this.#envelopes = new EnvelopeWriter(options.envelopeVersion);
    this.#names = new RedisNames(prefix, redis.database);
    this.#canaryChannel = this.#names.canaryChannel(node, randomBytes(6).toString('hex'));
    this.#history = this.#connection('history', {
      scripts: [publishOnce, lineScript, appendScript, readHistoryScript],
      onReady: () => {
        this.#historyQueue.settleLine();
        this.#sendCanary();
      },
      onSecond: () => this.#sendCanary(),
    });
    this.#pubsub = this.#connection('pubsub', {
      scripts: [publishOnce, ...controlScripts],
      onMessage: (channel, bytes, start, end) => this.#receive(channel, bytes, start, end),
      onReady: () => this.#resubscribe(),
      onLost: () => this.#subscriptions.lost(),
      onMasterProbe: () => this.#unconfirmed.probe(),
      onMasterConfirmed: () => this.#unconfirmed.confirm(),
    });
    this.#historyQueue = new HistoryQueue(this.#history, this.#names, dedupeMs);
    this.#subscriptions = new Subscriptions(
      (room) => this.#names.channel(room),
      {
        subscribe: (channels) => this.#pubsub.run(['SUBSCRIBE', ...channels], channels.length),
        unsubscribe: (channels) => this.#pubsub.run(['UNSUBSCRIBE', ...channels], channels.length),
      },
      (error) => this.#pubsub.reconnect(error.message),
    );
    this.#canary = new Canary({
      publish: (text) => this.#history.run(['PUBLISH', this.#canaryChannel, text]),
      probeWrite: () => this.#probeWrite(),
      onRoundTrip: (seconds) => this.#listener?.roundTrip(seconds),
      onLost: () => redis.renew('a canary that Redis accepted has not come back'),
      log,
    });
    this.#ownChannels.add(this.#canaryChannel, {
      receive: (bytes, start, end) => {
        this.#canary.receive(bytes.toString('latin1', start, end));
        this.#noticeState();
      },
      subscribed: () => this.#sendCanary(),
    });
  }

  get up(): boolean {
    return this.#history.ready && this.#pubsub.ready && this.#canary.flows;
  }

  get trouble(): string | undefined {
    for (const { ready, trouble } of [this.#history, this.#pubsub]) {
      if (!ready) return `Redis cannot be used: ${trouble}`;
    }
    if (this.#canary.refusal !== undefined) return `Redis refuses writes: ${this.#canary.refusal}`;
    return this.#canary.flows ? undefined : 'messages do not come back through Redis';
  }

  async start(listener: BackplaneListener): Promise<void> {
    this.#listener = listener;
    this.#options.redis.onRefused = (error) => this.#refused(error);
    this.#subscriptions.onRestored = (room) => listener.gap(room, 'interrupted');
    this.#timer = setInterval(() => {
      this.#canary.tick();
      this.#noticeState();
    }, tickMs);
    this.#history.connect();
    this.#pubsub.connect();
    await new Promise<void>((resolve) => {
      this.#onStarted = resolve;
      setTimeout(resolve, startTimeoutMs).unref();
    });
    if (!this.#inClusterMode) return;
    await this.close();
    throw new Error(`Redis cannot be used: ${inClusterMode}`);
  }

  subscribe(room: string): Promise<void> {
    return this.#subscriptions.add(room);
  }

  unsubscribe(room: string): void {
    this.#subscriptions.remove(room);
  }

  publish(publication: Publication): Promise<Published> {
    // Open connections are not enough: they may lead to servers that do not reach each other.
    if (!this.#canary.flows) return Promise.reject(new BackplaneError('unavailable', 'Redis is away'));
    const bytes = Buffer.byteLength(publication.prefix) + Buffer.byteLength(publication.suffix);
    if (this.#publishesInFlight >= maxPublishesInFlight || this.#bytesInFlight + bytes > maxPublishBytesInFlight) {
      return Promise.reject(new BackplaneError('unavailable', 'too many publishes wait for Redis'));
    }
    this.#publishesInFlight++;
    this.#bytesInFlight += bytes;
    const settled = () => {
      this.#publishesInFlight--;
      this.#bytesInFlight -= bytes;
    };
    if (!this.#options.replicated) return this.#write(publication, settled);
    return this.#andReplicated(this.#write(publication, () => undefined)).finally(settled);
  }

  /** Channels besides those of rooms, and commands on the same connection. Call `listen` before `start`. */
  readonly link = {
    listen: (name: string, channel: OwnChannel): void => this.#ownChannels.add(name, channel),
    run: (words: Words): Promise<Reply> => this.#pubsub.run(words),
  };

  renew(): void {
    // At once: no room may be confirmed on the connection that is closed.
    this.#subscriptions.lost();
    this.#pubsub.reconnect('the node stood still');
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#listener = undefined;
    this.#subscriptions.close();
    this.#history.close();
    this.#pubsub.close();
  }

  async read(room: string, query: HistoryQuery): Promise<HistoryPage> {
    if (this.#readsInFlight >= maxReadsInFlight) {
      throw new BackplaneError('unavailable', 'too many reads wait for Redis');
    }
    this.#readsInFlight++;
    try {
      return await this.#historyQueue.read(room, query);
    } finally {
      this.#readsInFlight--;
    }
  }

  /** `settled` is called first. Hot path: one promise for each message. */
  #write(publication: Publication, settled: () => void): Promise<Published> {
    const { room, dedupe, history } = publication;
    const channel = this.#names.channel(room);
    const key = dedupe === undefined ? undefined : JSON.stringify([dedupe.by, dedupe.key]);
    const dedupeKey = key === undefined ? undefined : `${this.#names.room(room)}:key:${key}`;
    return new Promise((resolve, reject) => {
      if (history !== undefined) {
        const settle = (error: Error | undefined, published: Published | undefined) => {
          settled();
          if (published === undefined) reject(error);
          else resolve(published);
        };
        const header = this.#envelopes.historyHeader(publication);
        const keys = this.#names.room(room);
        this.#historyQueue.add({ publication, header, rule: history, room: keys, channel, dedupeKey, settle });
      } else {
        // WAIT counts the writes of its own connection only.
        const connection = this.#options.replicated ? this.#history : this.#pubsub;
        // With a key it is a write: a replica refuses it.
        if (dedupeKey === undefined) this.#unconfirmed.add(room);
        connection.send(this.#publishing(publication, channel, dedupeKey), (error, reply) => {
          settled();
          if (error === undefined) resolve({ duplicate: dedupeKey !== undefined && reply === 0 });
          else reject(error);
        });
      }
    });
  }

  #publishing(publication: Publication, channel: string, dedupeKey: string | undefined): Words {
    const envelope = this.#envelopes.message(publication);
    return dedupeKey === undefined
      ? ['PUBLISH', channel, envelope]
      : ['EVALSHA', publishOnce.sha, 1, dedupeKey, this.#options.dedupeMs, channel, envelope];
  }

  #andReplicated<Result>(written: Promise<Result>): Promise<Result> {
    return Promise.all([written, this.#historyQueue.replicated()]).then(([result]) => result);
  }

  /** Keeps a message in a room of its own. It is published on the canary channel, which ignores it. */
  #probeWrite(): Promise<unknown> {
    const { canary: room } = this.#names;
    const written = new Promise<unknown>((resolve, reject) => {
      const settle = (error: Error | undefined) => (error === undefined ? resolve(undefined) : reject(error));
      const publication = { room: '', prefix: '{"offset":', suffix: '}', at: Date.now() };
      const dedupeKey = `${room}:key:${this.#options.node}`;
      const header = this.#envelopes.historyHeader(publication);
      const channel = this.#canaryChannel;
      this.#historyQueue.probe({ publication, header, rule: canaryRule, room, channel, dedupeKey, settle });
    });
    return this.#options.replicated ? this.#andReplicated(written) : written;
  }

  #connection(
    role: RedisRole,
    parts: Partial<RedisConnectionOptions> & Pick<RedisConnectionOptions, 'onReady'>,
  ): RedisConnection {
    return this.#options.redis.add({
      ...parts,
      role,
      name: `roomcast:${role}:${this.#options.node}`,
      onReady: () => {
        if (this.#connectedBefore.has(role)) this.#listener?.reconnected();
        this.#connectedBefore.add(role);
        parts.onReady();
      },
      onLost: () => {
        parts.onLost?.();
        if (this.#inClusterMode) this.#onStarted();
        this.#canary.interrupted();
        this.#noticeState();
      },
    });
  }

  #refused({ message }: ReplyError): void {
    this.#canary.suspectWrites();
    if (message.includes('STALE') && this.#historyQueue.lineSettled) this.#options.redis.renew(message);
  }

  /** On each new connection of `#pubsub`. */
  #resubscribe(): void {
    this.#ownChannels.subscribe(this.#pubsub);
    this.#subscriptions.restore();
    const { promotion } = this.#pubsub.server;
    const unconfirmed = this.#unconfirmed.take();
    // No failover. After a restart of Redis each node tells its own members of the gap.
    if (promotion === this.#promotion) return;
    this.#promotion = promotion;
    // The last messages that the former master accepted may have reached no other node.
    for (const room of unconfirmed) {
      this.#pubsub.send(['PUBLISH', this.#names.channel(room), this.#envelopes.gap(Date.now())], (error) => {
        if (error !== undefined) this.#unconfirmed.add(room);
      });
    }
  }

  /** A message in `bytes`, from `start` to `end`. */
  #receive(channel: string, bytes: Buffer, start: number, end: number): void {
    // From a connection that is being closed: the gap behind it covers this message.
    if (!this.#pubsub.ready) return;
    const room = this.#subscriptions.receive(channel);
    if (room === undefined) this.#ownChannels.receive(channel, bytes, start, end);
    else if (this.#listener !== undefined) deliver(this.#listener, room, bytes, start, end);
  }

  /** If true, the backplane can never be up. */
  get #inClusterMode(): boolean {
    return !this.#history.ready && this.#history.trouble === inClusterMode;
  }

  #sendCanary(): void {
    if (this.#history.ready && this.#pubsub.ready) this.#canary.send();
  }

  #noticeState(): void {
    const { up } = this;
    if (up === this.#wasUp || this.#listener === undefined) return;
    this.#wasUp = up;
    if (up) {
      this.#log.info('backplane up');
      this.#onStarted();
    } else this.#log.error({ reason: this.trouble }, 'backplane down: publishes fail until Redis is back');
  }
}
