/**
 * A tick: what the page shows of the cluster at one moment, computed from the last two answers of each node. Pure functions.
 *
 * Nodes send totals, so a lost answer loses nothing: the next tick covers the time of both. A node that started anew is another
 * instance, and has no rates before its second answer.
 */
import type { Observation } from '../operations/cluster/observe.ts';
import type { Buckets } from '../telemetry/histogram.ts';
import { type HistogramKind, histogramKinds, type ReasonKind, reasonKinds } from '../telemetry/numbers.ts';

/** Rooms in a tick. */
const mostRooms = 50;

/** What goes into a chart. Small: some hundred of them are kept. */
export interface Point {
  /** Unix ms. */
  at: number;
  /** Nodes that answered, and that did not. */
  nodes: number;
  missing: number;
  connections: number;
  bufferedBytes: number;
  slow: number;
  /** Null: no node has two answers yet. */
  rates: Record<Rate, number> | null;
  /** What was observed since the last point: one count per bound, and one for values above all bounds. */
  counts: Record<HistogramKind, number[]>;
  /** Events since the last point, by reason; those without an event are left out. */
  events: Record<ReasonKind, Record<string, number>>;
}

export type Rate = 'published' | 'delivered' | 'opened' | 'closed' | 'rejected';

export interface NodeState extends Omit<Observation, 'at' | 'cpuMs' | 'totals' | 'reasons' | 'histograms' | 'busiest'> {
  /** Per second. Null before its second answer, as the next two are. */
  rates: Record<Rate, number> | null;
  /** Of one core: 1 is all of it. */
  cpu: number | null;
  /** How late its timers were: counts, as in a point. */
  loop: number[] | null;
}

export interface BusyRoomState {
  room: string;
  /** On the nodes that name it among their busiest. */
  members: number;
  messagesPerSecond: number;
  deliveriesPerSecond: number;
  errorPerSecond: number;
}

export interface Tick {
  point: Point;
  nodes: NodeState[];
  /** Since the start of the nodes that answered. */
  totals: Record<ReasonKind, Record<string, number>>;
  bounds: Partial<Record<HistogramKind, number[]>>;
  busiest: BusyRoomState[];
}

/** `before`: the last answers, by instance. `at`: Unix ms. */
export function tickOf(
  before: ReadonlyMap<string, Observation>,
  now: readonly Observation[],
  { at, missing }: { at: number; missing: number },
): Tick {
  const changes = now.map((node) => changeOf(before.get(node.instance), node));
  const sum = (read: (node: Observation) => number) => now.reduce((all, node) => all + read(node), 0);
  const bounds = Object.fromEntries(
    histogramKinds.flatMap((kind) => (now[0] === undefined ? [] : [[kind, now[0].histograms[kind].bounds]])),
  ) as Tick['bounds'];
  const countsOf = (kind: HistogramKind) =>
    sumOfBuckets(
      bounds[kind] ?? [],
      changes.flatMap((change) => (change === undefined ? [] : [change.histograms[kind]])),
    );
  return {
    point: {
      ...{ at, nodes: now.length, missing, connections: sum((node) => node.connections) },
      bufferedBytes: sum((node) => node.bufferedBytes),
      slow: sum(({ slow }) => slow['catch-up'] + slow.drop + slow.latest),
      rates: sumOfRates(changes),
      counts: forEach(histogramKinds, countsOf),
      events: forEach(reasonKinds, (kind) => sumOfCounts(changes.map((change) => change?.events[kind] ?? {}))),
    },
    nodes: now.map((node, index) => stateOf(node, changes[index])).sort((one, other) => byName(one.node, other.node)),
    totals: forEach(reasonKinds, (kind) => sumOfCounts(now.map((node) => node.reasons[kind]))),
    bounds,
    busiest: busiestOf(now),
  };
}

/** What happened on a node between two of its answers. */
interface Change {
  rates: Record<Rate, number>;
  cpu: number;
  events: Record<ReasonKind, Record<string, number>>;
  histograms: Record<HistogramKind, Buckets>;
}

