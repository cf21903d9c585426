/**
 * The nemesis: breaks one thing at a time by a seeded schedule, heals it, waits until the cluster has recovered, and goes on.
 *
 * Holds the catalogue of faults with one Redis; that with a Redis Cluster is shards/faults.ts. It logs each fault, and each failure to recover.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Random } from '../unit/random.ts';
import { roomPlans } from './cluster.ts';
import { failoverFaults } from './failover-faults.ts';
import type { Fault, Faults, World } from './fault.ts';
import type { PlannedFault } from './log.ts';
import { nodeFaults } from './node-faults.ts';
import { type Nodes, nodeCount } from './nodes.ts';
import { redisFaults } from './redis-faults.ts';

const breatheMs = [800, 1_600] as const;

export const faults = { ...nodeFaults, ...redisFaults, ...failoverFaults } satisfies Record<string, Fault>;

export type FaultKind = keyof typeof faults;
export const faultKinds = Object.keys(faults) as FaultKind[];

const roomsWithHistory = roomPlans.filter(({ history }) => history).map(({ name }) => name);

export function plan(kind: FaultKind, random: Random): PlannedFault {
  const { byProxy, holdMs }: Fault = faults[kind];
  const node = byProxy ? 0 : random.integer(0, nodeCount - 1);
  return { kind, node, room: random.pick(roomsWithHistory), holdMs: random.integer(...holdMs) };
}

/** Every kind once in random order, then all again: more than the time allows. */
export function schedule(random: Random, minutes: number, kinds: readonly FaultKind[] = faultKinds): PlannedFault[] {
  // Each takes at least a second.
  const rounds = Math.ceil((60 * minutes) / kinds.length) + 1;
  return Array.from({ length: rounds }, () => random.shuffled(kinds)).flatMap((round) =>
    round.map((kind) => plan(kind, random)),
  );
}

/** Inflicts the planned faults one after the other, until the time is over or the cluster does not recover. */
export async function inflict<Site extends Nodes>(
  { faults, schedule }: { faults: Faults<Site>; schedule: readonly PlannedFault[] },
  until: number,
  random: Random,
  world: World<Site>,
): Promise<void> {
  for (const fault of schedule) {
    await pause(random.integer(...breatheMs));
    if (performance.now() >= until) return;
    const { kind, node, room } = fault;
    const known = faults[kind];
    if (known === undefined) throw new TypeError(`"${kind}" is no fault of this run`);
    world.log.push({ t: performance.now(), event: 'fault', kind, node, room });
    try {
      await known.inflict(world, fault);
      await world.cluster.untilHealthy();
    } catch (error) {
      const what = `no recovery from "${kind}" of node ${node}: ${(error as Error).message}`;
      world.log.push({ t: performance.now(), event: 'stuck', what });
      return;
    }
    world.log.push({ t: performance.now(), event: 'healed', kind, node, room });
  }
}
