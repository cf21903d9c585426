/**
 * A Redis Cluster of processes on this machine: three primaries, each with a replica, unless asked otherwise.
 *
 * Owns the processes, by their pids, and the folders with what they know of each other. Everything that tests do to a
 * cluster is here: moving slots, adding and removing servers, promoting replicas. Nodes of a cluster count as failed after
 * `nodeTimeoutMs` without an answer.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { slotCount, slotOf } from '../../gateway/redis/cluster/slots.ts';
import { onCleanup } from './cleanup.ts';
import { RedisAsker } from './redis-asker.ts';
import { launchRedisProcess, type OwnRedis } from './redis-process.ts';
import { until } from './until.ts';

const run = promisify(execFile);
const deadlineMs = 30_000;
/** A reshard prints two lines for each slot. */
const mostPrintedBytes = 16 * 1_048_576;
export const nodeTimeoutMs = 2_000;
/** CLUSTER_MF_TIMEOUT of Redis, and a second. */
const failoverMs = 6_000;

export interface ClusterOptions {
  primaries?: number;
  replicas?: number;
  /** Further arguments of every `redis-server`. */
  settings?: readonly string[];
}

/** One server of a cluster. */
export interface ClusterServer extends OwnRedis {
  readonly id: string;
}

export class RedisCluster {
  readonly servers: ClusterServer[] = [];
  readonly #settings: readonly string[];
  readonly #asker = new RedisAsker();

