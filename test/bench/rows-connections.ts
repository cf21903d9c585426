/**
 * The rows about connections: their memory, how quickly they connect and resume, and their cost while idle.
 */
import { WebSocket } from 'ws';
import { nowUs } from '../../gateway/cli/load/clock.ts';
import { dialects, type Position } from '../../gateway/cli/load/dialects.ts';
import { cpuSeconds, residentBytes } from './machine.ts';
import { type Bench, faultsOf, type Measured, type Scenario } from './scenario.ts';
import { benchSecret, gateway, gatewayWithHistory, reference } from './servers.ts';

const manyConnections = 19_000;
const membersPerRoom = 10;
const returning = 10_000;
/** Fewer than a node remembers: gateway/auth/verified-tokens.ts. */
const comingAgain = 9_000;
const hourSeconds = 3_600;
const keptMessages = 20;
/** Of these, the messages that each client has seen before it resumes. */
const seenMessages = 10;
const settleSeconds = 3;

export const connectionRows: Scenario[] = [
  {
    name: 'memory',
    title: '19,000 authenticated connections in one room',
    subject: gateway,
    against: reference,
    figures: [
      {
        key: 'bytes',
        title: 'resident memory',
        unit: 'bytes/connection',
        goal: { of: 'figure', bound: 'at most', limit: 2500 },
      },
    ],
    measure: measureMemory,
  },
  {
    name: 'connect',
    title: '19,000 connections, each with its own token, in 1,900 rooms',
    subject: gateway,
    against: reference,
    figures: [
      {
        key: 'rate',
        title: 'connected, authenticated and joined',
        unit: 'connections/s',
        goal: { of: 'figure', bound: 'at least', limit: 6000 },
      },
      { key: 'cost', title: 'server CPU', unit: 'us/connection' },
    ],
    measure: measureConnect,
  },
  {
    name: 'connect-again',
    title: '9,000 connections, with tokens that the node has verified before, in 900 rooms',
    subject: gateway,
    against: reference,
    figures: [
      {
        key: 'rate',
        title: 'connected, authenticated and joined',
        unit: 'connections/s',
        goal: { of: 'ratio', bound: 'at least', limit: 0.7 },
      },
      { key: 'cost', title: 'server CPU', unit: 'us/connection' },
    ],
    measure: measureConnectAgain,
  },
  {
    name: 'resume',
    title: '10,000 clients come back with `since`, to 1,000 rooms with history',
    subject: gatewayWithHistory,
    against: undefined,
    figures: [
      {
        key: 'seconds',
        title: 'until each has what it missed',
        unit: 's',
        goal: { of: 'figure', bound: 'at most', limit: 4 },
      },
    ],
    measure: measureResume,
  },
  {
    name: 'idle',
    title: '19,000 idle connections, a ping every 25 s',
    subject: gateway,
    against: undefined,
    figures: [
      { key: 'share', title: 'server CPU', unit: '% of a core', goal: { of: 'figure', bound: 'at most', limit: 3 } },
    ],
    measure: measureIdle,
  },
];

async function measureMemory(bench: Bench): Promise<Measured> {
  const connections = bench.connections(manyConnections);
  const { pids } = bench.server;
  return bench.withAudience(
    { connections, rooms: 1 },
    async (client) => {
      const before = residentBytes(pids);
      await client.connect();
      await pause(settleSeconds);
      return only({ bytes: (residentBytes(pids) - before) / connections });
    },
    false,
  );
}

function measureConnect(bench: Bench): Promise<Measured> {
  return connectAll(bench, bench.connections(manyConnections));
}

/** The same users with the same tokens, twice; the second time counts. */
async function measureConnectAgain(bench: Bench): Promise<Measured> {
  const claims = { exp: Math.floor(Date.now() / 1000) + hourSeconds };
  await connectAll(bench, bench.connections(comingAgain), claims);
  return connectAll(bench, bench.connections(comingAgain), claims);
}

function connectAll(bench: Bench, connections: number, claims = {}): Promise<Measured> {
  const { pids } = bench.server;
  return bench.withAudience(
    { connections, rooms: Math.ceil(connections / membersPerRoom), claims },
    async (client) => {
      const before = cpuSeconds(pids);
      const { seconds } = await client.connect();
      return only({ rate: connections / seconds, cost: ((cpuSeconds(pids) - before) / connections) * 1e6 });
    },
    false,
  );
}

async function measureResume(bench: Bench): Promise<Measured> {
  const connections = bench.connections(returning);
  const rooms = Math.ceil(connections / membersPerRoom);
  const published = await bench.withAudience({ connections: rooms, rooms }, async (client) => {
    await client.connect();
    return client.fill(keptMessages);
  });
  const epochs = await epochsOf(bench.server.nodes[0]?.port ?? 0, rooms);
  const since = epochs.map((epoch) => ({ position: { epoch, offset: seenMessages }, number: seenMessages }));
  return bench.withAudience(
    { connections, rooms, since },
    async (client) => {
      const { seconds } = await client.connect();
      const connectedUs = nowUs();
      await client.settle(published);
      return only({ seconds: seconds + (nowUs() - connectedUs) / 1e6 });
    },
    false,
  );
}

async function measureIdle(bench: Bench): Promise<Measured> {
  const connections = bench.connections(manyConnections);
  const { pids } = bench.server;
  return bench.withAudience({ connections, rooms: Math.ceil(connections / membersPerRoom) }, async (client) => {
    await client.connect();
    await pause(settleSeconds);
    const before = cpuSeconds(pids);
    const startUs = nowUs();
    await pause(bench.scale.idleSeconds);
    const share = ((cpuSeconds(pids) - before) / (nowUs() - startUs)) * 1e6 * 100;
    // All are still connected.
    const trial = await bench.trial(client, bench.rate(500), bench.scale.searchSeconds);
    return { ...only({ share }), faults: faultsOf(trial), trials: bench.trials };
  });
}

/** The positions by room, as the gateway reports them. */
async function epochsOf(port: number, rooms: number): Promise<string[]> {
  const { path, headers, join } = dialects.gateway;
  const [, token = ''] = headers('reader', { secret: benchSecret, claims: {} })[0]?.split(': ') ?? [];
  const epochs: string[] = [];
  for (let first = 0; first < rooms; first += 100) {
    const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, { headers: { authorization: token } });
    await new Promise<void>((resolve, reject) => {
      const last = Math.min(first + 100, rooms);
      let missing = last - first;
      socket.on('error', reject);
      socket.on('close', () => reject(new Error('the reader of positions was closed')));
      socket.on('open', () => {
        for (let room = first; room < last; room++) socket.send(join(`r${room}`));
      });
      socket.on('message', (frame) => {
        const { type, room, epoch } = JSON.parse(String(frame)) as { type: string; room: string } & Position;
        if (type === 'ok') epochs[Number(room.slice(1))] = epoch;
        if (type === 'ok' && --missing === 0) resolve();
      });
    });
    socket.terminate();
  }
  return epochs;
}

function only(values: Record<string, number>): Measured {
  return { values, faults: [], trials: [] };
}

function pause(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}
