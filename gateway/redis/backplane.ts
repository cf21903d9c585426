/**
 * The backplane over Redis: one channel per room. Contract: gateway/backplane/backplane.ts.
 *
 * Two connections (docs/decisions/009-one-connection-for-what-is-live.md). `pubsub` is subscribed, and publishes to plain
 * rooms: the answer and the message come in one read. `history` keeps and reads messages (gateway/redis/history/queue.ts):
 * large answers do not delay live messages. With ACK=replicated it publishes to plain rooms too, as WAIT counts the writes of
 * its own connection only.
 *
 * Subscriptions are gateway/redis/subscriptions.ts, publishes gateway/redis/writer.ts. While gateway/redis/canary.ts says that
 * messages do not come back, nothing is published. It never knows members or frames.
 */
import { randomBytes } from 'node:crypto';
import {
  type Backplane,
  BackplaneError,
  type BackplaneListener,
  type HistoryPage,
  type HistoryQuery,
  type Publication,
  type Published,
} from '../backplane/backplane.ts';
import type { Logger } from '../telemetry/log.ts';
import { Canary } from './canary.ts';
import { type RedisConnection, type RedisConnectionOptions, tickMs } from './connection/connection.ts';
import type { RedisConnections } from './connection/connections.ts';
import { isRedirect } from './connection/redirect.ts';
import type { ReplyError } from './connection/resp.ts';
import type { RedisRole } from './connection/role.ts';
import { inClusterMode, type RedisServer } from './connection/server-info.ts';
import { controlScripts } from './control/scripts.ts';
import { deliver } from './delivery.ts';
import { behindMark, type EnvelopeVersion, EnvelopeWriter } from './envelope.ts';
import { appendScript, lineScript, readHistoryScript } from './history/commands.ts';
import { HistoryQueue, type Lines } from './history/queue.ts';
import { RedisNames } from './names.ts';
import { type Link, type OwnChannel, OwnChannels } from './own-channels.ts';
import { Subscriptions } from './subscriptions.ts';
import { publishOnce, Writer } from './writer.ts';

const startTimeoutMs = 3_000;

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
  /** This is one server of a cluster: gateway/redis/cluster/backplane.ts. */
  shard?: Shard;
}

/** What a shard asks of its cluster, and tells it. */
export interface Shard {
  /** A name that lies in one of its slots. */
  home: string;
  /** The lines of its slots. Called on each new connection. */
  lines(server: RedisServer): Lines;
  /** A slot is not at this server any more, or it cannot serve. */
  redirected(): void;
  /** The room is not subscribed here any more. */
  revoked(room: string): void;
}

export class RedisBackplane implements Backplane {
  /** Public for gateway/redis/cluster only, which moves rooms from one to another. */
  readonly subscriptions: Subscriptions;
  readonly writer: Writer;
  readonly #options: RedisBackplaneOptions;
  readonly #log: Logger;
  readonly #history: RedisConnection;
  readonly #pubsub: RedisConnection;
  readonly #historyQueue: HistoryQueue;
  readonly #ownChannels = new OwnChannels();
  readonly #canary: Canary;
  /** Of names in the canary's channel: of this process. */
  readonly #run = randomBytes(6).toString('hex');
  /** In a cluster its home may move. */
  #names: RedisNames;
  /** Of the last master that `#pubsub` was connected to. */
  #promotion = '';
  readonly #connectedBefore = new Set<RedisRole>();
  #timer: NodeJS.Timeout | undefined;
  #listener: BackplaneListener | undefined;
  #wasUp = false;
  #onStarted: () => void = () => undefined;