  private constructor(settings: readonly string[]) {
    this.#settings = settings;
    onCleanup(() => this.#asker.close());
  }

  /** It ends with the test, or with the file if it is started outside of a test. */
  static async start({
    primaries = 3,
    replicas = primaries,
    settings = [],
  }: ClusterOptions = {}): Promise<RedisCluster> {
    const cluster = new RedisCluster(settings);
    const launched = await Promise.all(Array.from({ length: primaries + replicas }, () => cluster.#launch()));
    cluster.servers.push(...launched);
    const hosts = launched.map(({ port }) => `127.0.0.1:${port}`);
    const perPrimary = Math.floor(replicas / primaries);
    await redisCli('--cluster', 'create', ...hosts, '--cluster-replicas', `${perPrimary}`, '--cluster-yes');
    await cluster.untilOk(replicas);
    return cluster;
  }

  get url(): string {
    return `redis+cluster://${this.servers.map(({ port }) => `127.0.0.1:${port}`).join(',')}`;
  }

  /** All servers that run agree on who owns which slot, and the replicas are in step. */
  async untilOk(replicas = 0): Promise<void> {
    const ok = async () => {
      const answers = await Promise.all(this.running.map((server) => this.ask(server, 'CLUSTER', 'INFO')));
      if (!answers.every((info) => info.includes('cluster_state:ok') && info.includes('slots_ok:16384'))) return false;
      const infos = await Promise.all(this.running.map((server) => this.ask(server, 'INFO', 'replication')));
      const linked = infos.filter((info) => info.includes('master_link_status:up')).length;
      return linked >= replicas && (await this.#agrees());
    };
    await until(ok, deadlineMs, 'the cluster is ok').catch(async (error: Error) => {
      throw new Error(`${error.message}:\n${await this.#described()}`);
    });
  }

  /** What each server that runs says of all of them. */
  async #described(): Promise<string> {
    const about = async (server: ClusterServer) => {
      const link = /master_link_status:\w+/.exec(await this.ask(server, 'INFO', 'replication'))?.[0] ?? 'a primary';
      return `${server.port}, ${link}:\n${await this.ask(server, 'CLUSTER', 'NODES')}`;
    };
    return (await Promise.all(this.running.map(about))).join('\n');
  }

  get running(): ClusterServer[] {
    return this.servers.filter(({ pid }) => pid !== undefined && isAlive(pid));
  }

  /** The primary of this slot, as most running servers see it. */
  async ownerOf(slot: number): Promise<ClusterServer> {
    const maps = await Promise.all(this.running.map((server) => this.#owners(server)));
    const ports = maps.map((map) => map.find(([from, to]) => slot >= from && slot <= to)?.[2]);
    const votes = (port: number | undefined) => ports.filter((each) => each === port).length;
    const [port] = ports.sort((one, other) => votes(other) - votes(one));
    const owner = this.servers.find((server) => server.port === port);
    if (owner === undefined) throw new Error(`slot ${slot} has an owner`);
    return owner;
  }

  /** The servers that have slots, as another one than `except` sees it; in the order of their slots. */
  async primaries(except?: ClusterServer): Promise<ClusterServer[]> {
    const witness = this.running.find((server) => server !== except);
    const ports = witness === undefined ? [] : (await this.#owners(witness)).map(([, , port]) => port);
    return [...new Set(ports)].flatMap((port) => this.servers.filter((server) => server.port === port));
  }

  /** Resolves when another server has the slots of this one, which may be dead or stand still. */
  async untilReplaced(server: ClusterServer): Promise<void> {
    const replaced = async () => !(await this.primaries(server)).includes(server);
    await until(replaced, deadlineMs, 'a replica takes over');
  }

  /** A replica takes over from a primary that runs. Redis gives up an attempt after 5 s: then it is told again. */
  async failOver(primary: ClusterServer): Promise<void> {
    let toldAt = Number.NEGATIVE_INFINITY;
    const replaced = async () => {
      if (performance.now() - toldAt > failoverMs) {
        toldAt = performance.now();
        await this.ask(await this.replicaOf(primary), 'CLUSTER', 'FAILOVER');
      }
      return !(await this.primaries(primary)).includes(primary);
    };
    await until(replaced, deadlineMs, 'a replica takes over');
  }

  /** Another primary than this one. */
  async anotherThan(server: ClusterServer): Promise<ClusterServer> {
    const ports = (await this.#owners(server)).map(([, , port]) => port);
    const other = this.servers.find(({ port }) => port !== server.port && ports.includes(port));
    if (other === undefined) throw new Error('there is another primary');
    return other;
  }

  /** A server learns of its replicas a moment after the cluster is up. */
  replicaOf(server: ClusterServer): Promise<ClusterServer> {
    const find = async () => {
      const lines = (await this.ask(server, 'CLUSTER', 'REPLICAS', server.id)).split('\n');
      return this.servers.find(({ id }) => lines.some((line) => line.startsWith(id))) as ClusterServer;
    };
    return until(find, deadlineMs, 'it has a replica');
  }

  /** Moves slots with all their keys, as `redis-cli --cluster reshard` does: slot by slot. */
  async move(slots: readonly number[], to: ClusterServer): Promise<void> {
    for (const slot of slots) await this.moveSlot(slot, to);
  }

  async moveSlot(slot: number, to: ClusterServer, meanwhile: () => unknown = () => undefined): Promise<void> {
    // A slot that moves on before all know its last move can end without an owner.
    await until(() => this.#agrees(), deadlineMs, 'all know who owns which slot');
    const from = await this.ownerOf(slot);
    if (from === to) return;
    await this.ask(to, 'CLUSTER', 'SETSLOT', slot, 'IMPORTING', from.id);
    await this.ask(from, 'CLUSTER', 'SETSLOT', slot, 'MIGRATING', to.id);
    await meanwhile();
    for (;;) {
      const keys = (await this.ask(from, 'CLUSTER', 'GETKEYSINSLOT', slot, 100))
        .split('\n')
        .filter((key) => key !== '');
      if (keys.length === 0) break;
      await this.ask(from, 'MIGRATE', '127.0.0.1', to.port, '', 0, 5_000, 'KEYS', ...keys);
    }
    // The new owner first, as redis-cli does: no slot is without an owner.
    const primaries = new Set((await this.#owners(from)).map(([, , port]) => port));
    const others = this.running.filter((each) => each !== to && each !== from && primaries.has(each.port));
    for (const each of [to, from, ...others]) {
      await this.ask(each, 'CLUSTER', 'SETSLOT', slot, 'NODE', to.id).catch((error: Error) => {
        // A primary that learns from others that its last slot is gone becomes a replica of the new owner.
        if (each !== from || !error.message.includes('only with masters')) throw error;
      });
    }
  }

  /** Moves the first `count` slots of a primary by `redis-cli --cluster reshard`. Returns them. */
  async reshard(from: ClusterServer, to: ClusterServer, count: number): Promise<number[]> {
    const slots = (await this.slotsOf(from)).slice(0, count);
    // It refuses a cluster whose servers do not agree: replicas hear of the last move a moment later.
    await this.untilOk();
    const what = ['--cluster-from', from.id, '--cluster-to', to.id, '--cluster-slots', slots.length];
    await redisCli('--cluster', 'reshard', `127.0.0.1:${to.port}`, ...what, '--cluster-yes');
    const moved = new Set(await this.slotsOf(to));
    if (!slots.every((slot) => moved.has(slot))) throw new Error('the first slots of a server are moved first');
    return slots;
  }

  /** A new primary without slots; or a replica of this one. */
  async add(primary?: ClusterServer): Promise<ClusterServer> {
    const [witness] = this.running;
    const server = await this.#launch();
    this.servers.push(server);
    const role = primary === undefined ? [] : ['--cluster-slave', '--cluster-master-id', primary.id];
    await redisCli('--cluster', 'add-node', `127.0.0.1:${server.port}`, `127.0.0.1:${witness?.port}`, ...role);
    await this.untilOk();
    return server;
  }

  /** Takes a server without slots out. */
  async remove(server: ClusterServer): Promise<void> {
    // As `redis-cli --cluster del-node` does. That gives up at the first refusal, for instance of a replica that still follows it.
    for (const each of this.others(server)) {
      const forget = () => this.ask(each, 'CLUSTER', 'FORGET', server.id).catch(orUnknown);
      await until(forget, deadlineMs, `${each.port} forgets ${server.port}`);
    }
    await this.ask(server, 'CLUSTER', 'RESET');
    await server.stop();
    this.servers.splice(this.servers.indexOf(server), 1);
  }

  others(server: ClusterServer): ClusterServer[] {
    return this.running.filter((each) => each !== server);
  }

  /** The slots of a primary. */
  async slotsOf(server: ClusterServer): Promise<number[]> {
    const own = (await this.#owners(server)).filter(([, , port]) => port === server.port);
    return own.flatMap(([from, to]) => Array.from({ length: to - from + 1 }, (_, index) => from + index));
  }

  /** As `redis-cli` prints it. */
  ask(server: ClusterServer, ...words: (string | number)[]): Promise<string> {
    return this.#asker.ask(server.port, words);
  }

  /** Sends all of these in one write. */
  async askAtOnce(server: ClusterServer, ...commands: string[]): Promise<void> {
    const redis = new Redis(server.url, { protocol: 2 });
    try {
      await Promise.all(commands.map((command) => redis.call(...(command.split(' ') as [string, ...string[]]))));
    } finally {
      redis.disconnect();
    }
  }

  /** All servers that run have the same map. */
  async #agrees(): Promise<boolean> {
    const maps = await Promise.all(this.running.map((server) => this.#owners(server)));
    return new Set(maps.map((map) => JSON.stringify(map))).size === 1;
  }

  async #owners(server: ClusterServer): Promise<Owner[]> {
    const lines = (await this.ask(server, 'CLUSTER', 'NODES')).split('\n').filter((line) => /\bmaster\b/.test(line));
    const owners = lines.flatMap((line) => {
      const words = line.split(' ');
      const port = Number(/:(\d+)@/.exec(words[1] ?? '')?.[1]);
      return words.slice(8).flatMap((range): Owner[] => {
        const [, from, to] = /^(\d+)(?:-(\d+))?$/.exec(range) ?? [];
        return from === undefined ? [] : [[Number(from), Number(to ?? from), port, Number(words[6])]];
      });
    });
    return owners.sort(([one], [other]) => one - other);
  }

  async #launch(): Promise<ClusterServer> {
    const folder = await mkdtemp(join(tmpdir(), 'roomcast-cluster-'));
    onCleanup(() => rm(folder, { recursive: true, force: true }));
    const settings = ['--cluster-enabled', 'yes', '--cluster-node-timeout', `${nodeTimeoutMs}`];
    // As docs/operations.md says: else a shard that is away takes all others with it.
    settings.push('--cluster-require-full-coverage', 'no');
    const more = ['--dir', folder, '--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1'];
    const redis = await launchRedisProcess(undefined, [...settings, ...more, ...this.#settings]);
    onCleanup(() => redis.stop());
    return Object.assign(redis, { id: await this.#asker.ask(redis.port, ['CLUSTER', 'MYID']) });
  }
}

/** Whose slots these are, since which epoch. */
type Owner = [from: number, to: number, port: number, epoch: number];

/** A room whose keys lie in one of these slots. */
export function roomIn(slots: readonly number[], name = 'r'): string {
  const wanted = new Set(slots);
  for (let number = 0; number < 100 * slotCount; number++) {
    if (wanted.has(slotOf(`${name}${number}`))) return `${name}${number}`;
  }
  throw new Error('a room lies in one of these slots');
}

function orUnknown(error: Error): string {
  if (error.message.includes('Unknown node')) return error.message;
  throw error;
}

async function redisCli(...words: (string | number)[]): Promise<void> {
  const { stdout } = await run('redis-cli', words.map(String), { maxBuffer: mostPrintedBytes }).catch(
    (error: Error & { stdout?: string }) => Promise.reject(new Error(`${error.message}${error.stdout}`)),
  );
  // It may end with 0 after an error.
  if (/^\[ERR\]/m.test(stdout)) throw new Error(stdout.trim());
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
