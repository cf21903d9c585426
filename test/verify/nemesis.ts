/**
 * The nemesis: breaks one thing at a time, as a seeded schedule says, heals it, waits until all is well, and goes on.
 *
 * Owns the catalogue of faults. It breaks processes and connections only, from the outside; what it does is in the log.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { within } from '../support/until.ts';
import type { Random } from '../unit/random.ts';
import { type Cluster, nodeCount } from './cluster.ts';
import type { Crowd } from './crowd.ts';
import type { Entry, PlannedFault } from './log.ts';

interface World {
  cluster: Cluster;
  crowd: Crowd;
  log: Entry[];
}

interface Fault {
  /** How long it lasts, at least and at most, in ms. */
  holdMs: [number, number];
  /** Always the node behind the proxy. */
  byProxy?: true;
  /** Breaks it, holds it, heals it. */
  inflict(world: World, planned: PlannedFault): Promise<void>;
}

const breatheMs = [800, 1_600] as const;
const drainDeadlineMs = 15_000;
const pubsubLimit = { small: 'pubsub 32kb 0 0', usual: 'pubsub 32mb 8mb 60' };

export const faults = {
  'node killed': {
    holdMs: [300, 1_500],
    async inflict({ cluster }, { node, holdMs }) {
      cluster.nodes[node]?.kill('SIGKILL');
      await cluster.nodes[node]?.exited;
      await pause(holdMs);
      await cluster.restartNode(node);
    },
  },
  'node drained': {
    holdMs: [0, 500],
    async inflict({ cluster }, { node, holdMs }) {
      const draining = cluster.nodes[node];
      draining?.kill('SIGTERM');
      if (draining) await within(draining.exited, drainDeadlineMs, 'a node ends after SIGTERM');
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
  'Redis killed': {
    holdMs: [200, 1_500],
    async inflict({ cluster }, { holdMs }) {
      await cluster.redis.kill();
      await pause(holdMs);
      await cluster.redis.start();
    },
  },
  'Redis emptied': {
    holdMs: [0, 0],
    async inflict({ cluster, log }) {
      const from = performance.now();
      await cluster.emptyRedis();
      log.push({ t: performance.now(), event: 'wipe', from });
    },
  },
  'Redis frozen': {
    holdMs: [500, 4_000],
    async inflict({ cluster }, { holdMs }) {
      await cluster.redis.pause();
      await pause(holdMs);
      await cluster.redis.resume();
    },
  },
  'output limit': {
    holdMs: [500, 1_000],
    async inflict({ cluster, crowd }, { holdMs }) {
      await cluster.tellRedis('CONFIG', 'SET', 'client-output-buffer-limit', pubsubLimit.small);
      crowd.burst();
      await pause(holdMs);
      await cluster.tellRedis('CONFIG', 'SET', 'client-output-buffer-limit', pubsubLimit.usual);
    },
  },
  'subscribers killed': {
    holdMs: [0, 0],
    async inflict({ cluster }) {
      await cluster.tellRedis('CLIENT', 'KILL', 'TYPE', 'pubsub');
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

function byMode(mode: 'swallow replies' | 'blackhole', holdMs: [number, number]): Fault {
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

export type FaultKind = keyof typeof faults;

export function plan(kind: FaultKind, random: Random): PlannedFault {
  const fault: Fault = faults[kind];
  return { kind, node: fault.byProxy ? 0 : random.integer(0, nodeCount - 1), holdMs: random.integer(...fault.holdMs) };
}

/** Every kind once, in a random order, then all again: more than fit into the time. */
export function schedule(random: Random, minutes: number): PlannedFault[] {
  const kinds = Object.keys(faults) as FaultKind[];
  const rounds = Math.ceil(2 * minutes) + 1;
  return Array.from({ length: rounds }, () => random.shuffled(kinds)).flatMap((round) =>
    round.map((kind) => plan(kind, random)),
  );
}

/** Inflicts what is planned, one after the other, until the time is over. Rejects when the cluster does not get well. */
export async function inflict(
  planned: readonly PlannedFault[],
  until: number,
  random: Random,
  world: World,
): Promise<void> {
  for (const fault of planned) {
    await pause(random.integer(...breatheMs));
    if (performance.now() >= until) return;
    const { kind, node } = fault;
    world.log.push({ t: performance.now(), event: 'fault', kind, node });
    await faults[kind as FaultKind].inflict(world, fault);
    await world.cluster.untilHealthy();
    world.log.push({ t: performance.now(), event: 'healed', kind, node });
  }
}
