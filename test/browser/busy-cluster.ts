/**
 * A cluster under load for the tests of the dashboard: three nodes of the built program, and people who talk.
 *
 * Owns the Redis, the nodes, the clients and the talk, until the test ends. What is said is a fixed mixture: a busy room, a few
 * quieter ones, and one with names and messages that are HTML.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { apiKey } from '../integration/api.ts';
import { roomsFile } from '../integration/files.ts';
import { join, names } from '../integration/people.ts';
import { onCleanup } from '../support/cleanup.ts';
import type { Client } from '../support/client.ts';
import { type NodeSettings, type SpawnedNode, spawnNode } from '../support/node.ts';
import { ownRedis } from '../support/own-redis.ts';
import type { OwnRedis } from '../support/redis-process.ts';
import { until } from '../support/until.ts';

export const hostile = '<img src=x onerror=alert(1)>';
export const busiestRoom = 'chat:lobby';

export interface BusyCluster {
  redis: OwnRedis;
  nodes: [SpawnedNode, SpawnedNode, SpawnedNode];
  people: Client[];
}

const rooms = [busiestRoom, 'match:42', 'orders:berlin', 'doc:launch-plan', 'score:final'];
/** Every so many turns of the talk a room hears something. */
const everyTurns = [1, 3, 6, 10, 17];

/** `turnMs`: between two turns. */
export async function busyCluster({
  people: count = 30,
  turnMs = 50,
  ...settings
}: NodeSettings = {}): Promise<BusyCluster> {
  const redis = await ownRedis();
  const common: NodeSettings = {
    ...{ REDIS_URL: redis.url, API_KEY: apiKey, PING_INTERVAL_MS: 1_000, PUBLISH_RATE: 0, REQUEST_RATE: 0 },
    ROOMS_FILE: roomsFile({ match: 'chat:*', history: {}, presence: true }, { match: 'kept:*', history: {} }),
    ...settings,
  };
  const started = ['node-a', 'node-b', 'node-c'].map((NODE_ID) => spawnNode({ ...common, NODE_ID }));
  const nodes = (await Promise.all(started)) as BusyCluster['nodes'];
  await until(async () => (await asked(nodes[0], '/api/nodes')).nodes.length === 3, 15_000, 'all nodes are there');
  const people = await Promise.all(
    names('user-', Number(count)).map((user, index) => {
      const own = rooms.filter((_, room) => room === 0 || (index + room) % (room + 1) === 0);
      return join(nodes[index % 3] as SpawnedNode, user, ...own);
    }),
  );
  talk(people, Number(turnMs));
  return { redis, nodes, people };
}

/** Without waiting for answers: a test may take Redis or nodes away. */
function talk(people: readonly Client[], turnMs: number): void {
  let turn = 0;
  const timer = setInterval(() => {
    turn++;
    for (const [index, every] of everyTurns.entries()) {
      const speaker = people[(turn * 7 + index) % people.length];
      if (turn % every !== 0 || speaker === undefined || speaker.socket.readyState !== speaker.socket.OPEN) continue;
      speaker.send({
        type: 'publish',
        id: `talk-${turn}-${index}`,
        room: rooms[index] ?? '',
        data: { turn, text: sentences[turn % sentences.length] },
      });
    }
  }, turnMs);
  onCleanup(() => clearInterval(timer));
}

const sentences = [
  'Good morning, everyone',
  'Shall we start?',
  'The build is green again',
  'On my way',
  'Looks good to me',
];

/** The answer of a call of the API. */
// biome-ignore lint/suspicious/noExplicitAny: each test knows the answer it asks for.
export async function asked(node: SpawnedNode, path: string): Promise<any> {
  const headers = { authorization: `Bearer ${apiKey}` };
  return (await fetch(`http://127.0.0.1:${node.adminPort}${path}`, { headers })).json();
}

/** For pictures: charts need time. */
export const pass = delay;
