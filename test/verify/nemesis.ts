/**
 * The nemesis: breaks one thing at a time, as a seeded schedule says, heals it, waits until all is well, and goes on.
 *
 * Puts the catalogue of faults together. What it does is in the log, and so is what it could not heal.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Random } from '../unit/random.ts';
import { nodeCount, roomPlans } from './cluster.ts';
import { failoverFaults } from './failover-faults.ts';
import type { Fault, World } from './fault.ts';
import type { PlannedFault } from './log.ts';
import { nodeFaults } from './node-faults.ts';
import { redisFaults } from './redis-faults.ts';

const breatheMs = [800, 1_600] as const;

const faults = { ...nodeFaults, ...redisFaults, ...failoverFaults } satisfies Record<string, Fault>;

export type FaultKind = keyof typeof faults;
export const faultKinds = Object.keys(faults) as FaultKind[];

const roomsWithHistory = roomPlans.filter(({ history }) => history).map(({ name }) => name);

export function plan(kind: FaultKind, random: Random): PlannedFault {
  const { byProxy, holdMs }: Fault = faults[kind];
  const node = byProxy ? 0 : random.integer(0, nodeCount - 1);
  return { kind, node, room: random.pick(roomsWithHistory), holdMs: random.integer(...holdMs) };
}

/** Every kind once, in a random order, then all again: more than fit into the time. */
export function schedule(random: Random, minutes: number, kinds: readonly FaultKind[] = faultKinds): PlannedFault[] {
  // A second each at the least.
  const rounds = Math.ceil((60 * minutes) / kinds.length) + 1;
  return Array.from({ length: rounds }, () => random.shuffled(kinds)).flatMap((round) =>
    round.map((kind) => plan(kind, random)),
  );
}

/** Inflicts what is planned, one after the other, until the time is over, or until the cluster does not get well. */
export async function inflict(
  planned: readonly PlannedFault[],
  until: number,
  random: Random,
  world: World,
): Promise<void> {
  for (const fault of planned) {
    await pause(random.integer(...breatheMs));
    if (performance.now() >= until) return;
    const { kind, node, room } = fault;
    world.log.push({ t: performance.now(), event: 'fault', kind, node, room });
    try {
      await faults[kind as FaultKind].inflict(world, fault);
      await world.cluster.untilHealthy();
    } catch (error) {
      const what = `no recovery from "${kind}" of node ${node}: ${(error as Error).message}`;
      world.log.push({ t: performance.now(), event: 'stuck', what });
      return;
    }
    world.log.push({ t: performance.now(), event: 'healed', kind, node, room });
  }
}
