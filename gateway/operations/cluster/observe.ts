/**
 * Observe: what every node says of itself when a dashboard is open, once a second. Counts are totals since the start of the
 * process, so that whoever asks computes the rates between two answers (gateway/dashboard/tick.ts).
 *
 * While it is asked, a node counts its busiest rooms; `watchMs` after the last question it stops. Nothing else is counted for
 * it, and an answer has a few kilobytes, whatever the number of rooms and connections.
 */
import { z } from 'zod';
import { BusiestRooms } from '../../rooms/busiest-rooms.ts';
import { type HistogramKind, histogramKinds, type ReasonKind, reasonKinds } from '../../telemetry/numbers.ts';
import type { Caller } from '../caller.ts';
import type { LocalNode } from '../local-node.ts';
import { askAll, type ClusterParts, clusterCommand, type Missing } from './ask.ts';

/** Busiest rooms that one node names. */
const mostRooms = 50;
/** Rooms are counted over so long, then the next count begins: old ones leave the list. */
export const windowMs = 5_000;
/** Nobody has asked for so long: the count ends. */
const watchMs = 15_000;

const count = z.number().min(0);
const counts = z.record(z.string().max(100), count);
const buckets = z.object({ bounds: z.array(z.number()).max(64), counts: z.array(count).max(65) });
const eachOf = <Name extends string, Value extends z.ZodType>(names: readonly Name[], value: Value) =>
  z.object(Object.fromEntries(names.map((name) => [name, value])) as Record<Name, Value>);

const observation = z.object({
  node: z.string(),
  instance: z.string(),
  version: z.string(),
  /** Unix ms. */
  startedAt: z.number(),
  /** By a clock of its own that only rises, ms. */
  at: z.number(),
  draining: z.boolean(),
  /** Why it cannot use its backplane. Null: it can. */
  trouble: z.string().nullable(),
  backplaneRttMs: z.number().nullable(),
  connections: count,
  rooms: count,
  members: count,
  bufferedBytes: count,
  /** 0: no limit. */
  limits: z.object({ connections: count, bufferedBytes: count }),
  slow: z.object({ 'catch-up': count, drop: count, latest: count }),
  rssBytes: count,
  /** Of the process, user and system. */
  cpuMs: count,
  totals: eachOf(['published', 'delivered', 'opened'], count),
  reasons: eachOf<ReasonKind, typeof counts>(reasonKinds, counts),
  histograms: eachOf<HistogramKind, typeof buckets>(histogramKinds, buckets),
  busiest: z
    .array(
      z.object({
        room: z.string(),
        members: count,
        messagesPerSecond: count,
        deliveriesPerSecond: count,
        /** How much of the deliveries may belong to other rooms. */
        errorPerSecond: count,
      }),
    )
    .max(mostRooms),
});
export type Observation = z.infer<typeof observation>;

export const observeCommand = clusterCommand({
  kind: 'observe',
  arguments: z.strictObject({}),
  value: observation,
  perform: observeNode,
});

/** Asks all live nodes. Rejects with a Refusal while the backplane is away. */
export async function observe(parts: ClusterParts, caller: Caller): Promise<{ nodes: Observation[] } & Missing> {
  const { values, rest } = await askAll(parts, caller, observeCommand, {});
  return { nodes: values, ...rest };
}

/** What a node says of itself. */
export async function observeNode(local: LocalNode): Promise<Observation> {
  const { connections, draining, gauges, hub, instance, node, startedAt, version, vitals } = local;
  const { system, user } = process.cpuUsage();
  return {
    ...{ node, instance, version, startedAt, draining, at: performance.now() },
    ...{ connections: connections.size, rooms: hub.roomCount, members: hub.memberCount },
    trouble: gauges.trouble() ?? null,
    backplaneRttMs: vitals.backplaneRttMs ?? null,
    bufferedBytes: gauges.bufferedBytes(),
    limits: gauges.limits,
    slow: gauges.slow(),
    rssBytes: process.memoryUsage.rss(),
    cpuMs: (system + user) / 1_000,
    ...(await local.numbers()),
    busiest: busiestOf(hub),
  };
}

type Hub = LocalNode['hub'];

/** The counts of a hub: of the window that has ended, and of the one that runs. */
class Watch {
  readonly #hub: Hub;
  readonly #timer: NodeJS.Timeout;
  #askedAt = performance.now();
  #startedAt = performance.now();
  #whole: { rooms: BusiestRooms; seconds: number } | undefined;

  constructor(hub: Hub) {
    this.#hub = hub;
    hub.busiest = new BusiestRooms();
    this.#timer = setInterval(() => this.#turn(), windowMs).unref();
  }

  top(): Observation['busiest'] {
    this.#askedAt = performance.now();
    const { rooms, seconds } = this.#whole ?? { rooms: this.#hub.busiest, seconds: this.#secondsSoFar() };
    return (rooms?.top(mostRooms) ?? []).map(({ room, deliveries, error, messages }) => ({
      room,
      members: this.#hub.membersOf(room),
      messagesPerSecond: messages / seconds,
      deliveriesPerSecond: deliveries / seconds,
      errorPerSecond: error / seconds,
    }));
  }

  #turn(): void {
    const { busiest } = this.#hub;
    if (performance.now() - this.#askedAt > watchMs || busiest === undefined) {
      clearInterval(this.#timer);
      this.#hub.busiest = undefined;
      watches.delete(this.#hub);
      return;
    }
    this.#whole = { rooms: busiest, seconds: this.#secondsSoFar() };
    this.#hub.busiest = new BusiestRooms();
    this.#startedAt = performance.now();
  }

  /** A rate over less than a second would be noise. */
  #secondsSoFar(): number {
    return Math.max(1, (performance.now() - this.#startedAt) / 1_000);
  }
}

const watches = new WeakMap<Hub, Watch>();

function busiestOf(hub: Hub): Observation['busiest'] {
  let watch = watches.get(hub);
  if (watch === undefined) {
    watch = new Watch(hub);
    watches.set(hub, watch);
  }
  return watch.top();
}
