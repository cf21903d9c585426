/**
 * The rows about Centrifugo's protocol: what a member of it costs against a native one, and the gateway against Centrifugo itself.
 */
import { residentBytes } from '../machine.ts';
import { type Bench, type Figure, faultsOf, type Measured, type Scenario, type Shape } from '../scenario.ts';
import { gateway } from '../servers.ts';
import { centrifugoWith, type Engine, type Format, formats, gatewayWith, memberOf } from './servers.ts';

interface Load {
  key: string;
  title: string;
  shape: Shape;
  messagesPerSecond: number;
}

const hot = { connections: 1000, rooms: 1 };
const spread = { connections: 10_000, rooms: 1000 };
const small = { connections: 1000, rooms: 100 };

const memberLoads: Load[] = [
  { key: 'hot', title: 'one room of 1,000, 20 messages/s', shape: hot, messagesPerSecond: 20 },
  { key: 'spread', title: '1,000 rooms of 10, 2,000 messages/s', shape: spread, messagesPerSecond: 2000 },
];

/** 20,000 deliveries/s, which both servers hold on one processor. */
const peerLoads: Load[] = ['r', 'kept:'].flatMap((roomPrefix) => {
  const more = roomPrefix === 'kept:' ? ' with history' : '';
  return [
    {
      key: `hot${more}`,
      title: `one room of 1,000${more}`,
      shape: { ...hot, roomPrefix },
      messagesPerSecond: 20,
    },
    {
      key: `small${more}`,
      title: `100 rooms of 10${more}`,
      shape: { ...small, roomPrefix },
      messagesPerSecond: 2000,
    },
  ];
});

const idleConnections = 10_000;
const settleSeconds = 3;
/** Trials at one fixed rate are this many times longer: shorter ones vary too much. */
const steadily = 4;

const everyFormat = Object.keys(formats) as Format[];

export const centrifugoRows: Scenario[] = [
  ...everyFormat.map(memberRow),
  ...everyFormat.map(memoryRow),
  ...(['redis', 'memory'] as const).flatMap((engine) => everyFormat.map((format) => peerRow(format, engine))),
];

function memberRow(format: Format): Scenario {
  return {
    name: `member-${format}`,
    title: `Members that speak Centrifugo's ${formats[format].title}, against native ones`,
    subject: memberOf(format),
    against: gateway,
    figures: memberLoads.map((load) => costOf(load, { of: 'ratio', bound: 'at most', limit: 1.3 })),
    measure: (bench) => measureLoads(bench, memberLoads),
  };
}

function memoryRow(format: Format): Scenario {
  return {
    name: `member-memory-${format}`,
    title: `10,000 idle connections in 1,000 rooms: Centrifugo's ${formats[format].title}, against native ones`,
    subject: memberOf(format),
    against: gateway,
    figures: [memoryFigure({ of: 'difference', bound: 'at most', limit: 3000 })],
    measure: async (bench) => ({ values: await memoryOf(bench), faults: [], trials: [] }),
  };
}

function peerRow(format: Format, engine: Engine): Scenario {
  const engineName = { redis: 'Redis', memory: 'memory' }[engine];
  const ahead = { of: 'ratio', bound: 'at most', limit: 1 } as const;
  return {
    name: `centrifugo-${format}-${engine}`,
    title: `The gateway against Centrifugo, ${formats[format].title}, ${engineName}, 20,000 deliveries/s`,
    subject: gatewayWith(format, engine),
    against: centrifugoWith(format, engine),
    figures: [...peerLoads.map((load) => costOf(load, ahead)), memoryFigure(ahead)],
    measure: async (bench) => {
      // Before anything else: what was freed would be used again.
      const memory = await memoryOf(bench);
      const measured = await measureLoads(bench, peerLoads);
      return { ...measured, values: { ...measured.values, ...memory } };
    },
  };
}

function costOf({ key, title }: Load, goal: Figure['goal']): Figure {
  return { key, title: `server CPU, ${title}`, unit: 'us/delivery', ...(goal && { goal }) };
}

function memoryFigure(goal: Figure['goal']): Figure {
  return { key: 'bytes', title: 'resident memory, idle', unit: 'bytes/connection', ...(goal && { goal }) };
}

async function measureLoads(bench: Bench, loads: Load[]): Promise<Measured> {
  const values: Record<string, number> = {};
  const faults: string[] = [];
  for (const { key, shape, messagesPerSecond } of loads) {
    const connections = bench.connections(shape.connections);
    const trial = await bench.measureAt({ ...shape, connections }, messagesPerSecond, bench.scale.seconds * steadily);
    values[key] = trial.serverCpuUsPerDelivery;
    faults.push(...faultsOf(trial));
  }
  return { values, faults, trials: bench.trials };
}

async function memoryOf(bench: Bench): Promise<Record<string, number>> {
  const connections = bench.connections(idleConnections);
  const { pids } = bench.server;
  return bench.withAudience(
    { connections, rooms: Math.ceil(connections / 10) },
    async (client) => {
      const before = residentBytes(pids);
      await client.connect();
      await new Promise((resolve) => setTimeout(resolve, settleSeconds * 1000));
      return { bytes: (residentBytes(pids) - before) / connections };
    },
    false,
  );
}
