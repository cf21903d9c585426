/**
 * The rows about messages: how many, at what cost, and how quickly they arrive.
 */
import { type Bench, type Figure, faultsOf, type Measured, type Scenario, type Shape, type Trial } from './scenario.ts';
import { gateway, gatewayByApi, gatewayWithHistory, reference } from './servers.ts';

const hotRoom = { connections: 1000, rooms: 1 };
const manyRooms = { connections: 10_000, rooms: 1000 };
/** One for each connection to the HTTP API. */
const apiRooms = { connections: 16, rooms: 16, answered: true };
const singleMembers = { connections: 1000, rooms: 1000 };

/** Layouts of rows 1 to 3, and the rate at which to start the search for the maximum. */
export const layouts = [
  { key: 'hot', title: 'one room of 1,000', shape: hotRoom, start: 1200 },
  { key: 'spread', title: '1,000 rooms of 10', shape: manyRooms, start: 4000 },
  { key: 'single', title: '1,000 rooms of 1', shape: singleMembers, start: 10_000 },
];

const ratioAtLeast = (limit: number) => ({ of: 'ratio', bound: 'at least', limit }) as const;
const ratioAtMost = (limit: number) => ({ of: 'ratio', bound: 'at most', limit }) as const;

const deliveries: Figure = { key: 'deliveries', title: 'highest rate, p99 < 100 ms', unit: 'deliveries/s' };
const cost: Figure = { key: 'cost', title: 'server CPU', unit: 'us/delivery' };
const p50: Figure = { key: 'p50', title: 'p50', unit: 'us' };
const p99: Figure = { key: 'p99', title: 'p99', unit: 'us' };
const latencyFigures: Figure[] = [{ ...p50, goal: ratioAtMost(1.15) }, { ...p99, goal: ratioAtMost(1.25) }, cost];

const publishingFigures: Figure[] = [
  { key: 'messages', title: 'highest rate, p99 < 100 ms', unit: 'messages/s', goal: ratioAtLeast(0.6) },
  { key: 'redis', title: 'Redis CPU', unit: 'us/message' },
  { key: 'server', title: 'server CPU', unit: 'us/message' },
];

/** Trials at one fixed rate are this many times longer: shorter ones vary too much. */
const steadily = 4;

const curveRates = [25, 50, 100, 250, 500, 1000, 1500, 2000, 2500, 3000, 3500];

export const messageRows: Scenario[] = [
  {
    name: 'hot',
    title: 'One room, 1,000 members',
    subject: gateway,
    against: reference,
    figures: [{ ...deliveries, goal: ratioAtLeast(0.95) }, cost],
    measure: measureHotRoom,
  },
  {
    name: 'hot-history',
    title: 'One room with history, 1,000 members',
    subject: gatewayWithHistory,
    against: reference,
    figures: [{ ...deliveries, goal: ratioAtLeast(0.85) }, cost],
    measure: measureHotRoom,
  },
  {
    name: 'spread',
    title: '1,000 rooms of 10 members, 5,000 messages/s',
    subject: gateway,
    against: reference,
    figures: [{ ...cost, goal: ratioAtMost(1.05) }, p50, p99],
    measure: (bench) => measureFixed(bench, manyRooms, 5000),
  },
  {
    name: 'single',
    title: '1,000 rooms of 1 member, 20,000 messages/s',
    subject: gateway,
    against: reference,
    figures: [{ ...cost, goal: ratioAtMost(1.1) }, p50, p99],
    measure: (bench) => measureFixed(bench, singleMembers, 20_000),
  },
  {
    name: 'latency',
    title: '20,000 deliveries/s in 1,000 rooms of 10',
    subject: gateway,
    against: reference,
    figures: latencyFigures,
    measure: (bench) => measureFixed(bench, manyRooms, 2000),
  },
  {
    name: 'latency-hot',
    title: '20,000 deliveries/s in one room of 1,000',
    subject: gateway,
    against: reference,
    figures: latencyFigures,
    measure: (bench) => measureFixed(bench, hotRoom, 20),
  },
  {
    name: 'latency-nodes',
    title: '20,000 deliveries/s in 1,000 rooms of 10, members on another node',
    subject: gateway,
    against: reference,
    nodes: 2,
    figures: latencyFigures,
    measure: (bench) => measureFixed(bench, manyRooms, 2000),
  },
  {
    name: 'history',
    title: '1,000 rooms of 1 member: publishing with history against plain',
    subject: gatewayWithHistory,
    against: gateway,
    figures: publishingFigures,
    measure: (bench) => measurePublishing(bench, singleMembers, 12_000),
  },
  {
    name: 'history-spread',
    title: '1,000 rooms of 10 members: publishing with history against plain',
    subject: gatewayWithHistory,
    against: gateway,
    figures: publishingFigures,
    measure: (bench) => measurePublishing(bench, manyRooms, 6000),
  },
  {
    name: 'api',
    title:
      'Publishing by the HTTP API, 16 connections, against one WebSocket with 16 unanswered; members on another node',
    subject: gatewayByApi,
    against: gateway,
    nodes: 2,
    figures: [
      { key: 'first', title: 'CPU of the node, 8,000 messages/s', unit: 'us/publish', goal: ratioAtMost(2) },
      { key: 'messages', title: 'highest rate, p99 < 100 ms', unit: 'messages/s', goal: ratioAtLeast(0.5) },
      { key: 'unbounded', title: 'the same against a WebSocket that waits for nothing', unit: 'messages/s' },
    ],
    measure: measureApi,
  },
  {
    name: 'curve',
    title: 'One room, 1,000 members: latency by rate',
    subject: gateway,
    against: reference,
    figures: [{ key: 'p99', title: 'p99 at 1,000,000 deliveries/s', unit: 'us' }],
    measure: measureCurve,
  },
];

