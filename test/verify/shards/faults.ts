/**
 * Faults of a Redis Cluster: slots and primaries that move, die, stand still, come and go. Each logs which rooms it concerns; in
 * the others nobody may notice it (others.ts).
 *
 * After each of them every primary has a replica again.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { ClusterServer } from '../../support/redis-cluster.ts';
import { until } from '../../support/until.ts';
import type { Random } from '../../unit/random.ts';
import type { Fault, World } from '../fault.ts';
import type { PlannedFault, Takeover } from '../log.ts';
import { nodeKilled } from '../node-faults.ts';
import { nodeCount } from '../nodes.ts';
import type { Site } from './site.ts';

const primariesAtFirst = 3;
const linkDeadlineMs = 10_000;

export const shardFaults = {
  'slots migrated': {
    holdMs: [0, 0],
    async inflict(world, { node }) {
      const { redis, slotsMoved } = world.cluster;
      const from = await primary(world, node);
      const to = await primary(world, node + 1);
      concern(world, (await redis.slotsOf(from)).slice(0, slotsMoved));
      await redis.reshard(from, to, slotsMoved);
    },
  },
  'primary killed': {
    holdMs: [0, 500],
    async inflict(world, { node, holdMs }) {
      const victim = await primary(world, node);
      await failOver(world, victim, {
        begin: () => victim.kill(),
        async end() {
          await pause(holdMs);
          await victim.start();
        },
      });
    },
  },
  /** What it takes at last is nowhere else. With `replicated` it acknowledges none of that. */
  'primary killed, its replica cut off': {
    holdMs: [500, 1_500],
    async inflict(world, { node, holdMs }) {
      const { redis } = world.cluster;
      const victim = await primary(world, node);
      const replica = await redis.replicaOf(victim);
      await failOver(world, victim, {
        async begin() {
          // The replica is refused when it connects again: there is no password.
          await redis.ask(replica, 'CONFIG', 'SET', 'masterauth', 'unknown');
          await redis.ask(victim, 'CLIENT', 'KILL', 'TYPE', 'replica');
          const alone = async () => (await redis.ask(victim, 'INFO', 'replication')).includes('connected_slaves:0');
          await until(alone, linkDeadlineMs, 'the replica is cut off');
          await pause(holdMs);
          await victim.kill();
        },
        async end() {
          await redis.ask(replica, 'CONFIG', 'SET', 'masterauth', '');
          await victim.start();
        },
      });
    },
  },
  'primary frozen': {
    holdMs: [0, 2_000],
    async inflict(world, { node, holdMs }) {
      const victim = await primary(world, node);
      await failOver(
        world,
        victim,
        {
          begin: () => victim.pause(),
          async end() {
            await pause(holdMs);
            await victim.resume();
            await world.cluster.redis.untilOk(world.cluster.redis.servers.length / 2);
          },
        },
        { late: true },
      );
    },
  },
  'primary added': {
    holdMs: [0, 0],
    async inflict(world) {
      const { redis, slotsMoved } = world.cluster;
      const former = await redis.primaries();
      const leaving = await Promise.all(former.map(async (each) => (await redis.slotsOf(each)).slice(0, slotsMoved)));
      concern(world, leaving.flat());
      const added = await redis.add();
      await redis.add(added);
      await redis.untilOk(redis.servers.length / 2);
      for (const each of former) await redis.reshard(each, added, slotsMoved);
    },
  },
  /** That with the fewest slots, and its replica. */
  'primary removed': {
    holdMs: [0, 0],
    async inflict(world) {
      const { redis } = world.cluster;
      const all = await redis.primaries();
      if (all.length === primariesAtFirst) throw new TypeError('"primary removed" needs a "primary added" before it');
      const sized = await Promise.all(all.map(async (server) => ({ server, slots: await redis.slotsOf(server) })));
      const [leaving, ...others] = sized.sort((one, other) => one.slots.length - other.slots.length);
      if (leaving === undefined) throw new Error('the cluster has primaries');
      concern(world, leaving.slots);
      const replica = await redis.replicaOf(leaving.server);
      const share = Math.ceil(leaving.slots.length / others.length);
      for (const { server } of others) await redis.reshard(leaving.server, server, share);
      await redis.remove(replica);
      await redis.remove(leaving.server);
    },
  },
  'node killed': {
    holdMs: nodeKilled.holdMs,
    async inflict(world, planned) {
      concern(world, []);
      await nodeKilled.inflict(world, planned);
    },
  },
} satisfies Record<string, Fault<Site>>;

export type ShardFaultKind = keyof typeof shardFaults;
export const shardFaultKinds = Object.keys(shardFaults) as ShardFaultKind[];

/** Every kind once in random order, then all again. A primary is removed after one was added. */
export function scheduleShards(random: Random, rounds: number, kinds: readonly ShardFaultKind[]): PlannedFault[] {
  return Array.from({ length: rounds }, () => inOrder(random.shuffled(kinds))).flatMap((round) =>
    round.map((kind) => {
      const { holdMs }: Fault<Site> = shardFaults[kind];
      return { kind, node: random.integer(0, nodeCount - 1), room: '', holdMs: random.integer(...holdMs) };
    }),
  );
}

function inOrder(kinds: ShardFaultKind[]): ShardFaultKind[] {
  const [added, removed] = [kinds.indexOf('primary added'), kinds.indexOf('primary removed')];
  if (added < 0 || removed < 0 || added < removed) return kinds;
  return kinds.with(added, 'primary removed').with(removed, 'primary added');
}

/** One of those that there are. */
async function primary({ cluster: { redis } }: World<Site>, index: number): Promise<ClusterServer> {
  const all = await redis.primaries();
  const one = all[index % all.length];
  if (one === undefined) throw new Error('the cluster has primaries');
  return one;
}

function concern({ cluster, log }: World<Site>, slots: readonly number[]): void {
  log.push({ t: performance.now(), event: 'concerns', rooms: cluster.roomsIn(slots) });
}

/** `begin` takes the primary away, `end` brings it back as a replica. */
async function failOver(
  world: World<Site>,
  victim: ClusterServer,
  { begin, end }: { begin(): Promise<void>; end(): Promise<void> },
  how: Pick<Takeover, 'late'> = {},
): Promise<void> {
  const { cluster, log } = world;
  const slots = await cluster.redis.slotsOf(victim);
  concern(world, slots);
  const from = performance.now();
  await begin();
  await cluster.redis.untilReplaced(victim);
  await end();
  const rooms = cluster.roomsIn(slots);
  const loss = cluster.ack === 'stored' ? { lossy: true as const } : {};
  log.push({ t: performance.now(), event: 'takeover', from, rooms, behind: true, ...how, ...loss });
}
