/**
 * The Redis backplane: one channel per room. Keeps the contract of gateway/backplane/backplane.ts.
 *
 * Two connections (gateway/redis/connection/connection.ts). One is subscribed, and publishes to plain rooms, so that the answer and
 * the message itself come in one read. The other one keeps and reads history, which may be long and must not hold up live
 * messages: gateway/redis/history/queue.ts. Which rooms are subscribed is kept in gateway/redis/subscriptions.ts. Whether the way is
 * open in both directions is shown by gateway/redis/canary.ts; while it is not, nothing is published.
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
} from '../backplane/backplane.ts';
import type { Logger } from '../telemetry/log.ts';
import { Canary } from './canary.ts';
import { type RedisConnection, type RedisConnectionOptions, type RedisRole, tickMs } from './connection/connection.ts';
import type { RedisConnections } from './connection/connections.ts';
import type { ReplyError, Words } from './connection/resp.ts';
import { inClusterMode } from './connection/server.ts';
import { type EnvelopeVersion, EnvelopeWriter, kindOf, readMessage, readPresence } from './envelope.ts';
import { appendScript, lineScript, readHistoryScript } from './history/history.ts';
import { HistoryQueue } from './history/queue.ts';
import { RedisNames } from './names.ts';
import { readScript } from './script.ts';
import { Subscriptions } from './subscriptions.ts';
import { Unproven } from './unproven.ts';

const startTimeoutMs = 3_000;

/** What is kept to see whether Redis takes writes: the last message, which takes all commands that any other does. */
const canaryRule: HistoryRule = { size: 1, maxBytes: 1, ttlSeconds: 60 };

const publishOnce = readScript('script.lua', 'publish.lua');

export interface RedisBackplaneOptions {
  redis: RedisConnections;
  /** Begins every key and channel. */
  prefix: string;
  node: string;
  dedupeMs: number;
  /** A publish resolves only when one replica has it too. */
  replicated: boolean;
  /** Of the envelopes that it writes; it reads all. */
  envelopeVersion?: EnvelopeVersion;
}

export class RedisBackplane implements Backplane {
  readonly #options: RedisBackplaneOptions;
  readonly #log: Logger;
  readonly #names: RedisNames;
  /** Keeps and reads history. */
  readonly #history: RedisConnection;
  /** Carries what is live. */
  readonly #pubsub: RedisConnection;
  readonly #historyQueue: HistoryQueue;
  readonly #subscriptions: Subscriptions;
  readonly #canary: Canary;
  readonly #canaryChannel: string;
  readonly #envelopes: EnvelopeWriter;
  readonly #unproven = new Unproven();
  /** Of the master to which `#pubsub` was connected last. */
  #promotion = '';
  readonly #connectedBefore = new Set<RedisRole>();
  #timer: NodeJS.Timeout | undefined;
  #listener: BackplaneListener | undefined;
  #wasUp = false;
  #onStarted: () => void = () => undefined;
  #underWay = 0;
  #bytesUnderWay = 0;
  #readsUnderWay = 0;

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
      scripts: [publishOnce],
      onMessage: (channel, bytes, start, end) => this.#receive(channel, bytes, start, end),
      onReady: () => this.#resubscribe(),
      onLost: () => this.#subscriptions.lost(),
      onAsked: () => this.#unproven.ask(),
      onProven: () => this.#unproven.proven(),
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
      tryWrite: () => this.#tryWrite(),
      onRoundTrip: (seconds) => this.#listener?.roundTrip(seconds),
      onLost: () => redis.renew('a message that Redis took has not come back'),
      log,
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
    this.#subscriptions.onRestored = (room) => listener.missed(room, 'interrupted');
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
    // Connections may be open to servers that do not reach each other. Whether one is open is seen when it is used.
    if (!this.#canary.flows) return Promise.reject(new BackplaneError('unavailable', 'Redis is away'));
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
    return this.#andReplicated(this.#write(publication, () => undefined)).finally(settled);
  }

