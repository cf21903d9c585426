/** What a fault is, and what it may lay hands on. The catalogue is put together in nemesis.ts. */
import type { Cluster } from './cluster.ts';
import type { Crowd } from './crowd.ts';
import type { Entry, PlannedFault } from './log.ts';

export interface World {
  cluster: Cluster;
  crowd: Crowd;
  log: Entry[];
}

export interface Fault {
  /** How long it lasts, at least and at most, in ms. */
  holdMs: readonly [number, number];
  /** Always the node behind the proxy. */
  byProxy?: true;
  /** Breaks it, holds it, heals it. Processes and connections only, from the outside. */
  inflict(world: World, planned: PlannedFault): Promise<void>;
}
