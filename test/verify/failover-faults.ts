/**
 * Failover: another Redis becomes the master, and the former master its replica. The name of Redis then leads to the new
 * one. Connections to the former master stay open, unless the fault cuts them. Later everything is reversed.
 *
 * The new master has every acknowledged write: writes wait meanwhile. The former master still accepts plain messages, as
 * every replica does; those must be reported by a gap.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { OwnRedis } from '../support/redis-process.ts';
import { until } from '../support/until.ts';
import { administer, type Tell } from './administrator.ts';
import type { Fault, World } from './fault.ts';

const syncDeadlineMs = 10_000;
/** Longest time until all nodes have left the former master. */
const leaveDeadlineMs = 5_000;
const longestPauseMs = 5_000;

/** Cuts some connections to the former master, as an administrator; optional. */
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
