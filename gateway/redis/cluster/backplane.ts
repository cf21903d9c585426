/**
 * The backplane over Redis Cluster: one gateway/redis/backplane.ts for each shard. Contract: gateway/backplane/backplane.ts.
 *
 * A message or a read goes to the shard that has the slot of its room. Owns which of them does what, and the channels that are
 * no rooms. Where rooms are subscribed, through moves: gateway/redis/cluster/rooms.ts. Which shards there are:
 * gateway/redis/cluster/shards.ts. docs/decisions/020-redis-cluster.md.
 */
import {
  type Backplane,
  BackplaneError,
  type BackplaneListener,
  type HistoryPage,
  type HistoryQuery,
  type Publication,
  type Published,
} from '../../backplane/backplane.ts';
import type { Logger } from '../../telemetry/log.ts';
import { RedisBackplane, type RedisBackplaneOptions } from '../backplane.ts';
import type { RedisServer } from '../connection/server-info.ts';
import type { Lines } from '../history/queue.ts';
import { RedisNames, sharedHome } from '../names.ts';
import type { Link, OwnChannel } from '../own-channels.ts';
import { Rooms } from './rooms.ts';
import type { Shard, Shards, ShardUser } from './shards.ts';
import { slotCount, slotOf, tagOf } from './slots.ts';
import type { Ask } from './topology.ts';

const startTimeoutMs = 3_000;
const startPollMs = 25;
/** Servers that are remembered after they have lost their slots: lines may still name them. */
const maxFormer = 100;

export type ClusterBackplaneOptions = Omit<RedisBackplaneOptions, 'redis' | 'shard'> & { shards: Shards };

interface Part {
  readonly plane: RedisBackplane;
  /** A slot of the shard, in which its canaries fly. */
  home: number;
}

export class ClusterBackplane implements Backplane, ShardUser {
  readonly #options: ClusterBackplaneOptions;
  readonly #log: Logger;
  readonly #shards: Shards;
  readonly #names: RedisNames;
  readonly #parts = new Map<Shard, Part>();
  readonly #rooms: Rooms;
  /** Channels that are no rooms, and where they are subscribed. */
  readonly #own = new Map<string, { channel: OwnChannel; at: RedisBackplane | undefined }>();
  readonly #former: RedisServer[] = [];
  #listener: BackplaneListener | undefined;

