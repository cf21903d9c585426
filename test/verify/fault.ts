/** What a fault is, and what it may touch. nemesis.ts holds the catalogue. */
import type { Cluster } from './cluster.ts';
import type { Crowd } from './crowd.ts';
import type { Entry, PlannedFault } from './log.ts';
import type { Nodes } from './nodes.ts';

/** `Site`: the nodes, with the Redis behind them. */
export interface World<Site extends Nodes = Cluster> {
  cluster: Site;
  crowd: Crowd;
  log: Entry[];
}

export interface Fault<Site extends Nodes = Cluster> {
  /** Shortest and longest duration, in ms. */
  holdMs: readonly [number, number];
  /** Always the node behind the proxy. */
  byProxy?: true;
  /** Breaks something, waits, and heals it: only processes and connections, from the outside. */
  inflict(world: World<Site>, planned: PlannedFault): Promise<void>;
}

/** By their kinds. */
export type Faults<Site extends Nodes = Cluster> = Readonly<Record<string, Fault<Site>>>;