  renew(): void {
    // At once: nobody may be told that a room is subscribed on the connection that is given up.
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
    if (this.#readsUnderWay >= maxReadsUnderWay) {
      throw new BackplaneError('unavailable', 'too many reads are waiting for Redis');
    }
    this.#readsUnderWay++;
    try {
      return await this.#historyQueue.read(room, query);
    } finally {
      this.#readsUnderWay--;
    }
  }

  /** A callback and one promise, as it is done for every message. */
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
        // WAIT counts what its own connection has written.
        const connection = this.#options.replicated ? this.#history : this.#pubsub;
        // With a key it is a write, which a replica refuses.
        if (dedupeKey === undefined) this.#unproven.add(room);
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

  /** Keeps a message as every other is kept. Its channel is the canary's, where nobody takes it for one. */
  #tryWrite(): Promise<unknown> {
    const { canary: room } = this.#names;
    const written = new Promise<unknown>((resolve, reject) => {
      const settle = (error: Error | undefined) => (error === undefined ? resolve(undefined) : reject(error));
      const publication = { room: '', prefix: '{"offset":', suffix: '}', at: Date.now() };
      const dedupeKey = `${room}:key:${this.#options.node}`;
      const header = this.#envelopes.historyHeader(publication);
      const channel = this.#canaryChannel;
      this.#historyQueue.try({ publication, header, rule: canaryRule, room, channel, dedupeKey, settle });
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
    this.#canary.suspect();
    if (message.includes('STALE') && this.#historyQueue.lineSettled) this.#options.redis.renew(message);
  }

  /** Every room again, after each new connection of `#pubsub`; the canary goes first. */
  #resubscribe(): void {
    this.#pubsub
      .run(['SUBSCRIBE', this.#canaryChannel])
      .then(() => this.#sendCanary())
      .catch((error: Error) => this.#pubsub.reconnect(error.message));
    this.#subscriptions.restore();
    const { promotion } = this.#pubsub.server;
    const unproven = this.#unproven.take();
    // A Redis that was started again has cut everybody off, and every node tells its members.
    if (promotion === this.#promotion) return;
    this.#promotion = promotion;
    // What the former master took last may have reached nobody here.
    for (const room of unproven) {
      this.#pubsub.send(['PUBLISH', this.#names.channel(room), this.#envelopes.gap(Date.now())], (error) => {
        if (error !== undefined) this.#unproven.add(room);
      });
    }
  }

  /** What stands in `bytes` from `start` to `end`. */
  #receive(channel: string, bytes: Buffer, start: number, end: number): void {
    // What a connection that is being given up still brings is told as missed.
    if (!this.#pubsub.ready) return;
    const room = this.#subscriptions.receive(channel);
    if (room === undefined) {
      if (channel === this.#canaryChannel) this.#canaryBack(bytes.toString('latin1', start, end));
      return;
    }
    const kind = kindOf(bytes, start);
    if (kind === 'message') {
      const envelope = readMessage(bytes, start, end);
      if (envelope === undefined) this.#listener?.missed(room, 'unreadable');
      else this.#listener?.message(room, envelope.frame, envelope.at, envelope.position);
    } else if (kind === 'presence') {
      const news = readPresence(bytes, start, end, room);
      if (news === undefined) this.#listener?.missed(room, 'unreadable');
      else this.#listener?.presence(news);
    } else this.#listener?.missed(room, kind === 'gap' ? 'interrupted' : 'unreadable');
  }

  /** Then it never will be up. */
  get #inClusterMode(): boolean {
    return !this.#history.ready && this.#history.trouble === inClusterMode;
  }

  #sendCanary(): void {
    if (this.#history.ready && this.#pubsub.ready) this.#canary.send();
  }

  #canaryBack(text: string): void {
    this.#canary.back(text);
    this.#noticeState();
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
