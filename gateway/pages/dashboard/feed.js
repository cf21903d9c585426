/**
 * The feed: the stream of ticks of this node, and what the page remembers of it.
 *
 * Owns the points of the charts, and the nodes that were seen: the cluster forgets a dead node within seconds, an operator wants
 * to know that it was there.
 */
import { follow, RequestError } from './session.js';

/** @import { NodeState, Point } from '../../dashboard/tick.ts' */
/** @import { View } from '../../dashboard/observer.ts' */

const mostPoints = 300;
/** Nodes that are gone are shown so long. */
const goneMs = 600_000;
const mostNodes = 200;
const retryMs = [500, 1_000, 2_000, 5_000];

/**
 * @typedef {object} SeenNode
 * @property {string} name
 * @property {'well' | 'draining' | 'troubled' | 'missing' | 'unknown' | 'left' | 'gone'} is
 * @property {number} since  Unix ms: of the last answer if it gives none now
 * @property {NodeState | undefined} state  its last answer
 */

export class Feed {
  /** @type {Point[]} */
  points = [];
  /** @type {View['bounds']} */
  bounds = {};
  /** By name. @type {Map<string, SeenNode>} */
  nodes = new Map();
  /** @type {View | undefined} */
  view;
  /** Of this machine's clock that only rises. */
  toldAt = performance.now();
  #closing = new AbortController();
  #told;

  /** @param {(feed: Feed) => void} told  after each tick */
  constructor(told) {
    this.#told = told;
  }

  /** Resolves when the stream has begun; rejects if it cannot. From then on it is opened again whenever it ends. */
  open() {
    return new Promise((resolve, reject) => void this.#run(resolve, reject));
  }

  close() {
    this.#closing.abort();
  }

  /** @param {(value: void) => void} begun @param {(error: unknown) => void} failed */
  async #run(begun, failed) {
    const { signal } = this.#closing;
    for (let failures = 0, first = true; !signal.aborted; ) {
      try {
        await follow('/dashboard/live', signal, (name, data) => {
          failures = 0;
          first = false;
          if (name === 'history') this.#begin(data);
          else this.#take(data);
          begun();
        });
      } catch (error) {
        if (first) {
          failed(error);
          return;
        }
        if (error instanceof RequestError && error.status === 401) return;
        // The node is away or stops: the page says how old its news is.
      }
      const ms = retryMs[Math.min(failures++, retryMs.length - 1)] ?? 0;
      await new Promise((resolve) => setTimeout(resolve, ms * (0.75 + Math.random() / 2)));
    }
  }

  /** The page may know more than the node, which may be a new one. @param {{ bounds: View['bounds'], points: Point[] }} history */
  #begin({ bounds, points }) {
    this.bounds = { ...this.bounds, ...bounds };
    const since = points[0]?.at ?? Number.POSITIVE_INFINITY;
    this.points = [...this.points.filter(({ at }) => at < since), ...points].slice(-mostPoints);
  }

  /** @param {View} view */
  #take(view) {
    this.view = view;
    this.toldAt = performance.now();
    this.bounds = view.bounds;
    this.points = [...this.points, view.point].slice(-mostPoints);
    this.#see(view);
    this.#told(this);
  }

  /** @param {View} view */
  #see({ missing, nodes, point, trouble }) {
    const now = point.at;
    for (const state of nodes) {
      const is = state.draining ? 'draining' : state.trouble === null ? 'well' : 'troubled';
      this.nodes.set(state.node, { name: state.node, is, since: now, state });
    }
    for (const name of missing) {
      const known = this.nodes.get(name);
      this.nodes.set(name, { name, is: 'missing', since: known?.since ?? now, state: known?.state });
    }
    const there = new Set([...nodes.map(({ node }) => node), ...missing]);
    for (const [name, known] of this.nodes) {
      if (there.has(name)) continue;
      if (now - known.since > goneMs) this.nodes.delete(name);
      else if (trouble !== null) known.is = 'unknown';
      else known.is = known.state?.draining ? 'left' : 'gone';
    }
    const sorted = [...this.nodes].sort(([one], [other]) => one.localeCompare(other, 'en', { numeric: true }));
    this.nodes = new Map(sorted.slice(0, mostNodes));
  }
}
