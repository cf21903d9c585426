/**
 * The system under test with a Redis Cluster: three primaries with a replica each, three nodes, the load balancer, and many rooms
 * in all slots.
 *
 * Owns the size of a run, and which rooms lie in which slots. faults.ts decides what breaks.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { slotOf } from '../../../gateway/redis/cluster/slots.ts';
import { metric } from '../../integration/admin.ts';
import { onCleanup } from '../../support/cleanup.ts';
import { RedisCluster } from '../../support/redis-cluster.ts';
import { until } from '../../support/until.ts';
import type { Random } from '../../unit/random.ts';
import { trimmedRoom } from '../cluster.ts';
import type { RoomPlan } from '../log.ts';
import { keptPresenceRoom, type Nodes, presenceRoom, startNodes } from '../nodes.ts';
import { bystanderRooms } from './bystanders.ts';

const healthyDeadlineMs = 20_000;
/** One client in so many is in the room with a small history, and in the rooms with presence. */
const oneInTrimmed = 10;
const oneInPresence = 4;

export interface Size {
  rooms: number;
  clients: number;
  roomsPerClient: number;
  messagesPerSecond: number;
  /** Slots that a fault takes from a primary. */
  slotsMoved: number;
}

/** GATEWAY_ACK of all nodes. */
export type Ack = 'stored' | 'replicated';

export interface Site extends Nodes {
  redis: RedisCluster;
  ack: Ack;
  slotsMoved: number;
  roomsIn(slots: readonly number[]): string[];
}

export function roomPlansOf({ rooms }: Size): RoomPlan[] {
  const many = (prefix: string, count: number, history: boolean) =>
    Array.from({ length: count }, (_, index) => ({ name: `${prefix}:${index}`, history }));
  return [
    ...many('h', Math.ceil(rooms / 2), true),
    ...many('p', Math.floor(rooms / 2), false),
    { name: trimmedRoom, history: true },
    { name: keptPresenceRoom, history: true, presence: true },
    { name: presenceRoom, history: false, presence: true },
  ];
}

/** Deals rooms like cards, so that all rooms have as many members, within one. */
export function dealt(
  { roomsPerClient }: Size,
  plans: readonly RoomPlan[],
  random: Random,
): (index: number) => string[] {
  const names = plans.map(({ name }) => name).filter((name) => /^[hp]:/.test(name));
  let deck: string[] = [];
  return (index) => {
    if (deck.length < roomsPerClient) deck = random.shuffled(names);
    const rooms = deck.splice(0, roomsPerClient);
    if (index % oneInTrimmed === 0) rooms.push(trimmedRoom);
    if (index % oneInPresence === 0) rooms.push(presenceRoom, keptPresenceRoom);
    return rooms;
  };
}

/** `program` as in spawnNode. */
export async function startSite(size: Size, plans: readonly RoomPlan[], ack: Ack, program?: string): Promise<Site> {
  const folder = mkdtempSync(join(tmpdir(), 'roomcast-shards-'));
  onCleanup(() => rmSync(folder, { recursive: true, force: true }));
  const redis = await RedisCluster.start({ settings: ['--appendonly', 'yes'] });
  const settingsOf = () => ({ REDIS_URL: redis.url, ACK: ack });
  const nodes = await startNodes({ folder, program, settingsOf });
  const bySlot = new Map<number, string[]>();
  for (const name of [...plans.map((plan) => plan.name), ...bystanderRooms]) {
    bySlot.set(slotOf(name), [...(bySlot.get(slotOf(name)) ?? []), name]);
  }

  const areUp = async () => {
    const up = await Promise.all(nodes.nodes.map((node) => metric(node, 'gateway_backplane_up')));
    return up.every((value) => value === 1);
  };
  const site: Site = {
    ...nodes,
    ...{ redis, ack, slotsMoved: size.slotsMoved },
    roomsIn: (slots) => slots.flatMap((slot) => bySlot.get(slot) ?? []),
    async untilHealthy() {
      await redis.untilOk(redis.servers.length / 2);
      await nodes.untilHealthy();
      await until(areUp, healthyDeadlineMs, 'every node can use every shard');
    },
  };
  await site.untilHealthy();
  return site;
}
