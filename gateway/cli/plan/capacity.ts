/**
 * The capacity model: what a workload costs nodes and Redis, and how many of each it takes.
 *
 * Pure: it knows the constants of gateway/cli/plan/constants.ts and nothing of the command line. Costs add up, with three
 * exceptions: frames for a member within `mergeMs` are one write; members spread over nodes at random, so a room is on
 * fewer nodes than it has members; and every node reads the beats of all nodes. docs/performance.md explains the model and
 * compares it with measurements.
 */
import { constants } from './constants.ts';

export interface Workload {
  connections: number;
  rooms: number;
  roomsPerConnection: number;
  /** Publishes of all clients together, spread evenly over the rooms. */
  messagesPerSecond: number;
  messageBytes: number;
  /** Share of the rooms with history, and of the messages: 0 to 1. */
  historyShare: number;
  /** Messages that a room with history keeps. */
  historySize: number;
  presenceShare: number;
  /** New connections of all clients, outside of deploys. */
  reconnectsPerSecond: number;
  /** Time in which all nodes are restarted. */
  deployMinutes: number;
  mergeMs: number;
  pingSeconds: number;
  /** Usable share of a core, and of a network: 0 to 1. */
  share: number;
  /** File descriptors of a node; each connection needs one. */
  descriptors: number;
  nodeGb: number;
  redisGb: number;
  /** Network of a node, and of Redis. */
  networkGbit: number;
}

/** The work of one node, or of several together, in a second. */
export interface NodeWork {
  pings: number;
  connects: number;
  /** Rooms that get their first member on the node. */
  joins: number;
  publishes: number;
  received: number;
  writes: number;
  deliveries: number;
  frameBytes: number;
}

export interface Use {
  cores: number;
  bytes: number;
  inGbit: number;
  outGbit: number;
}

export interface NodePlan extends Use {
  connections: number;
  rooms: number;
  work: NodeWork;
}

export type RedisPart = 'plain messages' | 'messages with history' | 'idle rooms' | 'members' | 'nodes';

export interface RedisPlan extends Use {
  parts: Record<RedisPart, number>;
  /** Redis servers that each bound needs by itself. */
  bounds: Record<'CPU' | 'memory' | 'network', number>;
  /** Infinity if the part that cannot be sharded is too much for one server. */
  shards: number;
}

export interface Plan {
  membersPerRoom: number;
  deliveriesPerSecond: number;
  /** Nodes that carry the load; Infinity if no number of nodes does. */
  nodes: number;
  /** Extra nodes, for those that a deploy or a fault takes away at a time. */
  spare: number;
  /** Nodes that each bound needs by itself. */
  nodeBounds: Record<'connections' | 'CPU' | 'memory' | 'network', number>;
  node: NodePlan;
  /** Average number of nodes with a member of a room: each of them gets its messages. */
  fanOut: number;
  redis: RedisPlan;
  /** Clients that a deploy moves per second. */
  movesPerSecond: number;
  /** When all clients reconnect at once: time until the last one is connected. */
  herdSeconds: number;
  /** How long a node may stand still before Redis cuts it off (its buffer for a subscriber is full). */
  standstillSeconds: number;
  /** Longest time until a lost last message of an idle room with history is noticed. */
  noticeSeconds: number;
}

/** Reserved for Redis, files and the admin port: `reservedDescriptors` in gateway/http/descriptors.ts. */
export const descriptorsKept = 512;
/** A restart: the defaults of GATEWAY_DRAIN_NOTICE_MS and GATEWAY_DRAIN_MS, and 5 s to start. */
const restartSeconds = 3 + 15 + 5;
/** Clients are asked to move over two thirds of GATEWAY_DRAIN_MS. */
const moveSeconds = 10;
/** The default of GATEWAY_MAX_BUFFERED_TOTAL_BYTES. */
const bufferedBytes = 2 ** 28;
/** The hard limit of `client-output-buffer-limit pubsub` in Redis, by default. */
const outputBufferBytes = 32 * 2 ** 20;
/** A message frame without its data; the envelope and the framing of Redis around it; a packet and the answer to it. */
export const frameOverheadBytes = 120;
const envelopeBytes = 60;
const packetBytes = 78;
/** Probes of idle rooms with history: interval, and reads per second of a node, as in gateway/rooms/hub.ts. */
const probeSeconds = 2;
const mostReadsPerSecond = 500;
/** The largest number of nodes that is tried. */
const mostNodes = 2 ** 24;

