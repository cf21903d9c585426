/**
 * What a cluster holds at a moment: memory, descriptors, timers, listeners of each node; keys, channels and clients of Redis.
 *
 * The nodes are the built program with flags that have it write down, on SIGUSR2, what only the process itself knows, and on
 * SIGWINCH its heap. All keys but positions and messages of the pool must go when the clients have gone.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { scrape } from '../integration/admin.ts';
import { onCleanup } from '../support/cleanup.ts';
import type { SpawnedNode } from '../support/node.ts';
import { until } from '../support/until.ts';
import { type Objects, readObjects } from './objects.ts';

export interface Sampled {
  /** Bytes. */
  rss: number;
  /** RSS without the pages of V8's heap: buffers, sockets, and what the WebSocket library and OpenSSL hold. */
  outside: number;
  heap: number;
  descriptors: number;
}

/** Counts by name, for instance `n0 timers`. They must be the same whenever nobody is connected. */
export type Counts = Record<string, number>;

interface Written {
  number: number;
  heap: number;
  /** Pages of V8's heap, used or not. */
  heapPages: number;
  /** Of each kind, as process.getActiveResourcesInfo has it. */
  resources: string[];
  listeners: number;
}

/** For a node: its heap is measured after the collection of garbage. `file` is written with each SIGUSR2. */
function selfSampling(file: string): string[] {
  const module = `
    import { renameSync, writeFileSync } from 'node:fs';
    import { writeHeapSnapshot } from 'node:v8';
    process.on('SIGWINCH', () => {
      writeHeapSnapshot(${JSON.stringify(`${file}.heap.new`)});
      renameSync(${JSON.stringify(`${file}.heap.new`)}, ${JSON.stringify(`${file}.heap`)});
    });
    let number = 0;
    process.on('SIGUSR2', () => setImmediate(() => {
      globalThis.gc();
      const sample = {
        number: ++number,
        heap: process.memoryUsage().heapUsed + process.memoryUsage().external,
        heapPages: process.memoryUsage().heapTotal,
        resources: process.getActiveResourcesInfo(),
        listeners: process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0),
      };
      writeFileSync(${JSON.stringify(`${file}.new`)}, JSON.stringify(sample));
      renameSync(${JSON.stringify(`${file}.new`)}, ${JSON.stringify(file)});
    }));`;
  return ['--expose-gc', '--import', `data:text/javascript,${encodeURIComponent(module)}`];
}

/** Files into which nodes write their samples, and the flags that make them. */
export class SampleFiles {
  readonly #folder = mkdtempSync(join(tmpdir(), 'roomcast-soak-'));
  readonly #last = new Map<string, number>();

  constructor() {
    onCleanup(() => rmSync(this.#folder, { recursive: true, force: true }));
  }

  flags(index: number): string[] {
    return selfSampling(this.#file(index));
  }

  /** Has the node sample itself. */
  async write(node: SpawnedNode, index: number): Promise<Written> {
    const file = this.#file(index);
    const before = this.#last.get(file) ?? 0;
    node.kill('SIGUSR2');
    const written = (await until(
      () => {
        const read = JSON.parse(readFileSync(file, 'utf8')) as Written;
        return read.number > before ? read : undefined;
      },
      20_000,
      'a node has sampled itself',
    )) as Written;
    this.#last.set(file, written.number);
    return written;
  }

  /** Has the node write its heap, which stops it for a second or more, and takes memory. Nobody must be connected. */
  async objects(node: SpawnedNode, index: number): Promise<Objects> {
    const file = `${this.#file(index)}.heap`;
    rmSync(file, { force: true });
    node.kill('SIGWINCH');
    await until(() => existsSync(file), 60_000, 'a node has written its heap');
    return readObjects(file);
  }

  #file(index: number): string {
    return join(this.#folder, `n${index}.json`);
  }
}

/** Under load, after a collection of garbage. The sums over all nodes from number `first` on. */
export async function sample(nodes: readonly SpawnedNode[], files: SampleFiles, first: number): Promise<Sampled> {
  const all = await Promise.all(
    nodes.slice(first).map(async (node, index) => {
      const { heap, heapPages } = await files.write(node, first + index);
      const rss = residentBytes(node.pid);
      return { rss, outside: rss - heapPages, heap, descriptors: descriptorsOf(node.pid) };
    }),
  );
  const sum = (name: keyof Sampled) => all.reduce((total, each) => total + each[name], 0);
  return { rss: sum('rss'), outside: sum('outside'), heap: sum('heap'), descriptors: sum('descriptors') };
}

/** At rest. */
export async function count(nodes: readonly SpawnedNode[], files: SampleFiles, admin: Redis): Promise<Counts> {
  const counts: Counts = {};
  for (const [index, node] of nodes.entries()) {
    const { resources, listeners } = await files.write(node, index);
    const series = await scrape(node);
    const gauges = ['connections', 'rooms', 'subscriptions', 'streams', 'polls', 'buffered_bytes', 'webhook_queue'];
    for (const gauge of gauges) counts[`n${index} ${gauge}`] = series.get(`gateway_${gauge}`) ?? 0;
    counts[`n${index} descriptors`] = descriptorsOf(node.pid);
    counts[`n${index} timers`] = resources.filter((kind) => kind === 'Timeout').length;
    counts[`n${index} other handles`] = resources.filter((kind) => kind !== 'Timeout' && kind !== 'Immediate').length;
    counts[`n${index} listeners`] = listeners;
  }
  const keys = await admin.keys('*');
  const ends = await Promise.all(keys.map((key) => admin.pttl(key)));
  // -1: it stays for ever.
  const lasting = keys.filter((key, at) => (ends[at] ?? 0) === -1 || ((ends[at] ?? 0) > endsSoonMs && !isOfPool(key)));
  counts['redis keys'] = lasting.length;
  const channels = (await admin.pubsub('CHANNELS')) as string[];
  counts['redis channels'] = channels.length;
  const subscribers = (await admin.pubsub('NUMSUB', ...channels)) as (string | number)[];
  counts['redis subscriptions'] = subscribers.reduce<number>(
    (sum, each) => sum + (typeof each === 'number' ? each : 0),
    0,
  );
  counts['redis clients'] = String(await admin.client('LIST'))
    .split('\n')
    .filter((line) => line.includes('roomcast:')).length;
  return counts;
}

/** Nodes that have left a room are known for so long (gateway/redis/presence/occupancy.ts). */
const endsSoonMs = 120_000;

function isOfPool(key: string): boolean {
  return /^rc:\{kept:\d+\}:(position|messages)$/.test(key);
}

function descriptorsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

function residentBytes(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kilobytes) * 1024;
}
