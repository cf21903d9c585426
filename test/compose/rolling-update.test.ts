/**
 * A deploy as an operator does it: deploy/rolling-update.sh brings new settings to all replicas of docker-compose.yml,
 * under 200 clients and 50 messages a second. Nobody notices more than a move. Settings with which a replica cannot serve
 * change nothing.
 *
 * Owns the story and the load; containers are in stack.ts, clients in moving-client.ts.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connect } from '../support/client.ts';
import { mintToken } from '../support/token.ts';
import { until } from '../support/until.ts';
import { MovingClient } from './moving-client.ts';
import { docker, run, Stack } from './stack.ts';

const clientCount = 200;
const messagesPerSecond = 50;
const rooms = Array.from({ length: 10 }, (_, index) => `chat:${index}`);
const sampleMs = 200;

let stack: Stack;
let url: string;
let secret: string;

/** Settings of the gateway, over those of docker-compose.yml. */
async function set(environment: Record<string, string>): Promise<void> {
  const rule = { match: 'chat:*', subscribe: 'user', publish: 'user', history: { size: 10_000 } };
  await writeFile(join(folder(), 'rooms.json'), JSON.stringify({ rooms: [rule] }));
  await stack.override('test', { services: { gateway: { environment, volumes: [`${folder()}:/etc/roomcast:ro`] } } });
}

const folder = () => join(stack.scratch, 'gateway');

beforeAll(async () => {
  stack = await Stack.create();
  await mkdir(folder());
  await set({});
  await stack.up('--build', 'gateway', 'haproxy');
  url = `ws://${await stack.address('haproxy', 8080)}/ws`;
  secret = (await stack.exec('cat', '/run/roomcast/jwt-secret')).trim();
  await until(async () => (await nodesOf(await crowd(6))).size === 3, 120_000, 'three nodes take connections').catch(
    async (cause) => {
      throw new Error(`the deployment does not serve:\n${await stack.logs()}`, { cause });
    },
  );
});

afterAll(async () => {
  await stack?.down();
  await stack?.removeScratch();
});

/** Clients, each a user of its own, in two rooms each; all of them, or none is left. */
async function crowd(count: number): Promise<MovingClient[]> {
  const clients: MovingClient[] = [];
  while (clients.length < count) {
    const entering = Array.from({ length: Math.min(10, count - clients.length) }, async (_, index) => {
      const number = clients.length + index;
      const token = await mintToken({ sub: `user-${number}` }, secret);
      const inRooms = [rooms[number % 10] ?? '', rooms[(number + 3) % 10] ?? ''];
      return MovingClient.enter({ url, token, rooms: inRooms });
    });
    const outcomes = await Promise.allSettled(entering);
    clients.push(...outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : [])));
    const failure = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failure !== undefined) {
      await Promise.all(clients.map((client) => client.end()));
      throw failure.reason;
    }
  }
  return clients;
}

/** Ends the clients; resolves with the nodes they were on. */
async function nodesOf(clients: MovingClient[]): Promise<Set<string>> {
  await Promise.all(clients.map((client) => client.end()));
  return new Set(clients.map(({ node }) => node));
}

/** Publishes steadily until `stop`, which resolves with what was acknowledged where: room, offset, data. */
function publishSteadily(clients: MovingClient[]): () => Promise<Map<string, Map<number, string>>> {
  const acknowledged = new Map(rooms.map((room) => [room, new Map<number, string>()]));
  const underWay: Promise<void>[] = [];
  const began = performance.now();
  const timer = setInterval(() => {
    const due = ((performance.now() - began) / 1000) * messagesPerSecond;
    while (underWay.length < due) {
      const [number, data] = [underWay.length, `message ${underWay.length}`];
      const room = rooms[number % rooms.length] ?? '';
      const publisher = clients[(number * 7) % clients.length];
      const taken = publisher?.publish(room, data).then(({ offset }) => {
        expect(acknowledged.get(room)?.has(offset), `${room} ${offset} is given once`).toBe(false);
        acknowledged.get(room)?.set(offset, data);
      });
      if (taken !== undefined) underWay.push(taken);
      // It is looked at when all are awaited.
      taken?.catch(() => undefined);
    }
  }, 10);
  return async () => {
    clearInterval(timer);
    await Promise.all(underWay);
    return acknowledged;
  };
}

/** The largest share of the clients on one node, looked at until `stop`. */
function watchShares(clients: MovingClient[]): () => number {
  let largest = 0;
  const timer = setInterval(() => {
    const counts = new Map<string, number>();
    for (const { node } of clients) counts.set(node, (counts.get(node) ?? 0) + 1);
    largest = Math.max(largest, ...[...counts.values()].map((count) => count / clients.length));
  }, sampleMs);
  return () => {
    clearInterval(timer);
    return largest;
  };
}