const megabit = 8 / 1e9;

/** All numbers must be finite and not negative; connections, rooms, limits and times must be above 0. */
export function plan(workload: Workload): Plan {
  const { connections, descriptors, nodeGb, share, networkGbit } = workload;
  const at = (nodes: number) => nodePlan(workload, nodes);
  const nodeBounds = {
    connections: Math.ceil(connections / (descriptors - descriptorsKept)),
    CPU: leastNodes((nodes) => at(nodes).cores <= share),
    memory: leastNodes((nodes) => at(nodes).bytes <= nodeGb * 1e9),
    network: leastNodes((nodes) => Math.max(at(nodes).inGbit, at(nodes).outGbit) <= networkGbit * share),
  };
  const nodes = Math.max(...Object.values(nodeBounds));
  const counted = Math.min(nodes, mostNodes);
  const node = at(counted);
  const { connects, received, frameBytes } = node.work;
  const idle = (idleRooms(workload) * fanOut(workload, counted)) / counted;
  return {
    membersPerRoom: membersPerRoom(workload),
    deliveriesPerSecond: workload.messagesPerSecond * membersPerRoom(workload),
    nodes,
    spare: Math.ceil(awayAtOnce(workload, counted)),
    nodeBounds,
    node,
    fanOut: fanOut(workload, counted),
    redis: redisPlan(workload, counted, connects * counted),
    movesPerSecond: movesPerSecond(workload, counted),
    herdSeconds: (connections / counted) * (constants.connectUs.value / 1e6),
    standstillSeconds: outputBufferBytes / (received * (frameBytes + envelopeBytes)),
    noticeSeconds: 3 * Math.max(probeSeconds, idle / mostReadsPerSecond),
  };
}

/** CPU of a node in microseconds. */
export function nodeUs(work: NodeWork): number {
  return (
    work.pings * constants.pingUs.value +
    work.connects * constants.connectUs.value +
    work.joins * constants.joinUs.value +
    work.publishes * constants.publishUs.value +
    work.received * constants.receiveUs.value +
    work.writes * constants.writeUs.value +
    work.deliveries * (constants.frameUs.value + (work.frameBytes * constants.byteNs.value) / 1e3)
  );
}

/** CPU of Redis in microseconds, for one message of a room that is on `nodes` nodes. */
export function redisMessageUs(kept: boolean, nodes: number): number {
  return (kept ? constants.redisAppendUs : constants.redisPublishUs).value + nodes * constants.redisNodeUs.value;
}

/** Writes to members: frames for one member within `mergeMs` are one write. */
export function writesPerSecond(members: number, deliveriesPerSecond: number, mergeMs: number): number {
  return Math.min(deliveriesPerSecond, (members * 1000) / mergeMs);
}

function nodePlan(workload: Workload, nodes: number): NodePlan {
  const { roomsPerConnection, messagesPerSecond } = workload;
  const connections = workload.connections / nodes;
  const rooms = (workload.rooms * fanOut(workload, nodes)) / nodes;
  const connects = (workload.reconnectsPerSecond + movesPerSecond(workload, nodes)) / nodes;
  const deliveries = (messagesPerSecond * membersPerRoom(workload)) / nodes;
  const frameBytes = workload.messageBytes + frameOverheadBytes;
  const work: NodeWork = {
    pings: connections / workload.pingSeconds,
    connects,
    joins: Math.min(rooms, connects * roomsPerConnection),
    publishes: messagesPerSecond / nodes,
    received: (messagesPerSecond * fanOut(workload, nodes)) / nodes,
    writes: writesPerSecond(connections, deliveries, workload.mergeMs),
    deliveries,
    frameBytes,
  };
  const backplaneBytes = frameBytes + envelopeBytes;
  return {
    connections,
    rooms,
    work,
    cores: nodeUs(work) / 1e6,
    bytes:
      constants.nodeBytes.value +
      bufferedBytes +
      connections * (constants.connectionBytes.value + constants.socketBytes.value) +
      connections * Math.max(0, roomsPerConnection - 1) * constants.membershipBytes.value +
      connections * roomsPerConnection * workload.presenceShare * constants.presentBytes.value +
      rooms * (constants.roomBytes.value + workload.historyShare * constants.feedBytes.value),
    inGbit:
      megabit *
      (work.publishes * (frameBytes + packetBytes) + work.received * backplaneBytes + work.writes * packetBytes),
    outGbit:
      megabit *
      (work.deliveries * frameBytes + work.writes * packetBytes + work.publishes * (backplaneBytes + packetBytes)),
  };
}

