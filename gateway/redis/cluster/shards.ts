/**
 * The shards of a cluster: the primaries that have slots, and this node's connections to each.
 *
 * Follows the topology. A primary that gets a slot becomes a shard; one that has had none for `retireMs` is retired: until then
 * messages may still come from there. Owns the connections of each shard. What they are used for is up to the `ShardUser`s:
 * the backplane and presence. It never knows rooms.
 */

import { BackplaneError } from '../../backplane/backplane.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { RedisHealth } from '../../telemetry/redis-metrics.ts';
import type { Endpoint, RedisAddress } from '../connection/address.ts';
import { tickMs } from '../connection/connection.ts';
import { RedisConnections } from '../connection/connections.ts';
import type { ClusterAddress } from '../connection/dial.ts';
import { slotCount } from './slots.ts';
import { type Ask, type Primary, Topology } from './topology.ts';

export interface Shard {
  readonly primary: Primary;
  readonly redis: RedisConnections;
  slots: number;
  /** The last time it had a slot. */
  neededAt: number;
}

export interface ShardUser {
  /** The shard is new. */
  shardAdded(shard: Shard): void;
  /** These slots have another owner than before. */
  slotsMoved?(slots: readonly number[]): void;
  /** The map was read. */
  mapRead?(): void;
  /** Its connections have to be closed. */
  shardRemoved(shard: Shard): void;
  /** To ask it for the map. */
  askOf?(shard: Shard): Ask | undefined;
}

const retireMs = 5_000;

export class Shards {
  readonly #address: ClusterAddress;
  readonly #log: Logger;
  readonly #topology: Topology;
  /** By the name of the primary. */
  readonly #shards = new Map<string, Shard>();
  readonly #bySlot = new Array<Shard | undefined>(slotCount);
  readonly #users: ShardUser[] = [];
  #missing = slotCount;
  #timer: NodeJS.Timeout | undefined;
  #started = false;

  constructor(address: ClusterAddress, log: Logger) {
    this.#address = address;
    this.#log = log;
    this.#topology = new Topology({
      ...{ address, log },
      connected: () => this.#connected(),
      onChange: (slots) => this.#changed(slots),
      onRead: () => {
        for (const user of this.#users) user.mapRead?.();
      },
    });
  }

  /** Clusters have one database. */
  get database(): number {
    return 0;
  }

  /** What servers say of themselves is not told: there are many. */
  get health(): RedisHealth | undefined {
    return undefined;
  }

  /** A sentence for the operator: why some rooms have no shard. Undefined: all have one. */
  get trouble(): string | undefined {
    if (this.#missing === 0) return undefined;
    const { trouble } = this.#topology;
    if (trouble !== undefined) return `the cluster cannot be used: ${trouble}`;
    return `the cluster cannot be used: ${this.#missing} of its slots have no primary`;
  }

  get all(): Iterable<Shard> {
    return this.#shards.values();
  }

  /** Before the start. */
  use(user: ShardUser): void {
    this.#users.push(user);
  }

  start(): void {
    if (this.#started) return;
    this.#started = true;
    this.#timer = setInterval(() => this.#retire(), 4 * tickMs);
    this.#topology.start();
  }

  /** The shard of the slot. */
  of(slot: number): Shard | undefined {
    return this.#bySlot[slot];
  }

  require(slot: number): Shard {
    const shard = this.#bySlot[slot];
    if (shard === undefined) throw new BackplaneError('unavailable', 'no primary of the cluster has the slot');
    return shard;
  }

  /** The first slots of a shard, and how many it has: `0-5460`. */
  rangesOf(shard: Shard): string {
    const ranges: string[] = [];
    for (let slot = 0; slot < slotCount; slot++) {
      if (this.#bySlot[slot] !== shard) continue;
      let last = slot;
      while (this.#bySlot[last + 1] === shard) last++;
      if (ranges.length === 3) return `${ranges.join(', ')}, …`;
      ranges.push(slot === last ? `${slot}` : `${slot}-${last}`);
      slot = last;
    }
    return ranges.join(', ');
  }

  slotsOf(shard: Shard): number[] {
    const slots: number[] = [];
    for (let slot = 0; slot < slotCount; slot++) if (this.#bySlot[slot] === shard) slots.push(slot);
    return slots;
  }

  /** Whoever takes slots away from a server usually begins with the first. */
  lastSlotOf(shard: Shard): number | undefined {
    const slot = this.#bySlot.lastIndexOf(shard);
    return slot === -1 ? undefined : slot;
  }

  /** Something was not where the map says. */
  refresh(): void {
    this.#topology.refresh();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#topology.close();
  }

  #connected(): { from: Endpoint; ask: Ask }[] {
    return [...this.#shards.values()].flatMap((shard) => {
      for (const user of this.#users) {
        const ask = user.askOf?.(shard);
        if (ask !== undefined) return [{ from: shard.primary, ask }];
      }
      return [];
    });
  }

  #changed(slots: readonly number[]): void {
    const added: Shard[] = [];
    for (const slot of slots) {
      const primary = this.#topology.ownerOf(slot);
      if (primary === undefined) continue;
      let shard = this.#shards.get(primary.name);
      if (shard === undefined) {
        shard = { primary, redis: this.#connect(primary), slots: 0, neededAt: 0 };
        this.#shards.set(primary.name, shard);
        added.push(shard);
      }
      const before = this.#bySlot[slot];
      this.#bySlot[slot] = shard;
      shard.slots++;
      if (before === undefined) this.#missing--;
      else if (--before.slots === 0) before.neededAt = performance.now();
    }
    this.#log.info({ slots: slots.length, shards: this.#shards.size }, 'slots of the cluster have other primaries');
    for (const user of this.#users) for (const shard of added) user.shardAdded(shard);
    for (const user of this.#users) user.slotsMoved?.(slots);
  }

  #connect({ host, port }: Primary): RedisConnections {
    const { tls, username, password, database } = this.#address;
    const address: RedisAddress = {
      kind: 'single',
      server: { host, port },
      isShard: true,
      tls,
      username,
      password,
      database,
    };
    return new RedisConnections(address, this.#log);
  }

  #retire(): void {
    const now = performance.now();
    for (const [name, shard] of this.#shards) {
      if (shard.slots > 0 || now - shard.neededAt < retireMs) continue;
      this.#shards.delete(name);
      for (const user of this.#users) user.shardRemoved(shard);
      this.#log.info({ server: name }, 'a server of the cluster has no slots any more; its connections are closed');
    }
  }
}
