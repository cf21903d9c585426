/**
 * Advice on a plan: what breaks first, what to change then, and warnings.
 *
 * Owns the sentences and their thresholds. The numbers come from gateway/cli/plan/capacity.ts.
 */
import { nodeUs, type Plan, type RedisPart, type Workload, writesPerSecond } from './capacity.ts';
import { constants } from './constants.ts';

export interface Advice {
  /** The bound that is reached first and that more nodes do not move. */
  breaksFirst: string;
  /** The share of it in use; 1 is everything planned for. */
  used: number;
  change: string;
  warnings: string[];
}

/** Nodes were measured with this limit of open files, and 19,000 connections. */
const measuredDescriptors = 20_000;
const shortStandstillSeconds = 10;
const promisedNoticeSeconds = 10;
const longHerdSeconds = 10;
/** The default of GATEWAY_MAX_ROOMS_PER_CONNECTION. */
const roomsPerConnectionAllowed = 128;

interface Ceiling {
  name: string;
  used: number;
  change: string;
}

const redisCpuChanges: Record<RedisPart, string> = {
  'plain messages': 'put more into each message, or spread the rooms over several Redis',
  'messages with history': 'keep history only where it is read, or spread the rooms over several Redis',
  'idle rooms': 'keep history for fewer rooms (nodes probe idle ones), or spread the rooms over several Redis',
  members: 'let clients reconnect more slowly, use presence for fewer rooms, or spread the rooms over several Redis',
  nodes: 'use fewer nodes with more connections each: every node reads the beats of all nodes once a second',
};

export function advise(workload: Workload, plan: Plan): Advice {
  const isPossible = Number.isFinite(plan.nodes);
  // Without a possible number of nodes, the numbers of Redis mean nothing.
  const all = [...messageCeilings(workload, plan), ...(isPossible ? redisCeilings(plan) : [])];
  const first = all.reduce((most, each) => (each.used > most.used ? each : most));
  return {
    breaksFirst: first.name,
    used: first.used,
    change: first.change,
    warnings: isPossible
      ? warnings(workload, plan)
      : ['No number of nodes carries this load: each node gets more messages than it can handle.'],
  };
}

/** Bounds on the messages that every node gets, whatever the number of nodes. */
function messageCeilings({ share, networkGbit }: Workload, { node }: Plan): Ceiling[] {
  const change = 'put more into each message, or give groups of rooms separate nodes';
  return [
    {
      name: 'the core of each node, with the messages that it gets from Redis',
      used: (node.work.received * constants.receiveUs.value) / 1e6 / share,
      change,
    },
    {
      name: 'the network of each node, with the messages that it gets from Redis',
      used: node.inGbit / networkGbit / share,
      change,
    },
  ];
}

function redisCeilings({ redis }: Plan): Ceiling[] {
  const [part = 'plain messages'] = (Object.keys(redis.parts) as RedisPart[]).sort(
    (one, other) => redis.parts[other] - redis.parts[one],
  );
  return [
    { name: `the CPU of one Redis, most of it for ${part}`, used: redis.bounds.CPU, change: redisCpuChanges[part] },
    {
      name: 'the memory of one Redis',
      used: redis.bounds.memory,
      change: 'keep fewer messages (history.size), for fewer rooms, or spread the rooms over several Redis',
    },
    {
      name: 'the network of one Redis',
      used: redis.bounds.network,
      change: 'send less in each message, use fewer nodes with more connections each, or several Redis',
    },
  ];
}

function warnings(workload: Workload, plan: Plan): string[] {
  const { descriptors, roomsPerConnection } = workload;
  const { redis, standstillSeconds, noticeSeconds, herdSeconds } = plan;
  const busy = nodesOfOneRoom(workload, plan);
  const found: [boolean, string][] = [
    [
      redis.shards === Number.POSITIVE_INFINITY,
      'No number of Redis servers carries this load: every node reads the beats of all nodes, which are in one key.',
    ],
    [
      redis.shards > 1 && Number.isFinite(redis.shards),
      `It takes ${redis.shards} Redis servers, but this version uses one: Redis Cluster with sharded pub/sub is still to come. Until then, run several clusters with different rooms.`,
    ],
    [
      descriptors > measuredDescriptors,
      `Nodes were measured with up to 19,000 connections. For more, raise the limit of open files (ulimit -n) to ${amount(descriptors)} on each node, and test it.`,
    ],
    [
      busy > 1 && Number.isFinite(busy),
      `One room alone is more than one node can deliver: its members must be spread over at least ${amount(busy)} nodes, as a balancer with least connections does.`,
    ],
    [
      standstillSeconds < shortStandstillSeconds,
      `Redis cuts off a node that stands still for ${standstillSeconds.toPrecision(2)} s, because 32 MB then wait for it: raise client-output-buffer-limit pubsub. Rooms with history are healed, plain ones get a gap.`,
    ],
    [
      noticeSeconds > promisedNoticeSeconds,
      `Nodes probe this many idle rooms with history in turn: a lost last message is noticed after up to ${amount(noticeSeconds)} s.`,
    ],
    [
      herdSeconds > longHerdSeconds,
      `When all clients come back at once, the last is connected after ${amount(herdSeconds)} s. Clients must back off with jitter, as docs/protocol.md says.`,
    ],
    [
      roomsPerConnection > roomsPerConnectionAllowed,
      `By default a connection may be in ${roomsPerConnectionAllowed} rooms: raise GATEWAY_MAX_ROOMS_PER_CONNECTION.`,
    ],
  ];
  return found.filter(([holds]) => holds).map(([, sentence]) => sentence);
}

/** Nodes needed to deliver the messages of one average room. */
function nodesOfOneRoom(
  { messagesPerSecond, rooms, mergeMs, share }: Workload,
  { membersPerRoom, node }: Plan,
): number {
  const received = messagesPerSecond / rooms;
  const deliveries = received * membersPerRoom;
  const writes = writesPerSecond(membersPerRoom, deliveries, mergeMs);
  const idle = { pings: 0, connects: 0, joins: 0, publishes: 0 };
  const members = nodeUs({ ...idle, received: 0, writes, deliveries, frameBytes: node.work.frameBytes });
  const left = share * 1e6 - nodeUs({ ...idle, received, writes: 0, deliveries: 0, frameBytes: 0 });
  return left > 0 ? Math.ceil(members / left) : Number.POSITIVE_INFINITY;
}

/** `12,345`; from 10 on without decimals. */
export function amount(value: number): string {
  if (!Number.isFinite(value)) return 'none is enough';
  if (value !== 0 && value < 10 && !Number.isInteger(value)) return String(Number(value.toPrecision(2)));
  return Math.round(value).toLocaleString('en-US');
}
