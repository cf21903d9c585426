/**
 * Another Redis becomes the master, and the former one its replica: the name of Redis leads to the new one, and whoever is
 * connected to the former one stays there, unless somebody cuts him off. Later all of it back again.
 *
 * The new master has everything that was acknowledged: writes wait meanwhile. What the former one takes afterwards (it
 * takes plain messages, as every replica does) has to be told as a gap.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { OwnRedis } from '../support/redis-process.ts';
import { until } from '../support/until.ts';
import { administer, type Tell } from './administrator.ts';
import type { Fault, World } from './fault.ts';

const syncDeadlineMs = 10_000;
/** Within it nothing is acknowledged by the former master any more. */
const leaveDeadlineMs = 5_000;
const longestPauseMs = 5_000;

/** Cuts off some of those who are connected to the former master; by an administrator of it, if at all. */
type Cut = (world: World, tellFormer: Tell) => unknown;

export const failoverFaults = {
  'master demoted (nobody cut)': demoted(() => undefined),
  'master demoted (a node cut)': demoted(({ cluster }) => cluster.proxy.cut()),
  'master demoted (subscribers cut)': demoted((_, tellFormer) => tellFormer('CLIENT', 'KILL', 'TYPE', 'pubsub')),
} satisfies Record<string, Fault>;

function demoted(cut: Cut): Fault {
  return {
    holdMs: [500, 2_000],
    byProxy: true,
    async inflict(world, { holdMs }) {
      const { cluster } = world;
      const other = await cluster.anotherRedis();
      await follow(other, cluster.redis);
      await takeOver(world, cluster.redis, other, cut);
      await cluster.untilHealthy();
      await pause(holdMs);
      await takeOver(world, other, cluster.redis, cut);
      await cluster.untilHealthy();
      await other.stop();
    },
  };
}

/** Resolves when `replica` has everything that `master` has. */
export async function follow(replica: OwnRedis, master: OwnRedis): Promise<void> {
  await administer(replica, async (tell) => {
    await tell('REPLICAOF', '127.0.0.1', master.port);
    const linked = async () => (await replication(tell)).get('master_link_status') === 'up';
    await until(linked, syncDeadlineMs, 'the replica has what the master had');
  });
}

async function takeOver({ cluster, ...world }: World, former: OwnRedis, next: OwnRedis, cut: Cut): Promise<void> {
  await administer(former, (tellFormer) =>
    administer(next, async (tellNext) => {
      await tellFormer('CLIENT', 'PAUSE', longestPauseMs, 'WRITE');
      await until(() => isLevel(tellFormer, tellNext), longestPauseMs, 'the replica has every write');
      const from = performance.now();
      await tellNext('REPLICAOF', 'NO', 'ONE');
      cluster.name.target = next.url;
      await tellFormer('REPLICAOF', '127.0.0.1', next.port);
      await tellFormer('CLIENT', 'UNPAUSE');
      await cut({ cluster, ...world }, tellFormer);
      await until(async () => !(await hasNodes(tellFormer)), leaveDeadlineMs, 'all nodes have left the former master');
      world.log.push({ t: performance.now(), event: 'takeover', from });
    }),
  );
}

async function isLevel(tellMaster: Tell, tellReplica: Tell): Promise<boolean> {
  const [master, replica] = [await replication(tellMaster), await replication(tellReplica)];
  return Number(replica.get('slave_repl_offset')) >= Number(master.get('master_repl_offset'));
}

async function hasNodes(tell: Tell): Promise<boolean> {
  return String(await tell('CLIENT', 'LIST')).includes('name=roomcast:');
}

async function replication(tell: Tell): Promise<Map<string, string>> {
  const lines = String(await tell('INFO', 'replication')).split('\r\n');
  return new Map(lines.map((line) => line.split(':', 2) as [string, string]));
}
