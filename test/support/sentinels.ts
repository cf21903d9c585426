/**
 * Sentinel as it runs in production, in small: a master, two replicas and three sentinels, all processes of this machine. All
 * reach a Redis through its proxy, whose port it announces; so it can be cut off from everybody at once.
 *
 * Owns them, and their files, until the end of the test (or of the file that started them). Each Redis keeps an append-only
 * file. It never knows the gateway.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { onCleanup } from './cleanup.ts';
import { type FaultProxy, faultProxy } from './fault-proxy.ts';
import { freePort } from './free-port.ts';
import { endWithThisProcess } from './lifeline.ts';
import { ownRedisOnDisk } from './own-redis.ts';
import type { OwnRedis } from './redis-process.ts';
import { until } from './until.ts';

export const masterName = 'mymaster';
/** Without an answer for so long, a sentinel takes the master for dead. */
export const downAfterMs = 1_000;
const deadlineMs = 20_000;
const loopback = '127.0.0.1';

export interface Server {
  redis: OwnRedis;
  /** The only way to it but for `admin`. */
  proxy: FaultProxy;
  /** Past the proxy. */
  admin: Redis;
}

interface Sentinel {
  port: number;
  client: Redis;
  pause(): void;
  resume(): void;
}

export interface SentinelSettings {
  /** Carried out on each Redis before it follows or is watched. */
  commands?: readonly (readonly string[])[];
  /** Further lines of each sentinel.conf, before it watches the master. */
  sentinel?: readonly string[];
  /** Further lines of sentinel.conf that name the master. */
  watch?: readonly string[];
  /** Of the test at the sentinels: `user:password`. */
  access?: string;
  /** By which all of them know each other. Default: the loopback address. */
  host?: string;
  /** Then everybody but `admin` speaks TLS. */
  tls?: { certificate: string; key: string };
}

export interface SentinelStack {
  /** For GATEWAY_REDIS_URL. */
  url: string;
  /** The first one is the master at the start. */
  servers: [Server, Server, Server];
  sentinels: Sentinel[];
  /** Resolves with the new master when all sentinels name another one than `before`. */
  untilSwitched(before: Server): Promise<Server>;
}

export async function sentinelStack(settings: SentinelSettings = {}): Promise<SentinelStack> {
  const servers = (await Promise.all([1, 2, 3].map(() => server(settings)))) as SentinelStack['servers'];
  const [master, ...replicas] = servers;
  const { host = loopback } = settings;
  await Promise.all(replicas.map(({ admin }) => admin.replicaof(host, `${master.proxy.port}`)));
  await until(async () => (await replicasOf(master.admin)) === 2, deadlineMs, 'two replicas follow the master');
  const sentinels = await Promise.all([1, 2, 3].map(() => sentinel(master.proxy.port, settings)));
  const knowAll = async () => {
    const known = await Promise.all(sentinels.map(({ client }) => client.call('SENTINEL', 'MASTER', masterName)));
    return known.every((answer) => /num-slaves,2,num-other-sentinels,2,/.test(String(answer)));
  };
  await until(knowAll, deadlineMs, 'the sentinels know each other and the replicas');
  return {
    url: `${settings.tls ? 'rediss' : 'redis'}+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join()}/${masterName}`,
    servers,
    sentinels,
    async untilSwitched(before) {
      const named = async () => {
        const ask = ({ client }: Sentinel) => client.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', masterName);
        const ports = new Set((await Promise.all(sentinels.map(ask))).map((answer) => String(answer).split(',')[1]));
        if (ports.size > 1) return undefined;
        return servers.find((each) => each !== before && ports.has(`${each.proxy.port}`));
      };
      return (await until(named, deadlineMs, 'the sentinels name another master')) as Server;
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

async function server({ commands = [], host = loopback, tls }: SentinelSettings): Promise<Server> {
  const tlsPort = await freePort();
  const secure =
    tls && [`--tls-port ${tlsPort}`, ...tlsLines(tls).map((line) => `--${line}`)].flatMap((line) => line.split(' '));
  const redis = await ownRedisOnDisk(
    '--repl-diskless-sync-delay',
    '0',
    '--replica-announce-ip',
    host,
    ...(secure ?? []),
  );
  const way = tls ? `redis://127.0.0.1:${tlsPort}` : redis.url;
  const [proxy, admin] = [await faultProxy(way), redisClient(redis.url)];
  for (const [name = '', ...words] of commands) await admin.call(name, ...words);
  await admin.config('SET', 'replica-announce-port', `${proxy.port}`);
  return { redis, proxy, admin };
}

function tlsLines({ certificate, key }: { certificate: string; key: string }): string[] {
  const files = [`tls-cert-file ${certificate}`, `tls-key-file ${key}`, `tls-ca-cert-file ${certificate}`];
  return [...files, 'tls-auth-clients no', 'tls-replication yes'];
}

async function sentinel(masterPort: number, settings: SentinelSettings): Promise<Sentinel> {
  const { sentinel: lines = [], watch = [], access = '', host = loopback, tls } = settings;
  const folder = await mkdtemp(join(tmpdir(), 'roomcast-sentinel-'));
  onCleanup(() => rm(folder, { recursive: true, force: true }));
  const [port, tlsPort] = [await freePort(), await freePort()];
  const file = join(folder, 'sentinel.conf');
  const text = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${folder}`,
    ...(tls ? [`tls-port ${tlsPort}`, ...tlsLines(tls)] : []),
    ...lines,
    `sentinel monitor ${masterName} ${host} ${masterPort} 2`,
    `sentinel down-after-milliseconds ${masterName} ${downAfterMs}`,
    `sentinel failover-timeout ${masterName} 10000`,
    ...watch,
  ];
  await writeFile(file, `${text.join('\n')}\n`);
  const process = spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' });
  endWithThisProcess(process);
  onCleanup(() => end(process));
  const client = redisClient(`redis://${access && `${access}@`}127.0.0.1:${port}`);
  await until(async () => (await client.ping()) === 'PONG', deadlineMs, 'a sentinel answers');
  return {
    port: tls ? tlsPort : port,
    client,
    pause: () => process.kill('SIGSTOP'),
    resume: () => process.kill('SIGCONT'),
  };
}

async function end(process: ChildProcess): Promise<void> {
  if (process.exitCode !== null || process.signalCode !== null) return;
  const exited = once(process, 'exit');
  process.kill('SIGKILL');
  await exited;
}
