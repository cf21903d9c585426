/** The nodes of the cluster, and its numbers. */
import { z } from 'zod';
import type { Caller } from '../caller.ts';
import { askAll, type ClusterParts, clusterCommand, type Missing } from './ask.ts';
import { Distinct, kept } from './distinct.ts';
import { ascending, checkLimit, cut, maxLimit } from './pages.ts';
import { eachInSlices } from './slices.ts';

export const nodeEntry = z.object({
  node: z.string().meta({ description: 'GATEWAY_NODE_ID.' }),
  version: z.string(),
  startedAt: z.number().meta({ description: 'Unix milliseconds.' }),
  connections: z.number(),
  rooms: z.number().meta({ description: 'With a member on this node.' }),
  draining: z.boolean().meta({ description: 'It moves its clients away, and stops.' }),
  backplaneRttMs: z
    .number()
    .nullable()
    .meta({ description: 'Of the last message to itself by Redis. Null: none came back yet, or there is no Redis.' }),
});
export type NodeEntry = z.infer<typeof nodeEntry>;

const nothing = z.strictObject({});

const nodesCommand = clusterCommand({
  kind: 'describe node',
  arguments: nothing,
  value: nodeEntry,
  perform: ({ node, version, startedAt, connections, hub, draining, vitals }) => ({
    ...{ node, version, startedAt, connections: connections.size, rooms: hub.roomCount, draining },
    backplaneRttMs: vitals.backplaneRttMs ?? null,
  }),
});

const hashes = z.array(z.number()).max(kept);
const numbers = z.object({
  connections: z.number(),
  publishedPerSecond: z.number(),
  deliveredPerSecond: z.number(),
  /** Of users and rooms, as in gateway/operations/cluster/distinct.ts: the same one may be on several nodes. */
  users: hashes,
  rooms: hashes,
});

const statsCommand = clusterCommand({
  kind: 'count',
  arguments: nothing,
  value: numbers,
  perform: async (node) => {
    const { connections, hub, vitals } = node;
    const [users, rooms] = [new Distinct(), new Distinct()];
    await eachInSlices(connections, ({ closing, identity }) => {
      if (!closing && identity !== undefined && identity.user !== null) users.add(identity.user);
      return true;
    });
    await eachInSlices(hub.rooms, ({ members, name }) => {
      if (members > 0) rooms.add(name);
      return true;
    });
    const { publishedPerSecond, deliveredPerSecond } = vitals;
    return {
      ...{ connections: connections.size, publishedPerSecond, deliveredPerSecond },
      ...{ users: users.hashes, rooms: rooms.hashes },
    };
  },
});

export const nodeCommands = [nodesCommand, statsCommand];

export interface NodesQuestion {
  limit: number;
  /** Behind this node. */
  after?: string | undefined;
}

/** The live nodes, by name. `missing` has all of them that did not answer, on every page. */
export async function listNodes(
  parts: ClusterParts,
  caller: Caller,
  { limit, after = '' }: NodesQuestion = { limit: maxLimit },
): Promise<{ nodes: NodeEntry[]; more?: true } & Missing> {
  checkLimit(limit);
  const { values, rest } = await askAll(parts, caller, nodesCommand, {});
  const behind = values.filter(({ node }) => node > after);
  const { entries, more } = cut(
    behind.sort((one, other) => ascending(one.node, other.node)),
    limit,
  );
  return { nodes: entries, ...(more ? { more } : {}), ...rest };
}

export interface Stats extends Missing {
  /** That answered. */
  nodes: number;
  connections: number;
  /** With a connection; beyond 4,096 an estimate. Anonymous ones do not count. */
  users: number;
  /** With a member; beyond 4,096 an estimate. */
  rooms: number;
  /** Over the last seconds. */
  publishedPerSecond: number;
  deliveredPerSecond: number;
}

export async function stats(parts: ClusterParts, caller: Caller): Promise<Stats> {
  const { values, rest } = await askAll(parts, caller, statsCommand, {});
  const sumOf = (name: 'connections' | 'publishedPerSecond' | 'deliveredPerSecond') =>
    Math.round(values.reduce((sum, value) => sum + value[name], 0) * 10) / 10;
  const distinct = (name: 'users' | 'rooms') => {
    const all = new Distinct();
    for (const value of values) all.merge(value[name]);
    return all.count;
  };
  return {
    ...{ nodes: values.length, connections: sumOf('connections'), users: distinct('users'), rooms: distinct('rooms') },
    publishedPerSecond: sumOf('publishedPerSecond'),
    deliveredPerSecond: sumOf('deliveredPerSecond'),
    ...rest,
  };
}
