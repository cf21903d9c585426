/** A cluster of its own for a test: nodes that share a Redis and a prefix nobody else has. */
import { randomBytes } from 'node:crypto';
import { inject } from 'vitest';
import type { Caller } from '../../gateway/operations/caller.ts';
import { server } from '../../gateway/operations/caller.ts';
import { listNodes } from '../../gateway/operations/cluster/nodes.ts';
import type { NodeSettings, StartedNode } from '../support/node.ts';
import { until } from '../support/until.ts';

/** The settings of each node of one cluster. */
export function clusterSettings(redisUrl = inject('redisUrl')): NodeSettings {
  return { REDIS_URL: redisUrl, REDIS_PREFIX: `${inject('redisPrefix')}:${randomBytes(6).toString('hex')}` };
}

export const caller: Caller = server;

/** Resolves when exactly these nodes answer, and none is missing. */
export function untilThere(node: StartedNode, ...names: string[]): Promise<unknown> {
  const wanted = JSON.stringify([names.toSorted(), undefined]);
  const there = async () => {
    const { nodes, missing } = await listNodes(node.cluster, caller);
    return JSON.stringify([nodes.map((each) => each.node), missing]) === wanted;
  };
  return until(there, 20_000, `${names} are there`);
}

/** How long it took, besides the result. */
export async function timed<Result>(work: () => Promise<Result>): Promise<{ result: Result; tookMs: number }> {
  const startedAt = performance.now();
  const result = await work();
  return { result, tookMs: performance.now() - startedAt };
}