async function measureHotRoom(bench: Bench): Promise<Measured> {
  const trial = await bench.withAudience(hotRoom, async (client) => {
    await client.connect();
    return bench.highest(client, 2400, 1.25);
  });
  const values = { deliveries: trial.deliveriesPerSecond, cost: trial.serverCpuUsPerDelivery };
  return { values, faults: faultsOf(trial), trials: bench.trials };
}

async function measureFixed(bench: Bench, shape: Shape, messagesPerSecond: number): Promise<Measured> {
  const trial = await bench.measureAt(
    { ...shape, connections: bench.connections(shape.connections) },
    messagesPerSecond,
    bench.scale.seconds * steadily,
  );
  const values = { cost: trial.serverCpuUsPerDelivery, p50: trial.p50Us, p99: trial.p99Us };
  return { values, faults: faultsOf(trial), trials: bench.trials };
}

async function measurePublishing(bench: Bench, shape: Shape, start: number): Promise<Measured> {
  const trial = await bench.withAudience(shape, async (client) => {
    await client.connect();
    return bench.highest(client, start, 1.3);
  });
  const values = {
    messages: trial.sentPerSecond,
    redis: trial.redisCpuUsPerMessage,
    server: trial.serverCpuUsPerMessage,
  };
  return { values, faults: faultsOf(trial), trials: bench.trials };
}

async function measureApi(bench: Bench): Promise<Measured> {
  const fixed = await bench.measureAt(apiRooms, 8000, bench.scale.seconds * steadily);
  const search = (shape: Shape) =>
    bench.withAudience(shape, async (client) => {
      await client.connect();
      return bench.highest(client, 6000, 1.25);
    });
  const highest = await search(apiRooms);
  const unbounded = bench.byApi ? highest : await search({ ...apiRooms, answered: false });
  const values = {
    first: fixed.firstCpuUsPerMessage,
    messages: highest.sentPerSecond,
    unbounded: unbounded.sentPerSecond,
  };
  return { values, faults: faultsOf(fixed, highest, unbounded), trials: bench.trials };
}

/** Raises the rate until one does not hold. */
async function measureCurve(bench: Bench): Promise<Measured> {
  const held: Trial[] = [];
  await bench.withAudience(hotRoom, async (client) => {
    await client.connect();
    for (const rate of curveRates) {
      const trial = await bench.trial(client, bench.rate(rate), bench.scale.searchSeconds);
      if (!trial.held) break;
      held.push(trial);
    }
  });
  const at = (pick: (trial: Trial) => number) =>
    held.map((trial): [number, number] => [trial.deliveriesPerSecond, pick(trial)]);
  const middle = held[curveRates.indexOf(1000)] ?? held.at(-1);
  return {
    values: { p99: middle?.p99Us ?? Number.NaN },
    faults: held.length === 0 ? faultsOf(...bench.trials) : [],
    trials: bench.trials,
    curves: { p50: at((trial) => trial.p50Us / 1000), p99: at((trial) => trial.p99Us / 1000) },
  };
}
