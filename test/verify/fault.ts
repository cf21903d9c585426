/** What a fault is, and what it may touch. nemesis.ts holds the catalogue. */
import type { Cluster } from './cluster.ts';
import type { Crowd } from './crowd.ts';
import type { Entry, PlannedFault } from './log.ts';

export interface World {
  cluster: Cluster;
  crowd: Crowd;
  log: Entry[];
}

export interface Fault {
  /** Shortest and longest duration, in ms. */
  holdMs: readonly [number, number];
  /** Always the node behind the proxy. */
  byProxy?: true;
  /** Breaks something, waits, and heals it: only processes and connections, from the outside. */
  inflict(world: World, planned: PlannedFault): Promise<void>;
}
