/**
 * A node as its control channel sees it: the channel, and a listener that performs a few commands and writes down what it is
 * told. With Redis it lives as a gateway does: with a lease, and subscribed.
 */
import { randomBytes } from 'node:crypto';
import type { Backplane } from '../../gateway/backplane/backplane.ts';
import {
  type Answers,
  type Command,
  type ControlChannel,
  type ControlListener,
  UnknownCommandError,
} from '../../gateway/backplane/control.ts';
import { MemoryControl } from '../../gateway/backplane/memory/control.ts';
import { RedisBackplane } from '../../gateway/redis/backplane.ts';
import { ClusterBackplane } from '../../gateway/redis/cluster/backplane.ts';
import { ShardConnections } from '../../gateway/redis/cluster/connections.ts';
import { RedisControl } from '../../gateway/redis/control/control.ts';
import { RedisNames, sharedHome } from '../../gateway/redis/names.ts';
import { OnePresenceConnection } from '../../gateway/redis/presence/connections.ts';
import { RedisPresence } from '../../gateway/redis/presence/presence.ts';
import { createLog, type Logger } from '../../gateway/telemetry/log.ts';
import { onCleanup } from '../support/cleanup.ts';
import type { RedisCluster } from '../support/redis-cluster.ts';
import { redisConnections } from '../support/redis-connections.ts';
import { until } from '../support/until.ts';
import { shardsOf } from './cluster-node.ts';
import { Recorder } from './recorder.ts';

const deadlineMs = 10_000;
let count = 0;

interface Life {
  start(): Promise<unknown>;
  up(): boolean;
  close(): Promise<unknown>;
}

export class ControlNode implements ControlListener {
  readonly channel: ControlChannel;
  readonly instance: string;
  readonly name: string;
  /** What it needs besides the channel. */
  readonly #life: Life;
  /** `echo` with what, in order. */
  readonly performed: unknown[] = [];
  interruptions = 0;
  /** Durations of its questions, in seconds. */
  readonly durations: number[] = [];
  /** Commands `hold` that have come. The last one is answered when a test says so. */
  held = 0;
  release: () => void = () => undefined;

  constructor(channel: ControlChannel, instance: string, life: Life) {
    this.channel = channel;
    this.instance = instance;
    this.name = instance.slice(0, instance.lastIndexOf('-'));
    this.#life = life;
    onCleanup(() => this.close());
  }

  async start(): Promise<this> {
    this.channel.start(this);
    await this.#life.start();
    return this;
  }

  async close(): Promise<void> {
    this.channel.close();
    await this.#life.close();
  }

  get up(): boolean {
    return this.#life.up();
  }

  async perform({ kind, arguments: values }: Command): Promise<unknown> {
    if (kind === 'echo') {
      this.performed.push(values);
      return values;
    }
    if (kind === 'nothing') return undefined;
    if (kind === 'large') return 'x'.repeat((values as { bytes: number }).bytes);
    if (kind === 'fail') throw new Error('it fails');
    if (kind === 'hold') {
      this.held += 1;
      await new Promise<void>((resolve) => {
        this.release = resolve;
      });
      return 'held';
    }
    throw new UnknownCommandError(kind);
  }

  interrupted(): void {
    this.interruptions += 1;
  }

  asked(seconds: number): void {
    this.durations.push(seconds);
  }

  ask(kind: string, values: unknown = {}, to?: string): Promise<Answers> {
    return this.channel.ask({ kind, arguments: values, to });
  }

  /** Who answers `echo` now, and who is missing, by name. */
  async around(): Promise<{ there: string[]; missing: string[] }> {
    const { answers, missing } = await this.ask('echo');
    return { there: answers.map(({ node }) => node).sort(), missing };
  }

  /** Resolves when exactly these nodes answer and none is missing. */
  untilAround(...nodes: ControlNode[]): Promise<unknown> {
    const names = nodes.map(({ name }) => name).sort();
    const same = async () => JSON.stringify(await this.around()) === JSON.stringify({ there: names, missing: [] });
    return until(same, 2 * deadlineMs, `${names} answer, and nobody is missing`);
  }
}

function instanceOf(name: string): string {
  return `${name}-${randomBytes(5).toString('hex')}`;
}

export function memoryNode(): ControlNode {
  count += 1;
  const instance = instanceOf(`node-${count}`);
  const life = { start: async () => undefined, up: () => true, close: async () => undefined };
  return new ControlNode(new MemoryControl(instance, `node-${count}`), instance, life);
}

/** A node on the Redis at `url`. Nodes that share a prefix are one cluster. Leases are kept at `leasesUrl`. */
export function redisNode(
  url: string,
  prefix: string,
  { leasesUrl = url, log = createLog('silent') }: { leasesUrl?: string; log?: Logger } = {},
): ControlNode {
  count += 1;
  const node = `node-${count}`;
  const instance = instanceOf(node);
  const redis = redisConnections(url, log);
  const backplane = new RedisBackplane({ redis, prefix, node, dedupeMs: 60_000, replicated: false }, log);
  const names = new RedisNames(prefix, redis.database);
  const connections = new OnePresenceConnection(redisConnections(leasesUrl, log));
  const presence = new RedisPresence({ connections, names, instance, announces: () => false }, log);
  const liveInstances = () => presence.liveInstances();
  const channel = new RedisControl({ names, instance, link: backplane.link, liveInstances }, log);
  return onRedis(backplane, presence, channel, instance);
}

/** A node on a Redis Cluster. */
export function clusterNode(cluster: RedisCluster, prefix: string, log = createLog('silent')): ControlNode {
  count += 1;
  const node = `node-${count}`;
  const instance = instanceOf(node);
  // As in a gateway: one set of connections for everything.
  const shards = shardsOf(cluster, log);
  const names = new RedisNames(prefix, shards.database, sharedHome);
  const backplane = new ClusterBackplane({ shards, prefix, node, dedupeMs: 60_000, replicated: false }, log);
  const connections = new ShardConnections(shards);
  const presence = new RedisPresence({ connections, names, instance, announces: () => false }, log);
  const liveInstances = () => presence.liveInstances();
  const channel = new RedisControl({ names, instance, link: backplane.link, liveInstances }, log);
  return onRedis(backplane, presence, channel, instance);
}

function onRedis(backplane: Backplane, presence: RedisPresence, channel: RedisControl, instance: string): ControlNode {
  const quiet = { changed: () => undefined, outOfSync: () => undefined, reaped: () => undefined };
  const recorder = new Recorder(backplane);
  return new ControlNode(channel, instance, {
    start: () => Promise.all([recorder.start(), presence.start(quiet)]),
    up: () => backplane.up,
    close: () => Promise.all([backplane.close(), presence.close()]),
  });
}