function redisPlan(workload: Workload, nodes: number, connects: number): RedisPlan {
  const { connections, rooms, roomsPerConnection, messagesPerSecond, historyShare, presenceShare, share } = workload;
  const spread = fanOut(workload, nodes);
  const kept = messagesPerSecond * historyShare;
  const joins = connects * roomsPerConnection;
  const reads = Math.min((idleRooms(workload) * spread) / probeSeconds, nodes * mostReadsPerSecond);
  const parts = {
    'plain messages': ((messagesPerSecond - kept) * redisMessageUs(false, spread)) / 1e6,
    'messages with history': (kept * redisMessageUs(true, spread)) / 1e6,
    'idle rooms': (reads * constants.redisReadUs.value) / 1e6,
    // A client that moves joins and leaves, and reads the messages it missed.
    members:
      (joins *
        (constants.redisSubscribeUs.value +
          historyShare * constants.redisReadUs.value +
          2 * presenceShare * constants.redisPresenceUs.value)) /
      1e6,
    // Each node sends a canary and a beat every second.
    nodes:
      (nodes * (redisMessageUs(false, 1) + constants.redisBeatUs.value + nodes * constants.redisBeatNodeUs.value)) /
      1e6,
  };
  const messageBytes = workload.messageBytes + frameOverheadBytes;
  const backplaneBytes = messageBytes + envelopeBytes;
  const cores = Object.values(parts).reduce((sum, part) => sum + part, 0);
  const bytes =
    rooms * (constants.redisChannelBytes.value + spread * constants.redisSubscriptionBytes.value) +
    rooms * historyShare * constants.redisPositionBytes.value +
    rooms * historyShare * workload.historySize * (messageBytes + constants.redisKeptBytes.value) +
    connections * roomsPerConnection * presenceShare * constants.redisMemberBytes.value;
  const inGbit = megabit * messagesPerSecond * (backplaneBytes + packetBytes);
  const outGbit = megabit * messagesPerSecond * (spread * backplaneBytes + packetBytes);
  const bounds = {
    CPU: cores / share,
    memory: bytes / (workload.redisGb * 1e9),
    network: Math.max(inGbit, outGbit) / (workload.networkGbit * share),
  };
  // The beats of all nodes are in one key, which cannot be sharded.
  const shards =
    parts.nodes > share ? Number.POSITIVE_INFINITY : Math.max(1, Math.ceil(Math.max(...Object.values(bounds))));
  return { cores, bytes, inGbit, outGbit, parts, bounds, shards };
}

/** Expected number of nodes with a member of a room, if its members are spread at random. */
function fanOut(workload: Workload, nodes: number): number {
  return nodes * (1 - (1 - 1 / nodes) ** membersPerRoom(workload));
}

function membersPerRoom({ connections, rooms, roomsPerConnection }: Workload): number {
  return (connections * roomsPerConnection) / rooms;
}

/** Rooms with history in which nothing is published between two probes. */
function idleRooms({ rooms, historyShare, messagesPerSecond }: Workload): number {
  return rooms * historyShare * Math.exp((-probeSeconds * messagesPerSecond) / rooms);
}

/** Average number of nodes that restart at the same time, so that a deploy ends in time. */
function awayAtOnce({ deployMinutes }: Workload, nodes: number): number {
  return Math.max(1, (nodes * restartSeconds) / (deployMinutes * 60));
}

function movesPerSecond(workload: Workload, nodes: number): number {
  return (awayAtOnce(workload, nodes) * workload.connections) / nodes / moveSeconds;
}

/** The smallest number of nodes for which `fits` is true. `fits` must stay true for larger numbers. */
function leastNodes(fits: (nodes: number) => boolean): number {
  let most = 1;
  while (!fits(most)) {
    if (most >= mostNodes) return Number.POSITIVE_INFINITY;
    most *= 2;
  }
  let least = Math.floor(most / 2);
  while (most - least > 1) {
    const middle = Math.floor((least + most) / 2);
    if (fits(middle)) most = middle;
    else least = middle;
  }
  return most;
}