/** Comes in by a new connection, time after time, until `stop`, which resolves with what went wrong. */
function visitSteadily(): () => Promise<string[]> {
  const refused: string[] = [];
  let stopped = false;
  const visit = async () => {
    const token = await mintToken({ sub: 'visitor' }, secret);
    while (!stopped) {
      const client = await connect(url, { token }).catch((error: Error) => refused.push(error.message));
      if (typeof client !== 'number') await client.close();
      await new Promise((resolve) => setTimeout(resolve, sampleMs / 10));
    }
  };
  const visiting = visit();
  return async () => {
    stopped = true;
    await visiting;
    return refused;
  };
}

const update = (environment: Record<string, string> = {}) =>
  run('deploy/rolling-update.sh', [], { timeoutMs: 400_000, env: { ...stack.environment(), ...environment } });

test('a mistake in the settings is told before any replica is touched', async () => {
  const replicas = await stack.allContainers();
  await set({ GATEWAY_PING_INTERVAL_MS: 'soon', GATEWAY_MAX_MESAGE_BYTES: '32768' });
  const failure = await update().catch((error: Error) => error.message);
  expect(failure).toContain('GATEWAY_PING_INTERVAL_MS must be a whole number');
  expect(failure).toContain('GATEWAY_MAX_MESAGE_BYTES is not a setting');
  expect(failure).toContain('nothing was changed');
  expect(await stack.allContainers()).toEqual(replicas);
});

test('replicas that do not become ready are taken away again, and the old ones serve as before', async () => {
  const replicas = await stack.allContainers();
  await set({ GATEWAY_REDIS_URL: 'redis://redis:6380' });
  const failure = await update({ READY_S: '15' }).catch((error: Error) => error.message);
  expect(failure).toContain('is not ready within 15 s');
  expect(failure).toContain('ECONNREFUSED');
  expect(await stack.allContainers()).toEqual(replicas);
  expect((await nodesOf(await crowd(6))).size).toBe(3);
});

test('new settings for all replicas: nothing lost, nothing twice, nobody refused or away for more than 2 s', async () => {
  const before = await stack.containers('gateway');
  // One that is dead already is replaced with the others.
  await docker('kill', before[0] ?? '');
  await set({ GATEWAY_MAX_MESSAGE_BYTES: '32768' });
  const clients = await crowd(clientCount);
  const stopPublishing = publishSteadily(clients);
  const stopWatching = watchShares(clients);
  const stopVisiting = visitSteadily();
  const output = await update().catch(async (error: Error) => {
    throw new Error(`${error.message}\n${await stack.logs()}`, { cause: error });
  });
  const refused = await stopVisiting();
  const largestShare = stopWatching();
  const acknowledged = await stopPublishing();

  expect(output).toContain('3 replicas serve');
  const after = await stack.containers('gateway');
  expect(after).toHaveLength(3);
  for (const id of after) expect(before).not.toContain(id);
  const behind = () =>
    clients.flatMap(({ heard }) =>
      [...heard].filter(
        ([room, { position }]) => position.offset < Math.max(...(acknowledged.get(room)?.keys() ?? [])),
      ),
    );
  await until(() => behind().length === 0, 20_000, 'everybody has heard the last messages');

  expect(refused).toEqual([]);
  expect(clients.flatMap(({ troubles }) => troubles)).toEqual([]);
  expect([...acknowledged.values()].reduce((sum, { size }) => sum + size, 0)).toBeGreaterThan(1_000);
  for (const { heard } of clients) {
    for (const [room, { data }] of heard) {
      const first = Math.min(...data.keys());
      const expected = [...(acknowledged.get(room) ?? [])].filter(([offset]) => offset >= first);
      expect(new Map([...data].sort(([one], [other]) => one - other))).toEqual(
        new Map(expected.sort(([one], [other]) => one - other)),
      );
    }
  }
  expect(clients.every(({ moves }) => moves > 0)).toBe(true);
  expect(Math.max(...clients.map(({ longestAwayMs }) => longestAwayMs))).toBeLessThanOrEqual(2_000);
  // The new ones share the clients of the old ones; two of those had all in the beginning.
  expect(largestShare).toBeLessThanOrEqual(0.6);
  // Every connection that was left, the client left itself: none was closed by a node.
  expect([...new Set(clients.flatMap(({ closeCodes }) => closeCodes))]).toEqual([1000]);
  process.stdout.write(`${output}largest share of a node: ${Math.round(largestShare * 100)} %\n`);
  await Promise.all(clients.map((client) => client.end()));
  const visitor = await connect(url, { token: await mintToken({ sub: 'visitor' }, secret) });
  expect((await visitor.next('welcome')).maxMessageBytes).toBe(32_768);
  await visitor.close();
});
