/**
 * The rows about growth: whether the cost of a delivery depends on the number of rooms, members and connections, and how
 * long a node with very many rooms takes to subscribe again.
 */
import { Redis } from 'ioredis';
import { nowUs } from '../../gateway/cli/load/clock.ts';
import { until } from '../support/until.ts';
import { type Bench, faultsOf, type Measured, type Scenario, type Shape } from './scenario.ts';
import { gateway, reference } from './servers.ts';

interface Point {
  size: number;
  shape: Shape;
  messagesPerSecond: number;
}

/** From this number on the cost must stay the same. */
const flatFrom = 1000;
const manyRooms = 100_000;
const roomHolders = 1000;
const membersPerRoom = 10;
const memberDeliveries = 50_000;
const mostMessages = 5000;
/** Enough in a trial that those at its ends do not matter. */
const leastMessages = 20;
const resubscribeDeadlineMs = 60_000;

const growth = {
  key: 'growth',
  title: 'cost of the dearest size over that of 1,000',
  unit: 'times',
  goal: { of: 'figure', bound: 'at most', limit: 1.3 },
} as const;
const costAt = (size: number) => ({
  key: `${size}`,
  title: `server CPU at ${size.toLocaleString('en')}`,
  unit: 'us/delivery',
});

/** A connection is in up to 100 rooms; each room has one member. */
const rooms: Point[] = [1, 10, 100, 1000, 10_000, manyRooms].map((size) => {
  const connections = Math.min(size, roomHolders);
  return {
    size,
    shape: { connections, rooms: size, roomsPerConnection: size / connections },
    messagesPerSecond: mostMessages,
  };
});

/** Always the same number of deliveries, with as few messages as possible per write. */
const members: Point[] = [1, 10, 100, 1000, 5000, 15_000].map((size) => ({
  size,
  shape: { connections: size, rooms: 1 },
  messagesPerSecond: Math.min(memberDeliveries / size, mostMessages),
}));

const connections: Point[] = [10, 100, 1000, 5000, 10_000, 19_000].map((size) => ({
  size,
  shape: { connections: size, rooms: size / membersPerRoom },
  messagesPerSecond: 2000,
}));

export const growthRows: Scenario[] = [
  growthRow('growth-rooms', '1 to 100,000 rooms of one member, 5,000 messages/s', rooms),
  growthRow('growth-members', '1 to 15,000 members of one room, 50,000 deliveries/s', members),
  growthRow('growth-connections', '10 to 19,000 connections in rooms of 10, 20,000 deliveries/s', connections),
  {
    name: 'resubscribe',
    title: '100,000 rooms, after the connection to Redis was cut',
    subject: gateway,
    against: undefined,
    figures: [
      {
        key: 'seconds',
        title: 'until all are subscribed again',
        unit: 's',
        goal: { of: 'figure', bound: 'at most', limit: 3 },
      },
    ],
    measure: measureResubscribe,
  },
];

function growthRow(name: string, title: string, points: Point[]): Scenario {
  const figures = [growth, ...points.map(({ size }) => costAt(size))];
  return {
    name,
    title,
    subject: gateway,
    against: reference,
    figures,
    measure: (bench) => measureGrowth(bench, points),
  };
}

async function measureGrowth(bench: Bench, points: Point[]): Promise<Measured> {
  const costs: [size: number, cost: number][] = [];
  for (const { size, shape, messagesPerSecond } of points) {
    if (shape.connections > bench.scale.maxConnections) continue;
    const seconds = Math.max(bench.scale.seconds, leastMessages / bench.rate(messagesPerSecond));
    const trial = await bench.measureAt(shape, messagesPerSecond, seconds);
    costs.push([size, trial.serverCpuUsPerDelivery]);
  }
  const large = costs.filter(([size]) => size >= flatFrom).map(([, cost]) => cost);
  const values = Object.fromEntries(costs);
  return {
    values: { ...values, growth: Math.max(...large) / (large[0] ?? Number.NaN) },
    faults: faultsOf(...bench.trials),
    trials: bench.trials,
    curves: { cost: costs },
  };
}

async function measureResubscribe(bench: Bench): Promise<Measured> {
  const shape = { connections: roomHolders, rooms: manyRooms, roomsPerConnection: manyRooms / roomHolders };
  const redis = new Redis(bench.server.redis.url);
  const channels = async () => Number(/^pubsub_channels:(\d+)/m.exec(await redis.info('stats'))?.[1]);
  return bench
    .withAudience(shape, async (client) => {
      await client.connect();
      const before = await channels();
      const cutUs = nowUs();
      await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
      await until(async () => (await channels()) < before, resubscribeDeadlineMs, 'the connection is cut');
      await until(async () => (await channels()) >= before, resubscribeDeadlineMs, 'all rooms are subscribed again');
      const seconds = (nowUs() - cutUs) / 1e6;
      // Every room has its members again.
      await client.fill(1);
      return { values: { seconds }, faults: [], trials: [] };
    })
    .finally(() => redis.disconnect());
}
