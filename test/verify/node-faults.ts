/** Faults of a node, and of its connection to Redis. */
import { setTimeout as pause } from 'node:timers/promises';
import { within } from '../support/until.ts';
import { wrongClock } from '../support/wrong-clock.ts';
import type { Fault } from './fault.ts';
import type { Nodes } from './nodes.ts';

const drainDeadlineMs = 15_000;
const clockOffMs = 600_000;

/** Stops a node like a deploy. */
export async function drain(cluster: Nodes, index: number): Promise<void> {
  const draining = cluster.nodes[index];
  draining?.kill('SIGTERM');
  if (draining) await within(draining.exited, drainDeadlineMs, 'a node ends after SIGTERM');
}

/** Whatever Redis is behind the nodes. */
export const nodeKilled: Fault<Nodes> = {
  holdMs: [300, 1_500],
  async inflict({ cluster }, { node, holdMs }) {
    cluster.nodes[node]?.kill('SIGKILL');
    await cluster.nodes[node]?.exited;
    await pause(holdMs);
    await cluster.restartNode(node);
  },
};

export const nodeFaults = {
  'node killed': nodeKilled,
  'node drained': {
    holdMs: [0, 500],
    async inflict({ cluster }, { node, holdMs }) {
      await drain(cluster, node);
      await pause(holdMs);
      await cluster.restartNode(node);
    },
  },
  'node frozen': {
    holdMs: [2_000, 6_000],
    async inflict({ cluster }, { node, holdMs }) {
      cluster.nodes[node]?.kill('SIGSTOP');
      await pause(holdMs);
      cluster.nodes[node]?.kill('SIGCONT');
    },
  },
  'clock off': {
    holdMs: [2_000, 4_000],
    async inflict({ cluster }, { node, holdMs }) {
      await drain(cluster, node);
      await cluster.restartNode(node, { flags: wrongClock(holdMs % 2 === 0 ? clockOffMs : -clockOffMs) });
      await cluster.untilHealthy();
      await pause(holdMs);
      await drain(cluster, node);
      await cluster.restartNode(node);
    },
  },
  'way to Redis cut': {
    holdMs: [0, 0],
    byProxy: true,
    async inflict({ cluster }) {
      cluster.proxy.cut();
    },
  },
  'replies swallowed': byMode('swallow replies', [500, 1_500]),
  'way to Redis blackholed': byMode('blackhole', [1_000, 4_000]),
} satisfies Record<string, Fault>;

function byMode(mode: 'swallow replies' | 'blackhole', holdMs: Fault['holdMs']): Fault {
  return {
    holdMs,
    byProxy: true,
    async inflict({ cluster }, planned) {
      cluster.proxy.mode = mode;
      await pause(planned.holdMs);
      cluster.proxy.mode = 'pass';
    },
  };
}
