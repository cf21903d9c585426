/**
 * The rows that compare the capacity model (gateway/cli/plan/capacity.ts) with the CPU of one to four nodes. All run on one core,
 * so that their CPU adds up. The members of each room are spread over all nodes; the publisher is on the first.
 */
import { frameOverheadBytes, nodeUs } from '../../gateway/cli/plan/capacity.ts';
import { type Bench, type Figure, faultsOf, type Measured, payloadBytes, type Scenario } from './scenario.ts';
import { gateway } from './servers.ts';

interface Workload {
  rooms: number;
  membersPerRoom: number;
  messagesPerSecond: number;
}

/** The default of GATEWAY_PING_INTERVAL_MS. */
const pingSeconds = 25;

export const modelRows: Scenario[] = [
  modelRow(1, [load(1000, 1, 8000), load(1000, 1, 20_000), load(1000, 4, 8000), load(1000, 10, 5000)]),
  modelRow(2, [load(1000, 4, 8000), load(1000, 10, 5000)]),
  modelRow(3, [load(1000, 4, 8000), load(1000, 10, 5000)]),
  modelRow(4, [load(1000, 4, 7000), load(1000, 10, 4500), load(100, 100, 500), load(1, 1000, 50)]),
];

function load(rooms: number, membersPerRoom: number, messagesPerSecond: number): Workload {
  return { rooms, membersPerRoom, messagesPerSecond };
}

function modelRow(nodes: number, workloads: Workload[]): Scenario {
  return {
    name: `model-${nodes}`,
    title: `CPU of ${nodes === 1 ? 'one node' : `${nodes} nodes together`}, and what the capacity model says`,
    subject: gateway,
    against: undefined,
    nodes,
    figures: workloads.flatMap(figuresOf),
    measure: (bench) => measureWorkloads(bench, nodes, workloads),
  };
}

function figuresOf(workload: Workload): Figure[] {
  const key = keyOf(workload);
  return [
    { key, title: key, unit: 'cores' },
    { key: `${key}, model`, title: `${key}, model`, unit: 'cores' },
  ];
}

function keyOf({ rooms, membersPerRoom, messagesPerSecond }: Workload): string {
  return `${rooms} x ${membersPerRoom}, ${messagesPerSecond}/s`;
}

async function measureWorkloads(bench: Bench, nodes: number, workloads: Workload[]): Promise<Measured> {
  const values: Record<string, number> = {};
  for (const workload of workloads) {
    const { rooms, membersPerRoom, messagesPerSecond } = workload;
    const shape = { connections: rooms * membersPerRoom, rooms, onAllNodes: true };
    const trial = await bench.measureAt(shape, messagesPerSecond, bench.scale.seconds);
    const key = keyOf(workload);
    values[key] = trial.serverCpuShare;
    values[`${key}, model`] = modelCores(workload, nodes);
  }
  return { values, faults: faultsOf(...bench.trials), trials: bench.trials };
}

function modelCores({ rooms, membersPerRoom, messagesPerSecond }: Workload, nodes: number): number {
  const deliveries = membersPerRoom * messagesPerSecond;
  const us = nodeUs({
    pings: (rooms * membersPerRoom) / pingSeconds,
    connects: 0,
    joins: 0,
    publishes: messagesPerSecond,
    received: Math.min(membersPerRoom, nodes) * messagesPerSecond,
    writes: deliveries,
    deliveries,
    frameBytes: payloadBytes + frameOverheadBytes,
  });
  return us / 1e6;
}
