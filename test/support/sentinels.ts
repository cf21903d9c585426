/**
 * Sentinel as it runs in production, in small: a master, two replicas and three sentinels, all processes of this machine.
 *
 * Owns them, and their files, until the end of the test (or of the file that started them). Redis keeps its append-only file,
 * and takes writes only while a replica follows. It never knows the gateway.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { onCleanup } from './cleanup.ts';
import { freePort } from './free-port.ts';
import { endWithThisProcess } from './lifeline.ts';
import { ownRedisOnDisk } from './own-redis.ts';
import type { OwnRedis } from './redis-process.ts';
import { until } from './until.ts';

export const masterName = 'mymaster';
/** Without an answer for so long, a sentinel takes the master for dead. */
export const downAfterMs = 1_000;
const deadlineMs = 20_000;

interface Sentinel {
  port: number;
  client: Redis;
  pause(): void;
  resume(): void;
}

export interface SentinelSettings {
  /** Further arguments of each redis-server. */
  redis?: readonly string[];
  /** Further lines of each sentinel.conf, before it watches the master. */
  sentinel?: readonly string[];
  /** Lines of sentinel.conf that name the master. */
  watch?: readonly string[];
}

export interface SentinelStack {
  /** For GATEWAY_REDIS_URL. */
  url: string;
  /** The first one is the master at the start. */
  servers: OwnRedis[];
  sentinels: Sentinel[];
  /** As the first sentinel names it now. */
  master(): Promise<OwnRedis>;
  /** Resolves when the sentinels name another master than `before`, and all servers that run follow it. */
  untilSwitched(before: OwnRedis): Promise<OwnRedis>;
  /** A client of one server. */
  client(server: OwnRedis): Redis;
}

export async function sentinelStack(settings: SentinelSettings = {}): Promise<SentinelStack> {
  const servers = await Promise.all([1, 2, 3].map(() => server(settings)));
  const [master] = servers as [OwnRedis, OwnRedis, OwnRedis];
  const client = ({ url }: OwnRedis) => redisClient(url);
  await Promise.all(servers.slice(1).map((each) => client(each).replicaof('127.0.0.1', `${master.port}`)));
  await until(async () => (await replicasOf(client(master))) === 2, deadlineMs, 'two replicas follow the master');
  const sentinels = await Promise.all([1, 2, 3].map(() => sentinel(master.port, settings)));
  const knowAll = async () => {
    const known = await Promise.all(sentinels.map(({ client: each }) => each.call('SENTINEL', 'MASTER', masterName)));
    return known.every((answer) => /num-slaves,2,num-other-sentinels,2,/.test(String(answer)));
  };
  await until(knowAll, deadlineMs, 'the sentinels know each other and the replicas');
  const named = async (): Promise<OwnRedis> => {
    const [first] = sentinels as [Sentinel];
    const [, port] = (await first.client.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', masterName)) as string[];
    return servers.find((each) => `${each.port}` === port) ?? master;
  };
  return {
    url: `redis+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join()}/${masterName}`,
    servers,
    sentinels,
    master: named,
    client,
    async untilSwitched(before) {
      await until(async () => (await named()) !== before, deadlineMs, 'the sentinels name another master');
      return named();
    },
  };
}

/** Replicas that have caught up. */
async function replicasOf(client: Redis): Promise<number> {
  return [...(await client.info('replication')).matchAll(/state=online/g)].length;
}

function redisClient(url: string): Redis {
  const client = new Redis(url, { maxRetriesPerRequest: 0 });
  // It is killed by the tests; without a listener ioredis prints that.
  client.on('error', () => undefined);
  onCleanup(() => client.disconnect());
  return client;
}

function server({ redis = [] }: SentinelSettings): Promise<OwnRedis> {
  return ownRedisOnDisk('--repl-diskless-sync-delay', '0', '--replica-announce-ip', '127.0.0.1', ...redis);
}

async function sentinel(masterPort: number, { sentinel: lines = [], watch = [] }: SentinelSettings): Promise<Sentinel> {
  const folder = await mkdtemp(join(tmpdir(), 'roomcast-sentinel-'));
  onCleanup(() => rm(folder, { recursive: true, force: true }));
  const port = await freePort();
  const file = join(folder, 'sentinel.conf');
  const text = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${folder}`,
    ...lines,
    `sentinel monitor ${masterName} 127.0.0.1 ${masterPort} 2`,
    `sentinel down-after-milliseconds ${masterName} ${downAfterMs}`,
    `sentinel failover-timeout ${masterName} 10000`,
    ...watch,
  ];
  await writeFile(file, `${text.join('\n')}\n`);
  const process = spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' });
  endWithThisProcess(process);
  onCleanup(() => end(process));
  const client = redisClient(`redis://127.0.0.1:${port}`);
  await until(async () => (await client.ping()) === 'PONG', deadlineMs, 'a sentinel answers');
  return { port, client, pause: () => process.kill('SIGSTOP'), resume: () => process.kill('SIGCONT') };
}

async function end(process: ChildProcess): Promise<void> {
  if (process.exitCode !== null || process.signalCode !== null) return;
  const exited = once(process, 'exit');
  process.kill('SIGKILL');
  await exited;
}
