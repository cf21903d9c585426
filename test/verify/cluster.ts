/**
 * The system under test: a separate Redis with an append-only file, three node processes, and the load balancer before
 * them. Nodes reach Redis through a name (a proxy) that can be pointed at another Redis. The first node uses a second proxy,
 * which can fail on demand.
 *
 * Owns their settings, and how each is started again. nemesis.ts decides what breaks when.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onCleanup } from '../support/cleanup.ts';
import { type FaultProxy, faultProxy } from '../support/fault-proxy.ts';
import { type NodeSettings, type SpawnedNode, spawnNode, usualFlags } from '../support/node.ts';
import { launchRedisProcess, type OwnRedis } from '../support/redis-process.ts';
import { until } from '../support/until.ts';
import { administer } from './administrator.ts';
import { type Balancer, startBalancer } from './balancer.ts';
import type { RoomPlan } from './log.ts';

export const nodeCount = 3;
const healthyDeadlineMs = 20_000;

/** One room keeps so little that absent clients are refused; the bursts of large messages go to another one. */
export const trimmedRoom = 'small:0';
export const burstRoom = 'h:0';
/** A room with presence and `join` and `leave`, without history. */
export const presenceRoom = 'who:plain';

export const roomPlans: RoomPlan[] = [
  ...Array.from({ length: 14 }, (_, index) => ({ name: `h:${index}`, history: true })),
  { name: trimmedRoom, history: true },
  ...Array.from({ length: 5 }, (_, index) => ({ name: `p:${index}`, history: false })),
  { name: 'who:kept', history: true, presence: true },
  { name: presenceRoom, history: false, presence: true },
];

const open = { subscribe: 'user', publish: 'user' };
const rules = [
  { match: 'small:*', ...open, history: { size: 8 } },
  { match: 'h:*', ...open, history: { size: 20_000, maxBytes: 268_435_456 } },
  { match: 'p:*', ...open },
  { match: 'who:kept', ...open, presence: true, joinLeave: true, history: { size: 20_000 } },
  { match: presenceRoom, ...open, presence: true, joinLeave: true },
];

/** The Redis user of the nodes; an administrator can change its rights. */
export const redisUser = { name: 'roomcast', password: 'verify' };
const redisSettings = [
  ...['--user', redisUser.name, 'on', `>${redisUser.password}`, '~rc:*', '&rc:*', '+@all'],
  // A replica is synced as soon as it asks.
  ...['--repl-diskless-sync-delay', '0'],
];

/** The drain is short, so that a run has several. Rates are off: the load is known, and a refusal would hide a fault. */
const settings = {
  PUBLISH_RATE: 0,
  REQUEST_RATE: 0,
  CENTRIFUGO: true,
  DRAIN_NOTICE_MS: 1_000,
  DRAIN_MS: 3_000,
  MAX_BUFFERED_BYTES: 8_388_608,
};

export interface Cluster {
  redis: OwnRedis;
  /** The proxy by which all nodes reach Redis. */
  name: FaultProxy;
  /** A second proxy of the first node, before the other one. */
  proxy: FaultProxy;
  nodes: SpawnedNode[];
  balancer: Balancer;
  /** Starts the node of this index again. `flags` are for Node; `program`, as in spawnNode, stays in use. */
  restartNode(index: number, how?: { program?: string; flags?: readonly string[] }): Promise<void>;
  /** Kills Redis and starts it empty. */
  emptyRedis(): Promise<void>;
  /** Sends a command as an administrator. */
  tellRedis(command: string, ...words: (string | number)[]): Promise<unknown>;
  /** Starts another Redis, with the same users. */
  anotherRedis(): Promise<OwnRedis>;
  /** Resolves when the balancer sees every node ready. */
  untilHealthy(): Promise<void>;
}

/** `program` as in spawnNode. `prepare` may change Redis before the first node is started. `others`: more settings. */
export async function startCluster(
  program?: string,
  prepare?: (redis: OwnRedis) => Promise<void>,
  others: NodeSettings = {},
): Promise<Cluster> {
  const folder = mkdtempSync(join(tmpdir(), 'roomcast-verify-'));
  onCleanup(() => rmSync(folder, { recursive: true, force: true }));
  const roomsFile = join(folder, 'rooms.json');
  writeFileSync(roomsFile, JSON.stringify({ rooms: rules }));
  const data = mkdtempSync(join(folder, 'redis-'));
  const redis = await launchRedisProcess(data, redisSettings);
  onCleanup(() => redis.stop());
  await prepare?.(redis);
  const address = new URL(redis.url);
  address.username = redisUser.name;
  address.password = redisUser.password;
  const name = await faultProxy(address.href);
  const proxy = await faultProxy(name.url);
  const balancer = await startBalancer();
  const nodes: SpawnedNode[] = [];
  const programs: (string | undefined)[] = Array.from({ length: nodeCount }, () => program);

  const restartNode: Cluster['restartNode'] = async (index, how = {}) => {
    const REDIS_URL = index === 0 ? proxy.url : name.url;
    const FLUSH_MS = index === 2 ? 20 : 0;
    const own = { ...settings, ...others, FLUSH_MS, ROOMS_FILE: roomsFile, REDIS_URL, NODE_ID: `n${index}` };
    programs[index] = how.program ?? programs[index];
    const node = await spawnNode(own, programs[index], [...usualFlags, ...(how.flags ?? [])]);
    nodes[index] = node;
    balancer.ready[index] = false;
    balancer.targets[index] = node;
  };
  await Promise.all(Array.from({ length: nodeCount }, (_, index) => restartNode(index)));

  const untilHealthy = () =>
    until(
      () => nodes.every((node, index) => balancer.targets[index] === node && balancer.ready[index]),
      healthyDeadlineMs,
      'every node is ready again',
    ).then(() => undefined);
  await untilHealthy();
  return {
    redis,
    name,
    proxy,
    nodes,
    balancer,
    restartNode,
    untilHealthy,
    async emptyRedis() {
      await redis.kill();
      rmSync(join(data, 'appendonlydir'), { recursive: true, force: true });
      await redis.start();
    },
    tellRedis(command, ...words) {
      return administer(redis, (tell) => tell(command, ...words));
    },
    async anotherRedis() {
      const other = await launchRedisProcess(mkdtempSync(join(folder, 'redis-')), redisSettings);
      onCleanup(() => other.stop());
      return other;
    },
  };
}
