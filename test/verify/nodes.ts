/**
 * Three node processes and the load balancer before them, whatever Redis is behind.
 *
 * Owns the settings and room rules that all runs share, and how a node is started again. cluster.ts puts one Redis behind them,
 * shards/site.ts a Redis Cluster.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type NodeSettings, type SpawnedNode, spawnNode, usualFlags } from '../support/node.ts';
import { until } from '../support/until.ts';
import { type Balancer, startBalancer } from './balancer.ts';

export const nodeCount = 3;
const healthyDeadlineMs = 20_000;

/** A room with presence and `join` and `leave`, without history; and one with all of it. */
export const presenceRoom = 'who:plain';
export const keptPresenceRoom = 'who:kept';

const open = { subscribe: 'user', publish: 'user' };
const rules = [
  { match: 'small:*', ...open, history: { size: 8 } },
  { match: 'h:*', ...open, history: { size: 20_000, maxBytes: 268_435_456 } },
  { match: 'p:*', ...open },
  { match: keptPresenceRoom, ...open, presence: true, joinLeave: true, history: { size: 20_000 } },
  { match: presenceRoom, ...open, presence: true, joinLeave: true },
];

/** The drain is short, so that a run has several. Rates are off: the load is known, and a refusal would hide a fault. */
const settings = {
  PUBLISH_RATE: 0,
  REQUEST_RATE: 0,
  DRAIN_NOTICE_MS: 1_000,
  DRAIN_MS: 3_000,
  MAX_BUFFERED_BYTES: 8_388_608,
};

export interface Nodes {
  nodes: SpawnedNode[];
  balancer: Balancer;
  /** Starts the node of this index again. `flags` are for Node; `program`, as in spawnNode, stays in use. */
  restartNode(index: number, how?: { program?: string; flags?: readonly string[] }): Promise<void>;
  /** Resolves when nothing is in trouble any more. Of the nodes: when the balancer sees every node ready. */
  untilHealthy(): Promise<void>;
}

export interface NodesPlan {
  /** For files; it is there until the end. */
  folder: string;
  /** As in spawnNode. */
  program?: string | undefined;
  /** Further settings of the node of this index. */
  settingsOf(index: number): NodeSettings;
}

export async function startNodes({ folder, program, settingsOf }: NodesPlan): Promise<Nodes> {
  const roomsFile = join(folder, 'rooms.json');
  writeFileSync(roomsFile, JSON.stringify({ rooms: rules }));
  const balancer = await startBalancer();
  const nodes: SpawnedNode[] = [];
  const programs: (string | undefined)[] = Array.from({ length: nodeCount }, () => program);

  const restartNode: Nodes['restartNode'] = async (index, how = {}) => {
    const FLUSH_MS = index === 2 ? 20 : 0;
    const own = { ...settings, FLUSH_MS, ROOMS_FILE: roomsFile, NODE_ID: `n${index}`, ...settingsOf(index) };
    programs[index] = how.program ?? programs[index];
    const node = await spawnNode(own, programs[index], [...usualFlags, ...(how.flags ?? [])]);
    nodes[index] = node;
    balancer.ready[index] = false;
    balancer.targets[index] = node;
  };
  await Promise.all(Array.from({ length: nodeCount }, (_, index) => restartNode(index)));

  const untilHealthy = () =>
    until(
      () => nodes.every((node, index) => balancer.targets[index] === node && balancer.ready[index]),
      healthyDeadlineMs,
      'every node is ready again',
    ).then(() => undefined);
  await untilHealthy();
  return { nodes, balancer, restartNode, untilHealthy };
}
