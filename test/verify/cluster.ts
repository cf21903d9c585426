/**
 * The system under test: a separate Redis with an append-only file, three node processes, and the load balancer before
 * them. Nodes reach Redis through a name (a proxy) that can be pointed at another Redis. The first node uses a second proxy,
 * which can fail on demand.
 *
 * Owns Redis and the ways to it; nodes.ts owns the nodes. nemesis.ts decides what breaks when.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onCleanup } from '../support/cleanup.ts';
import { type FaultProxy, faultProxy } from '../support/fault-proxy.ts';
import type { NodeSettings } from '../support/node.ts';
import { launchRedisProcess, type OwnRedis } from '../support/redis-process.ts';
import { administer } from './administrator.ts';
import type { RoomPlan } from './log.ts';
import { keptPresenceRoom, type Nodes, presenceRoom, startNodes } from './nodes.ts';

/** One room keeps so little that absent clients are refused; the bursts of large messages go to another one. */
export const trimmedRoom = 'small:0';
export const burstRoom = 'h:0';

export const roomPlans: RoomPlan[] = [
  ...Array.from({ length: 14 }, (_, index) => ({ name: `h:${index}`, history: true })),
  { name: trimmedRoom, history: true },
  ...Array.from({ length: 5 }, (_, index) => ({ name: `p:${index}`, history: false })),
  { name: keptPresenceRoom, history: true, presence: true },
  { name: presenceRoom, history: false, presence: true },
];

/** The Redis user of the nodes; an administrator can change its rights. */
export const redisUser = { name: 'roomcast', password: 'verify' };
const redisSettings = [
  ...['--user', redisUser.name, 'on', `>${redisUser.password}`, '~rc:*', '&rc:*', '+@all'],
  // A replica is synced as soon as it asks.
  ...['--repl-diskless-sync-delay', '0'],
];

export interface Cluster extends Nodes {
  redis: OwnRedis;
  /** The proxy by which all nodes reach Redis. */
  name: FaultProxy;
  /** A second proxy of the first node, before the other one. */
  proxy: FaultProxy;
  /** Kills Redis and starts it empty. */
  emptyRedis(): Promise<void>;
  /** Sends a command as an administrator. */
  tellRedis(command: string, ...words: (string | number)[]): Promise<unknown>;
  /** Starts another Redis, with the same users. */
  anotherRedis(): Promise<OwnRedis>;
}

/** `program` as in spawnNode. `prepare` may change Redis before the first node is started. `others`: more settings. */
export async function startCluster(
  program?: string,
  prepare?: (redis: OwnRedis) => Promise<void>,
  others: NodeSettings = { CENTRIFUGO: true },
): Promise<Cluster> {
  const folder = mkdtempSync(join(tmpdir(), 'roomcast-verify-'));
  onCleanup(() => rmSync(folder, { recursive: true, force: true }));
  const data = mkdtempSync(join(folder, 'redis-'));
  const redis = await launchRedisProcess(data, redisSettings);
  onCleanup(() => redis.stop());
  await prepare?.(redis);
  const address = new URL(redis.url);
  address.username = redisUser.name;
  address.password = redisUser.password;
  const name = await faultProxy(address.href);
  const proxy = await faultProxy(name.url);
  const nodes = await startNodes({
    folder,
    program,
    settingsOf: (index) => ({ ...others, REDIS_URL: index === 0 ? proxy.url : name.url }),
  });
  return {
    ...nodes,
    redis,
    name,
    proxy,
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
