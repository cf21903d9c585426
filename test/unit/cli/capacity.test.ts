/**
 * The capacity model: its units, how it behaves as a load grows, and that docs/performance.md shows its constants and
 * what it predicts.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { advise } from '../../../gateway/cli/plan/advice.ts';
import {
  type NodeWork,
  nodeUs,
  plan,
  redisMessageUs,
  type Workload,
  writesPerSecond,
} from '../../../gateway/cli/plan/capacity.ts';
import { constants } from '../../../gateway/cli/plan/constants.ts';
import { Random } from '../random.ts';

const page = readFileSync(new URL('../../../docs/performance.md', import.meta.url), 'utf8');
const cost = (name: keyof typeof constants) => constants[name].value;

const base: Workload = {
  connections: 100_000,
  rooms: 10_000,
  roomsPerConnection: 1,
  messagesPerSecond: 5_000,
  messageBytes: 200,
  historyShare: 0.1,
  historySize: 100,
  presenceShare: 0.1,
  reconnectsPerSecond: 100,
  deployMinutes: 60,
  mergeMs: 20,
  pingSeconds: 25,
  share: 0.6,
  descriptors: 20_000,
  nodeGb: 2,
  redisGb: 16,
  networkGbit: 10,
};

const idle: NodeWork = {
  pings: 0,
  connects: 0,
  joins: 0,
  publishes: 0,
  received: 0,
  writes: 0,
  deliveries: 0,
  frameBytes: 0,
};

test('every constant is a number above 0 with a unit', () => {
  for (const { value, unit } of Object.values(constants)) {
    expect(value).toBeGreaterThan(0);
    expect(['B', 'us', 'ns']).toContain(unit);
  }
});

test('CPU is the sum of what is done, in microseconds', () => {
  expect(nodeUs(idle)).toBe(0);
  expect(nodeUs({ ...idle, publishes: 1_000 })).toBeCloseTo(1_000 * cost('publishUs'));
  expect(nodeUs({ ...idle, deliveries: 1_000, frameBytes: 1_000 })).toBeCloseTo(
    1_000 * (cost('frameUs') + cost('byteNs')),
  );
  expect(redisMessageUs(true, 4) - redisMessageUs(true, 3)).toBeCloseTo(cost('redisNodeUs'));
});

test('what comes for a member within the time to merge is one write, and there are never more writes than frames', () => {
  expect(writesPerSecond(1_000, 10_000, 20)).toBe(10_000);
  expect(writesPerSecond(1_000, 1_000_000, 20)).toBe(50_000);
});

test('a message goes to one node for a room of one, and to all nodes for a room of many', () => {
  expect(plan({ ...base, rooms: 100_000 }).fanOut).toBeCloseTo(1);
  const large = plan({ ...base, rooms: 1, messagesPerSecond: 10 });
  expect(large.nodes).toBeGreaterThan(3);
  expect(large.fanOut).toBeCloseTo(large.nodes);
});

test('the nodes of a plan fit into every bound, and some bound asks for all of them', () => {
  const draws = new Random(7);
  for (let round = 0; round < 300; round++) {
    const workload = anyWorkload(() => draws.next());
    const { nodes, node, nodeBounds } = plan(workload);
    if (!Number.isFinite(nodes)) continue;
    expect(Math.max(...Object.values(nodeBounds))).toBe(nodes);
    expect(node.cores).toBeLessThanOrEqual(workload.share);
    expect(node.bytes).toBeLessThanOrEqual(workload.nodeGb * 1e9);
    expect(Math.max(node.inGbit, node.outGbit)).toBeLessThanOrEqual(workload.networkGbit * workload.share);
    expect(node.connections).toBeLessThanOrEqual(workload.descriptors);
  }
});

test.each(['connections', 'messagesPerSecond', 'messageBytes', 'reconnectsPerSecond'] as const)(
  'more %s never take fewer nodes, nor less memory and network of Redis',
  (key) => {
    const draws = new Random(7);
    for (let round = 0; round < 300; round++) {
      const workload = anyWorkload(() => draws.next());
      const [less, more] = [plan(workload), plan({ ...workload, [key]: workload[key] * 1.7 })];
      expect(more.nodes).toBeGreaterThanOrEqual(less.nodes);
      expect(more.redis.outGbit).toBeGreaterThanOrEqual(less.redis.outGbit * (1 - 1e-9));
      expect(more.redis.bytes).toBeGreaterThanOrEqual(less.redis.bytes * (1 - 1e-9));
    }
  },
);

test('where every node would get more messages than a core can take, it says that no number of nodes is enough', () => {
  const workload = { ...base, connections: 1_000_000, rooms: 1, messagesPerSecond: 1_000_000 };
  const planned = plan(workload);
  expect(planned.nodes).toBe(Number.POSITIVE_INFINITY);
  expect(advise(workload, planned).warnings.join('\n')).toContain('No number of nodes');
});

test('where the beats of all nodes are too much for one Redis, it says that no number of them is enough', () => {
  const workload = { ...base, connections: 5e8, rooms: 5e7 };
  const planned = plan(workload);
  expect(planned.redis.shards).toBe(Number.POSITIVE_INFINITY);
  expect(advise(workload, planned).warnings.join('\n')).toContain('No number of Redis');
});

test('more than one Redis, a hot room and too many descriptors are warned of; an easy load is not', () => {
  const warned = (changes: Partial<Workload>) => {
    const workload = { ...base, ...changes };
    return advise(workload, plan(workload)).warnings.join('\n');
  };
  expect(warned({})).toBe('');
  expect(warned({ connections: 1e7, rooms: 1e6, messagesPerSecond: 500_000 })).toMatch(/this version uses one/);
  expect(warned({ rooms: 1, messagesPerSecond: 500 })).toMatch(/One room alone/);
  expect(warned({ descriptors: 100_000 })).toMatch(/ulimit -n/);
});

test('what breaks first is what is used most', () => {
  const byHistory = { ...base, connections: 1e6, rooms: 1e5, messagesPerSecond: 1_000, historyShare: 1 };
  expect(advise(byHistory, plan(byHistory)).breaksFirst).toContain('idle rooms');
  const byMemory = { ...byHistory, historySize: 100_000 };
  expect(advise(byMemory, plan(byMemory)).breaksFirst).toContain('memory of one Redis');
});

test('docs/performance.md lists every constant with its value and unit', () => {
  const rows = Object.values(constants).map(({ meaning, value, unit }) => `| ${meaning} | ${shown(value)} ${unit} |`);
  expect(page.match(/^\| .* \| [\d,.]+ (?:B|us|ns) \|$/gm)).toEqual(rows);
});

test('docs/performance.md shows what the model predicts for the runs that it was held against', () => {
  const rows = [...page.matchAll(/^\| (\d) \| ([\d,]+) x ([\d,]+) \| ([\d,]+) \| ([\d.]+) \| ([\d.]+) \| (.*) \|$/gm)];
  expect(rows.length).toBeGreaterThan(5);
  for (const [row, ...cells] of rows) {
    const [nodes = 0, rooms = 0, members = 0, rate = 0, measured = 0] = cells.map((cell) =>
      Number(cell.replace(',', '')),
    );
    const deliveries = rate * members;
    const predicted =
      nodeUs({
        ...idle,
        publishes: rate,
        received: rate * Math.min(nodes, members),
        writes: writesPerSecond(rooms * members, deliveries, base.mergeMs),
        deliveries,
        frameBytes: 128 + 120,
      }) / 1e6;
    const off = Math.round((predicted / measured - 1) * 100);
    const shown = `| ${predicted.toFixed(2)} | ${off > 0 ? '+' : ''}${off} % |`;
    expect(row.endsWith(shown), `${row} should end with ${shown}`).toBe(true);
  }
});

test('docs/performance.md names what fills 60 % of a core, as the constants have it', () => {
  const core = 0.6e6;
  const [beat, each] = [cost('redisBeatUs'), cost('redisBeatNodeUs')];
  const filled = [
    base.descriptors - 512,
    (core * base.pingSeconds) / cost('pingUs'),
    core / cost('writeUs'),
    core / cost('receiveUs'),
    core / cost('connectUs'),
    core / redisMessageUs(false, 10),
    core / redisMessageUs(true, 10),
    core / (500 * cost('redisReadUs')),
    // Nodes whose beats, each of which reads those of all, take so long: the root of a quadratic equation.
    (Math.sqrt(beat ** 2 + 4 * each * core) - beat) / (2 * each),
  ];
  const table = page.slice(page.indexOf('### What breaks first'), page.indexOf('## npx roomcast plan'));
  const named = [...table.matchAll(/^\| .*? \| ([\d,]+) \|/gm)].map(([, at]) => at);
  expect(named).toEqual(filled.map((at) => shown(Number(at.toPrecision(2)))));
});

function shown(value: number): string {
  return value.toLocaleString('en-US');
}

function anyWorkload(random: () => number): Workload {
  const connections = 10 ** (2 + 5 * random());
  const roomsPerConnection = 1 + Math.floor(5 * random());
  return {
    ...base,
    connections,
    roomsPerConnection,
    rooms: Math.max(1, connections * roomsPerConnection * random() ** 4),
    messagesPerSecond: 10 ** (5 * random()),
    messageBytes: 10 ** (1 + 3 * random()),
    historyShare: random(),
    presenceShare: random(),
    reconnectsPerSecond: connections * random() * 0.01,
  };
}
