/**
 * The observer: asks the cluster once a second while somebody looks, and tells all browsers the same.
 *
 * However many browsers look at this node, there is one question a second, and none when nobody looks. Owns the points of the
 * last minutes, so that a page that opens begins with charts, not with empty ones. Where the cluster cannot be asked, it shows
 * this node alone and says why.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { server } from '../operations/caller.ts';
import type { ClusterParts } from '../operations/cluster/ask.ts';
import { type Stats, stats } from '../operations/cluster/nodes.ts';
import { type Observation, observe, observeNode } from '../operations/cluster/observe.ts';
import type { LocalNode } from '../operations/local-node.ts';
import { Refusal } from '../operations/refusal.ts';
import { type Point, type Tick, tickOf } from './tick.ts';

/** From one question to the next, at least. A node that does not answer makes it two seconds. */
const intervalMs = 1_000;
/** Points that are kept: five minutes. */
export const mostPoints = 300;
/** Ticks from one count of distinct users and rooms to the next; it looks at all of them. */
const countEvery = 30;

export interface Viewer {
  send(event: 'history' | 'tick', data: string): void;
}

/** What a viewer is sent as `tick`. */
export interface View extends Tick {
  /** The node that the page comes from. */
  node: string;
  /** Names of live nodes that did not answer. */
  missing: string[];
  /** Why the other nodes cannot be asked. Null: they can. */
  trouble: string | null;
  /** On several nodes counted once. Null: not counted yet. */
  distinct: { users: number; rooms: number } | null;
}

export interface ObserverParts extends ClusterParts {
  local: LocalNode;
}

export class Observer {
  readonly #parts: ObserverParts;
  readonly #viewers = new Set<Viewer>();
  #points: Point[] = [];
  #before = new Map<string, Observation>();
  #bounds: Tick['bounds'] = {};
  #distinct: Pick<Stats, 'users' | 'rooms'> | undefined;
  #running: Promise<void> | undefined;
  readonly #closing = new AbortController();

  constructor(parts: ObserverParts) {
    this.#parts = parts;
  }

  watch(viewer: Viewer): void {
    // The port closes within seconds.
    if (this.#closing.signal.aborted) return;
    this.#viewers.add(viewer);
    const since = Date.now() - mostPoints * intervalMs;
    this.#points = this.#points.filter(({ at }) => at >= since);
    viewer.send('history', JSON.stringify({ bounds: this.#bounds, points: this.#points }));
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  unwatch(viewer: Viewer): void {
    this.#viewers.delete(viewer);
  }

  close(): void {
    this.#viewers.clear();
    this.#closing.abort();
  }

  async #run(): Promise<void> {
    // What is older than a second or two gives no rate of now.
    this.#before = new Map();
    for (let count = 0; this.#viewers.size > 0; count++) {
      const startedAt = performance.now();
      try {
        if (count % countEvery === 0) void this.#count();
        const data = JSON.stringify(await this.#look());
        for (const viewer of this.#viewers) viewer.send('tick', data);
      } catch (error) {
        this.#parts.faults.report('the dashboard could not look at the cluster', error);
      }
      const restMs = startedAt + intervalMs - performance.now();
      // Ended by `close`.
      await delay(Math.max(0, restMs), undefined, { signal: this.#closing.signal }).catch(() => undefined);
    }
  }

  async #look(): Promise<View> {
    const { local } = this.#parts;
    const { missing, nodes, trouble } = await this.#ask();
    if (!nodes.some(({ instance }) => instance === local.instance)) nodes.push(await observeNode(local));
    const others = missing.filter((node) => node !== local.node);
    const tick = tickOf(this.#before, nodes, { at: Date.now(), missing: others.length });
    // A node that did not answer is compared with its last answer when it answers again.
    const silent = [...this.#before].filter(([, { node }]) => trouble !== null || missing.includes(node));
    this.#before = new Map([...silent, ...nodes.map((each) => [each.instance, each] as const)]);
    this.#bounds = tick.bounds;
    this.#points = [...this.#points.slice(1 - mostPoints), tick.point];
    return { ...tick, node: local.node, missing: others, trouble, distinct: this.#distinct ?? null };
  }

  async #ask(): Promise<{ nodes: Observation[]; missing: string[]; trouble: string | null }> {
    try {
      const { missing = [], nodes } = await observe(this.#parts, server);
      return { nodes, missing, trouble: null };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return { nodes: [], missing: [], trouble: this.#parts.local.gauges.trouble() ?? error.message };
    }
  }

  async #count(): Promise<void> {
    try {
      const { rooms, users } = await stats(this.#parts, server);
      this.#distinct = { users, rooms };
    } catch (error) {
      this.#distinct = undefined;
      // The tick says that the cluster cannot be asked.
      if (!(error instanceof Refusal))
        this.#parts.faults.report('the dashboard could not count users and rooms', error);
    }
  }
}
