/**
 * A deploy as an operator does it: deploy/rolling-restart.sh restarts all replicas of docker-compose.yml one after the
 * other, under 200 clients and 50 messages a second. Nobody notices more than a move.
 *
 * Owns the story and the load; containers are in stack.ts, clients in moving-client.ts.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
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

beforeAll(async () => {
  stack = await Stack.create();
  const file = join(stack.scratch, 'rooms.json');
  const rule = { match: 'chat:*', subscribe: 'user', publish: 'user', history: { size: 10_000 } };
  await writeFile(file, JSON.stringify({ rooms: [rule] }));
  await stack.override('test', { services: { gateway: { volumes: [`${file}:/etc/roomcast/rooms.json:ro`] } } });
  await stack.up('--build', '--scale', 'gateway=3', 'gateway', 'haproxy');
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

/** Clients, each a user of its own, in two rooms each. */
async function crowd(count: number): Promise<MovingClient[]> {
  const clients: MovingClient[] = [];
  while (clients.length < count) {
    const entering = Array.from({ length: Math.min(10, count - clients.length) }, async (_, index) => {
      const number = clients.length + index;
      const token = await mintToken({ sub: `user-${number}` }, secret);
      const inRooms = [rooms[number % 10] ?? '', rooms[(number + 3) % 10] ?? ''];
      return MovingClient.enter({ url, token, rooms: inRooms });
    });
    clients.push(...(await Promise.all(entering)));
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

test('all replicas restarted one after the other: nothing lost, nothing twice, nobody away for more than 2 s', async () => {
  const started = async () => {
    const ids = await stack.containers('gateway');
    return (await docker('inspect', '--format', '{{.State.StartedAt}}', ...ids)).trim().split('\n');
  };
  const before = await started();
  const clients = await crowd(clientCount);
  expect(new Set(clients.map(({ node }) => node)).size).toBe(3);
  const stopPublishing = publishSteadily(clients);
  const stopWatching = watchShares(clients);
  const output = await run('sh', ['deploy/rolling-restart.sh', stack.project], 240_000).catch(async (error: Error) => {
    throw new Error(`${error.message}\n${await stack.logs()}`, { cause: error });
  });
  const largestShare = stopWatching();
  const acknowledged = await stopPublishing();

  expect(output.match(/serves again/g)).toHaveLength(3);
  const after = await started();
  expect(after).toHaveLength(3);
  for (const time of after) expect(before).not.toContain(time);
  const behind = () =>
    clients.flatMap(({ heard }) =>
      [...heard].filter(
        ([room, { position }]) => position.offset < Math.max(...(acknowledged.get(room)?.keys() ?? [])),
      ),
    );
  await until(() => behind().length === 0, 20_000, 'everybody has heard the last messages');

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
  // Two are left while the first is away, and share its clients.
  expect(largestShare).toBeLessThanOrEqual(0.6);
  // Every connection that was left, the client left itself: none was closed by a node.
  expect([...new Set(clients.flatMap(({ closeCodes }) => closeCodes))]).toEqual([1000]);
  process.stdout.write(`${output}largest share of a node: ${Math.round(largestShare * 100)} %\n`);
  await Promise.all(clients.map((client) => client.end()));
});