function changeOf(before: Observation | undefined, now: Observation): Change | undefined {
  const ms = before === undefined ? 0 : now.at - before.at;
  if (before === undefined || ms <= 0) return undefined;
  const events = forEach(reasonKinds, (kind) => difference(before.reasons[kind], now.reasons[kind]));
  const perSecond = (events: number) => (Math.max(0, events) * 1_000) / ms;
  const countOf = (counts: Record<string, number>) => Object.values(counts).reduce((one, other) => one + other, 0);
  const rateOf = (name: keyof Observation['totals']) => perSecond(now.totals[name] - before.totals[name]);
  return {
    rates: {
      ...{ published: rateOf('published'), delivered: rateOf('delivered'), opened: rateOf('opened') },
      ...{ closed: perSecond(countOf(events.closed)), rejected: perSecond(countOf(events.rejected)) },
    },
    cpu: (now.cpuMs - before.cpuMs) / ms,
    events,
    histograms: forEach(histogramKinds, (kind) => {
      const [old, { bounds, counts }] = [before.histograms[kind], now.histograms[kind]];
      return { bounds, counts: counts.map((count, index) => count - (old.counts[index] ?? 0)) };
    }),
  };
}

function stateOf(
  { at, busiest, cpuMs, histograms, reasons, totals, ...rest }: Observation,
  change: Change | undefined,
): NodeState {
  return {
    ...rest,
    rates: change?.rates ?? null,
    cpu: change?.cpu ?? null,
    loop: change?.histograms.loop.counts ?? null,
  };
}

/** A node of another version may have other bounds; it is left out. */
function sumOfBuckets(bounds: readonly number[], all: readonly Buckets[]): number[] {
  const counts = new Array<number>(bounds.length + 1).fill(0);
  for (const each of all) {
    if (each.bounds.join() !== bounds.join()) continue;
    for (const [index, count] of each.counts.entries()) counts[index] = (counts[index] ?? 0) + count;
  }
  return counts;
}

function sumOfRates(changes: readonly (Change | undefined)[]): Record<Rate, number> | null {
  const known = changes.flatMap((change) => (change === undefined ? [] : [change.rates]));
  if (known.length === 0) return null;
  const sum = (name: Rate) => known.reduce((all, rates) => all + rates[name], 0);
  return forEach(['published', 'delivered', 'opened', 'closed', 'rejected'], sum);
}

function sumOfCounts(all: readonly Record<string, number>[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const counts of all) for (const [name, count] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + count;
  return sums;
}

function difference(before: Record<string, number>, now: Record<string, number>): Record<string, number> {
  const changed = Object.entries(now).map(([name, count]) => [name, count - (before[name] ?? 0)] as const);
  return Object.fromEntries(changed.filter(([, count]) => count > 0));
}

/**
 * A message of a room comes to every node with members in it: deliveries add up, messages do not. The largest number of them
 * is the best known.
 */
function busiestOf(nodes: readonly Observation[]): BusyRoomState[] {
  const rooms = new Map<string, BusyRoomState>();
  for (const each of nodes.flatMap(({ busiest }) => busiest)) {
    const known = rooms.get(each.room);
    if (known === undefined) rooms.set(each.room, { ...each });
    else {
      known.members += each.members;
      known.messagesPerSecond = Math.max(known.messagesPerSecond, each.messagesPerSecond);
      known.deliveriesPerSecond += each.deliveriesPerSecond;
      known.errorPerSecond += each.errorPerSecond;
    }
  }
  return [...rooms.values()]
    .sort((one, other) => other.deliveriesPerSecond - one.deliveriesPerSecond || byName(one.room, other.room))
    .slice(0, mostRooms);
}

function forEach<Name extends string, Value>(names: readonly Name[], make: (name: Name) => Value): Record<Name, Value> {
  return Object.fromEntries(names.map((name) => [name, make(name)])) as Record<Name, Value>;
}

function byName(one: string, other: string): number {
  if (one === other) return 0;
  return one < other ? -1 : 1;
}