  constructor(options: RedisBackplaneOptions, log: Logger) {
    const { redis, prefix, dedupeMs, replicated, shard } = options;
    this.#options = options;
    this.#log = log;
    this.#names = new RedisNames(prefix, redis.database, shard?.home);
    this.#history = this.#connection('history', {
      scripts: [publishOnce, lineScript, appendScript, readHistoryScript],
      onReady: () => {
        this.#historyQueue.settle();
        this.#sendCanary();
      },
      onSecond: () => this.#sendCanary(),
    });
    this.#pubsub = this.#connection('pubsub', {
      scripts: [publishOnce, ...controlScripts],
      onMessage: (channel, bytes, start, end) => this.#receive(channel, bytes, start, end),
      onUnsubscribed: (channel) => this.#revoked(channel),
      onReady: () => this.#resubscribe(),
      onLost: () => {
        this.subscriptions.lost();
        this.#ownChannels.lost();
      },
      onMasterProbe: () => this.writer.unconfirmed.probe(),
      onMasterConfirmed: () => this.writer.unconfirmed.confirm(),
    });
    const lines = () => shard?.lines(this.#history.server) ?? { keys: [this.#names.homeLine], whole: [] };
    this.#historyQueue = new HistoryQueue(this.#history, this.#names, dedupeMs, lines);
    this.writer = new Writer({
      ...{ names: this.#names, pubsub: this.#pubsub, history: this.#history, queue: this.#historyQueue },
      ...{ envelopes: new EnvelopeWriter(options.envelopeVersion), dedupeMs, replicated },
    });
    this.subscriptions = new Subscriptions(
      (room) => this.#names.channel(room),
      {
        ...(shard === undefined ? {} : { most: 1, inParts: true }),
        subscribe: (channels) => this.#pubsub.subscribe(channels),
        unsubscribe: (channels, done) => this.#pubsub.unsubscribe(channels, done),
      },
      (error, rooms) => this.#notSubscribed(error, rooms),
    );
    this.#canary = new Canary({
      publish: (text) => this.#history.run(this.#history.publishing(this.#canaryChannel, text)),
      probeWrite: () => {
        const { canary, homeLine } = this.#names;
        return this.writer.probe(canary, homeLine, this.#canaryChannel, options.node);
      },
      onRoundTrip: (seconds) => this.#listener?.roundTrip(seconds),
      onLost: () => redis.renew('a canary that Redis accepted has not come back'),
      log,
    });
    this.#listenToCanary();
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
    this.subscriptions.onRestored = (room) => listener.gap(room, 'interrupted');
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
    return this.subscriptions.add(room);
  }

  unsubscribe(room: string): void {
    this.subscriptions.remove(room);
  }

  publish(publication: Publication): Promise<Published> {
    // Open connections are not enough: they may lead to servers that do not reach each other.
    if (!this.#canary.flows) return Promise.reject(new BackplaneError('unavailable', 'Redis is away'));
    return this.writer.publish(publication);
  }

  read(room: string, query: HistoryQuery): Promise<HistoryPage> {
    return this.writer.read(room, query);
  }

  /** Channels besides those of rooms, and commands on the same connection. Call `listen` before `start`. */
  readonly link: Link = {
    listen: (name, channel) => this.#ownChannels.add(name, channel),
    publish: (channel, text) => this.#pubsub.run(this.#pubsub.publishing(channel, text)),
    evaluate: (script, key, values) => this.#pubsub.run(this.#pubsub.evaluation(script, [key], values)),
  };

  renew(): void {
    // At once: no room may be confirmed on the connection that is closed.
    this.subscriptions.lost();
    this.#pubsub.reconnect('the node stood still');
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#listener = undefined;
    this.subscriptions.close();
    this.#history.close();
    this.#pubsub.close();
  }

  /** For gateway/redis/cluster: what changes when slots move. */
  readonly shard = {
    /** True if the server lacks nothing that came to it. False while its lines are not settled. */
    isWhole: (): boolean => this.#historyQueue.isWhole,
    /** The last server whose lines were settled; it may be away. */
    server: (): RedisServer | undefined => this.#historyQueue.settledServer,
    connection: (): RedisConnection | undefined => (this.#history.ready ? this.#history : undefined),
    /** Subscribes a channel besides those of rooms. */
    listen: (name: string, channel: OwnChannel): void => {
      this.#ownChannels.add(name, channel);
      this.shard.listenAgain();
    },
    unlisten: (name: string): void => this.#ownChannels.remove(name, this.#pubsub),
    listenAgain: (): void => {
      if (this.#pubsub.ready) this.#ownChannels.subscribe(this.#pubsub);
    },
    /** What is sent behind it finds these lines settled. */
    settleLines: (lines: Lines): void => {
      // If it fails, the connection has logged it; then the first message of a room is refused, and settles them.
      if (this.#history.ready) this.#historyQueue.settleLines(lines).catch(() => undefined);
    },
    /** Canaries fly in this slot from now on. */
    moveHome: (home: string): void => {
      this.#ownChannels.remove(this.#canaryChannel, this.#pubsub);
      this.#canary.interrupted();
      this.#names = this.#names.at(home);
      this.#listenToCanary();
      this.shard.listenAgain();
    },
  };

  get #canaryChannel(): string {
    return this.#names.canaryChannel(this.#options.node, this.#run);
  }

  #listenToCanary(): void {
    this.#ownChannels.add(this.#canaryChannel, {
      receive: (bytes, start, end) => {
        this.#canary.receive(bytes.toString('latin1', start, end));
        this.#noticeState();
      },
      subscribed: () => this.#sendCanary(),
    });
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
        this.#options.shard?.redirected();
      },
    });
  }

  #refused(error: ReplyError): void {
    const { shard, redis } = this.#options;
    if (shard !== undefined && isRedirect(error)) {
      shard.redirected();
      return;
    }
    this.#canary.suspectWrites();
    if (!error.message.includes('STALE') || !this.#historyQueue.settled) return;
    // A slot has come with its line.
    if (shard !== undefined) this.#historyQueue.settle();
    else redis.renew(error.message);
  }

  /** Rooms that Redis did not subscribe. */
  #notSubscribed(error: Error, rooms: readonly string[]): void {
    const { shard } = this.#options;
    if (shard === undefined || !isRedirect(error)) this.#pubsub.reconnect(error.message);
    else for (const room of rooms) shard.revoked(room);
  }

  /** On each new connection of `#pubsub`. */
  #resubscribe(): void {
    this.#ownChannels.subscribe(this.#pubsub);
    this.subscriptions.restore();
    const { promotion } = this.#pubsub.server;
    const unconfirmed = this.writer.unconfirmed.take();
    // No failover. After a restart of Redis each node tells its own members of the gap.
    if (promotion === this.#promotion) return;
    this.#promotion = promotion;
    // The last messages that the former master accepted may have reached no other node.
    this.writer.tellGap(unconfirmed);
  }

  /** Of a connection that is being closed, nothing is taken: the gap behind it covers this message. */
  #receive(channel: string, bytes: Buffer, start: number, end: number): void {
    if (!this.#pubsub.ready) return;
    const from = behindMark(bytes, start, this.#pubsub.server.mark);
    const room = from === undefined ? this.subscriptions.passedOn(channel) : this.subscriptions.receive(channel);
    if (room === undefined) this.#ownChannels.receive(channel, bytes, start, end);
    else if (from !== undefined && this.#listener !== undefined) deliver(this.#listener, room, bytes, from, end);
  }

  /** In a cluster: the slot of the channel has moved, or this node has left it. */
  #revoked(channel: string): void {
    const { shard } = this.#options;
    if (this.#ownChannels.revoked(channel)) shard?.redirected();
    const room = this.subscriptions.revoked(channel);
    if (room !== undefined) shard?.revoked(room);
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