  constructor(options: ClusterBackplaneOptions, log: Logger) {
    this.#options = options;
    this.#log = log;
    this.#shards = options.shards;
    this.#names = new RedisNames(options.prefix, 0, sharedHome);
    this.#rooms = new Rooms(
      (slot) => this.#planeOf(slot),
      () => this.#shards.refresh(),
    );
    options.shards.use(this);
  }

  get up(): boolean {
    const isUp = ([{ slots }, { plane }]: [Shard, Part]) => slots === 0 || plane.up;
    return this.#parts.size > 0 && this.#shards.trouble === undefined && [...this.#parts].every(isUp);
  }

  get trouble(): string | undefined {
    for (const [shard, { plane }] of this.#parts) {
      if (shard.slots === 0 || plane.trouble === undefined) continue;
      return `shard ${shard.primary.name} (slots ${this.#shards.rangesOf(shard)}): ${plane.trouble}`;
    }
    return this.#shards.trouble;
  }

  get mostlyUp(): boolean {
    let slots = 0;
    for (const [shard, { plane }] of this.#parts) if (plane.trouble === undefined) slots += shard.slots;
    return 2 * slots > slotCount;
  }

  async start(listener: BackplaneListener): Promise<void> {
    this.#listener = listener;
    this.#shards.start();
    for (let waited = 0; waited < startTimeoutMs && !this.up; waited += startPollMs) {
      await new Promise((resolve) => setTimeout(resolve, startPollMs));
      if (!/cluster support disabled/.test(this.#shards.trouble ?? '')) continue;
      await this.close();
      throw new Error(
        'Redis cannot be used: it is not in cluster mode; GATEWAY_REDIS_URL has to name it as one Redis, redis://host:port',
      );
    }
  }

  subscribe(room: string): Promise<void> {
    return this.#rooms.subscribe(room);
  }

  unsubscribe(room: string): void {
    this.#rooms.unsubscribe(room);
  }

  publish(publication: Publication): Promise<Published> {
    const plane = this.#planeOf(slotOf(publication.room));
    return plane === undefined ? Promise.reject(noShard()) : plane.publish(publication);
  }

  read(room: string, query: HistoryQuery): Promise<HistoryPage> {
    const plane = this.#planeOf(slotOf(room));
    return plane === undefined ? Promise.reject(noShard()) : plane.read(room, query);
  }

  /** Of the control channel: all its keys and channels have one home. */
  readonly link: Link = {
    listen: (name, channel) => {
      this.#own.set(name, { channel, at: undefined });
      this.#placeOwn();
    },
    publish: async (channel, text) => this.#sharedPlane.link.publish(channel, text),
    evaluate: async (script, key, values) => this.#sharedPlane.link.evaluate(script, key, values),
  };

  renew(): void {
    for (const { plane } of this.#parts.values()) plane.renew();
  }

  async close(): Promise<void> {
    this.#listener = undefined;
    this.#rooms.clear();
    this.#shards.close();
    const parts = [...this.#parts.values()];
    this.#parts.clear();
    await Promise.all(parts.map(({ plane }) => plane.close()));
  }

  shardAdded(shard: Shard): void {
    const home = this.#shards.lastSlotOf(shard) ?? 0;
    const { shards, ...options } = this.#options;
    const plane: RedisBackplane = new RedisBackplane(
      {
        ...options,
        redis: shard.redis,
        shard: {
          home: tagOf(home),
          lines: (server) => this.#linesOf(shard, server.isWhole),
          redirected: () => shards.refresh(),
          revoked: (room) => this.#rooms.revoked(room, plane),
        },
      },
      this.#log,
    );
    this.#parts.set(shard, { plane, home });
    const listener = this.#listener;
    if (listener === undefined) return;
    // It rejects only for a Redis without cluster mode.
    void plane.start(listener);
  }

  slotsMoved(slots: readonly number[]): void {
    const gained = new Map<Shard, number[]>();
    for (const slot of slots) {
      const shard = this.#shards.of(slot);
      const own = shard && gained.get(shard);
      if (own !== undefined) own.push(slot);
      else if (shard !== undefined) gained.set(shard, [slot]);
    }
    for (const [shard, own] of gained) {
      const plane = this.#parts.get(shard)?.plane;
      // A new connection settles all.
      if (plane?.shard.connection() === undefined) continue;
      const keys = own.map((slot) => this.#names.lineOf(slot));
      // One that had no slots may have been promoted just now, and lack the last writes.
      const isWhole = shard.slots > own.length || plane.shard.isWhole();
      plane.shard.settleLines({ keys, whole: isWhole ? this.#othersThan(shard) : [] });
    }
    for (const [shard, part] of this.#parts) {
      if (shard.slots === 0 || this.#shards.of(part.home) === shard) continue;
      part.home = this.#shards.lastSlotOf(shard) ?? part.home;
      part.plane.shard.moveHome(tagOf(part.home));
    }
    this.#placeOwn();
    for (const { plane } of this.#parts.values()) if (!plane.up) this.#tellUnconfirmed(plane);
    this.#rooms.moved(new Set(slots));
  }

  mapRead(): void {
    for (const { plane } of this.#parts.values()) plane.shard.listenAgain();
    this.#rooms.settle();
  }

  shardRemoved(shard: Shard): void {
    const part = this.#parts.get(shard);
    if (part === undefined) return;
    this.#parts.delete(shard);
    const server = part.plane.shard.server();
    if (server !== undefined) this.#former.push(server);
    if (this.#former.length > maxFormer) this.#former.shift();
    this.#tellUnconfirmed(part.plane);
    this.#rooms.removed(part.plane);
    void part.plane.close();
  }

  askOf(shard: Shard): Ask | undefined {
    const connection = this.#parts.get(shard)?.plane.shard.connection();
    return connection && ((...commands) => Promise.all(commands.map((words) => connection.run(words))));
  }

  #planeOf(slot: number): RedisBackplane | undefined {
    const shard = this.#shards.of(slot);
    return shard && this.#parts.get(shard)?.plane;
  }

  get #sharedPlane(): RedisBackplane {
    const plane = this.#planeOf(slotOf(sharedHome));
    if (plane === undefined) throw noShard();
    return plane;
  }

  #placeOwn(): void {
    const at = this.#planeOf(slotOf(sharedHome));
    for (const [name, own] of this.#own) {
      if (own.at === at) continue;
      own.at?.shard.unlisten(name);
      at?.shard.listen(name, own.channel);
      own.at = at;
    }
  }

  /**
   * Lines of another server came with their slots, and with all writes, unless this server may have lost them since. Then they
   * are not told from those that it had before.
   */
  #linesOf(shard: Shard, isWhole: boolean): Lines {
    const keys = this.#shards.slotsOf(shard).map((slot) => this.#names.lineOf(slot));
    return { keys, whole: isWhole ? this.#othersThan(shard) : [] };
  }

  /** Those that are away, too: one that gave its last slot away may be gone at once. */
  #othersThan(shard: Shard): RedisServer[] {
    const others = [...this.#parts].filter(([each]) => each !== shard).map(([, { plane }]) => plane.shard.server());
    return [...this.#former, ...others.filter((server) => server !== undefined)];
  }

  /** A former master may have taken messages that reached nobody else. */
  #tellUnconfirmed(former: RedisBackplane): void {
    for (const room of former.writer.unconfirmed.take()) {
      const plane = this.#planeOf(slotOf(room));
      if (plane !== undefined && plane !== former) plane.writer.tellGap([room]);
      else former.writer.unconfirmed.add(room);
    }
  }
}

function noShard(): BackplaneError {
  return new BackplaneError('unavailable', 'no primary of the cluster has the slot');
}
