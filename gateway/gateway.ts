/**
 * A node: creates all its parts, starts them, and stops them in order. What each part does is in its own file.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { closeCode } from '../shared/codes.ts';
import { Admission } from './admission/admission.ts';
import { Lane } from './admission/lane.ts';
import { Shares } from './admission/shares.ts';
import { createAuthenticator } from './auth/authenticator.ts';
import { createCallback } from './auth/callback/callback.ts';
import { createCalls } from './auth/callback/calls.ts';
import { maxPublishBytesInFlight, maxPublishesInFlight } from './backplane/backplane.ts';
import type { PresenceListener } from './backplane/presence.ts';
import { ClusterNode, createBlocks } from './cluster.ts';
import { alone, type Config } from './config.ts';
import type { Connection } from './connection/connection.ts';
import { Connections } from './connection/connections.ts';
import { Heartbeat } from './connection/heartbeat.ts';
import { UserConnections } from './connection/limits.ts';
import type { Membership } from './connection/membership/membership.ts';
import type { Transport } from './connection/transport.ts';
import { Dashboard } from './dashboard/dashboard.ts';
import { Demo, demoRules, rehearsal } from './demo.ts';
import { drain } from './drain.ts';
import { Admin, type Readiness } from './http/admin.ts';
import { Api } from './http/api/api.ts';
import { statusesOf } from './http/api/route.ts';
import { routes } from './http/api/routes.ts';
import * as serverApi from './http/centrifugo/server-api.ts';
import { Server } from './http/server.ts';
import { Inputs } from './inputs/inputs.ts';
import type { ClusterParts } from './operations/cluster/ask.ts';
import type { LocalNode, NodeGauges } from './operations/local-node.ts';
import { Renewals } from './operations/renewals.ts';
import type { Dialect } from './protocol/dialect.ts';
import { msgpack } from './protocol/msgpack/dialect.ts';
import { roomcast } from './protocol/roomcast/dialect.ts';
import { MessageStamper } from './protocol/roomcast/message.ts';
import { Reload, type Reloadable } from './reload.ts';
import { Access } from './rooms/access.ts';
import { Backpressure } from './rooms/backpressure.ts';
import { Fanout } from './rooms/fanout.ts';
import { Flush } from './rooms/flush.ts';
import { Freeze } from './rooms/freeze.ts';
import { Hub } from './rooms/hub.ts';
import { Presence } from './rooms/presence.ts';
import { type RuledParts, reloadableRules } from './rooms-file.ts';
import { createShared, redisAt, type Shared } from './stores.ts';
import { tellEvents } from './telemetry/events.ts';
import { Faults } from './telemetry/faults.ts';
import type { Gauges, SlowPolicy } from './telemetry/gauges.ts';
import type { Logger } from './telemetry/log.ts';
import { Metrics } from './telemetry/metrics.ts';
import { Vitals } from './telemetry/vitals.ts';
import { version } from './version.ts';
import { Webhooks } from './webhooks/webhooks.ts';

export interface Gateway {
  port: number;
  adminPort: number;
  /** Set only in development mode without a key. */
  demo: Demo | undefined;
  /** For the operations on the whole cluster: gateway/operations/cluster. */
  cluster: ClusterParts;
  /** Reads the room rules and the certificate again. */
  reload(): void;
  /** Refuses new connections, moves the open ones to other nodes (gateway/drain.ts), then ends everything else. */
  stop(): Promise<void>;
}

const sweepIntervalMs = 500;
/** Time for close frames to be sent before sockets are destroyed. */
const closingMs = 300;

/** The dialects of clients, and transports other than WebSockets. A new one is added to `builtIn`. */
export interface Extensions {
  dialects: readonly Dialect[];
  transports: readonly Transport[];
}

const builtIn: Extensions = { dialects: [roomcast, msgpack], transports: [] };

/**
 * Starts a node. Rejects if a port is taken or a key cannot be used. It starts without Redis, too: it serves clients,
 * and connects in the background.
 */
export async function startGateway(
  config: Config,
  log: Logger,
  { dialects, transports }: Extensions = builtIn,
): Promise<Gateway> {
  const parts = createParts(config, log, dialects);
  const { access, blocks, connections, control, demo, events, faults, hub, metrics, open, server } = parts;
  const { fallbackRules, instance, vitals } = parts;
  const local = {
    ...{ node: config.nodeId, instance, version, startedAt: Date.now(), draining: false },
    ...{
      connections: open,
      hub,
      blocks,
      vitals,
      emulated: server.emulation,
      gauges: nodeGauges(config, parts),
      numbers: () => metrics.numbers(),
    },
  };
  const readiness = () => (local.draining ? { ready: false, text: 'draining' } : readinessOf(parts));
  const stamper = new MessageStamper();
  const api = createApi(config, parts, stamper);
  const dashboard = createDashboard(config, parts, local);
  const admin = new Admin({ metrics, readiness, log, api, dashboard });
  const sweep = setInterval(() => {
    const now = performance.now();
    const time = Date.now();
    for (const connection of open) connection.checkDeadlines(now, time);
    hub.sweep();
    parts.renewals.sweep(now);
  }, sweepIntervalMs);

  const listener = config.flushMs === 0 ? hub : new Flush(hub, config.flushMs);
  control.start(new ClusterNode({ ...parts, local }));
  parts.webhooks?.start(events);
  await Promise.all([parts.backplane.start(listener), parts.store.start(storeListener(parts))]);
  blocks.start();
  await blocks.look();
  connections.parts = {
    ...parts,
    ...{ config, log, stamper },
    users: new UserConnections<Connection>(config.maxConnectionsPerUser),
  };
  const port = await server.listen();
  for (const transport of transports) await transport.listen(connections);
  const adminPort = await admin.listen(config.adminHost, config.adminPort);
  if (server.certificate !== undefined) log.info(server.certificate, 'TLS with this certificate');
  const ruled = { access, callback: parts.callback, hub, connections: open, fallbackRules };
  const reload = new Reload(reloadables(config, server, ruled), events, log);

  const inputs = config.inputs.length === 0 ? undefined : await startInputs(config, parts, stamper, log);

  const stop = async () => {
    if (local.draining) return;
    local.draining = true;
    reload.close();
    // At once, so that other nodes go on while clients still move.
    const handedOver = inputs?.close();
    await drainAndClose(parts, [server, ...transports], sweep, config, log);
    await handedOver;
    // Each may wait for seconds: for a receiver that hangs, and for calls that a Redis which hangs holds up.
    await Promise.all([parts.webhooks?.close(), admin.close()]);
    control.close();
    blocks.close();
    vitals.close();
    await parts.backplane.close();
  };
  return { port, adminPort, demo, cluster: { control, faults }, reload: () => reload.now(), stop };
}

/** Creates all parts of a node. Nothing listens yet, and the backplane is not connected. */
function createParts(config: Config, log: Logger, dialects: readonly Dialect[]) {
  const open = new Set<Connection>();
  const authenticator = createAuthenticator(config, log);
  const demo = config.demo ? new Demo(config, () => drain(open, rehearsal)) : undefined;
  const fallbackRules = demo === undefined ? [] : demoRules;
  const access = new Access([...config.rules, ...fallbackRules]);
  const redis = config.redis === undefined ? undefined : redisAt(config.redis, log);
  // Unique per process: a node may keep its name across restarts.
  const instance = `${config.nodeId}-${randomBytes(5).toString('hex')}`;
  const { backplane, control, store, occupancy, outbox } = createShared(config, redis, instance, access, log);
  const faults = new Faults(log);
  const webhooks = createWebhooks(config, { instance, occupancy, outbox, faults, log });
  const blocks = createBlocks(control, open, faults, log);
  const { maxBufferedBytes, maxBufferedTotalBytes, maxRoomsPerConnection } = config;
  const backpressure = new Backpressure(maxBufferedBytes, maxBufferedTotalBytes, maxRoomsPerConnection, open);
  const gauges: Gauges = {
    connections: () => open.size,
    streams: () => server.streams,
    polls: () => server.polls,
    rooms: () => hub.roomCount,
    subscriptions: () => hub.memberCount,
    // Slow connections are rare, and a node has fewer rooms than connections, so rooms are checked first.
    slow: () => slowConnections(hub.hasDetached ? open : []),
    bufferedBytes: () => backpressure.sum(),
    backplaneUp: () => backplane.trouble === undefined,
    backplaneShared: () => redis !== undefined,
    ...{ connectionsLimit: config.maxConnections, bufferedBytesLimit: maxBufferedTotalBytes },
    redis: () => redis?.health,
    webhookQueue: () => webhooks?.waiting ?? 0,
    ...(config.tlsCertFile === undefined ? {} : { certificateNotAfter: () => notAfter(server) }),
  };
  const metrics = new Metrics({ version, node: config.nodeId }, gauges);
  const vitals = new Vitals(metrics);
  const events = tellEvents(
    metrics,
    metrics.latencies,
    metrics.publishes,
    metrics.backend,
    vitals,
    ...(webhooks?.listeners ?? []),
  );
  const callback = createCallback(config, metrics.backend, log);
  const calls = createCalls(config, metrics.backend, log);
  const heartbeat = new Heartbeat<Connection>(config.pingIntervalMs, config.pongTimeoutMs, (connection) => {
    events.heartbeatTimedOut();
    connection.close(closeCode.heartbeatTimeout);
  });
  const connections = new Connections(open, heartbeat);
  const admission = new Admission(() => authenticator.waiting > 0);
  const server = new Server({
    ...{ config, log, events, admission, connections, dialects, demo, instance },
    cluster: { control, faults },
  });
  const fanout = new Fanout(server.publish, backpressure);
  const freeze = new Freeze((stoodStillMs) => {
    events.froze();
    log.error({ stoodStillMs: Math.round(stoodStillMs) }, 'the process stood still; closing every connection');
    // Clients have reconnected elsewhere by now, and all input that still waits here is outdated.
    for (const connection of open) connection.close(closeCode.overloaded);
    backplane.renew();
  });
  const presence = new Presence({ store, access, backpressure, fanout, events, faults });
  const shares = new Shares({ count: maxPublishesInFlight, bytes: maxPublishBytesInFlight });
  const hub = new Hub({ backplane, access, backpressure, fanout, freeze, events, presence, faults });
  return {
    ...{ open, connections, server, heartbeat, metrics, gauges, vitals, demo, fallbackRules, redis, hub, presence },
    ...{ backplane, control, store, blocks, callback, calls, webhooks, renewals: new Renewals<Membership>() },
    ...{ instance, access, authenticator, backpressure, fanout, freeze, events, faults },
    ...{ shares, lanes: { api: new Lane(shares), input: new Lane(shares), post: new Lane(shares) } },
  };
}

type Parts = ReturnType<typeof createParts>;

/** Undefined without GATEWAY_API_KEY. */
function createApi({ apiKeys: keys, centrifugo, maxMessageBytes }: Config, parts: Parts, stamper: MessageStamper) {
  if (keys === undefined) return undefined;
  const other = centrifugo ? serverApi : undefined;
  parts.metrics.backend.expectRequests(routes.map((route) => ({ route: route.path, statuses: statusesOf(route) })));
  return new Api({ ...parts, keys, maxMessageBytes, stamper, version, other });
}

/** Undefined without GATEWAY_API_KEY: it does what the API can do. */
function createDashboard({ apiKeys: keys }: Config, parts: Parts, local: LocalNode): Dashboard | undefined {
  return keys === undefined ? undefined : new Dashboard({ ...parts, keys, local });
}

function startInputs({ inputs, maxMessageBytes }: Config, parts: Parts, stamper: MessageStamper, log: Logger) {
  return Inputs.start(inputs, { ...parts, stamper, log, maxMessageBytes });
}

function nodeGauges(
  { maxBufferedTotalBytes: bufferedBytes, maxConnections: connections }: Config,
  { backplane, gauges }: Parts,
): NodeGauges {
  const { bufferedBytes: buffered, slow } = gauges;
  return { bufferedBytes: buffered, slow, trouble: () => backplane.trouble, limits: { connections, bufferedBytes } };
}

function readinessOf({ backplane: { trouble, mostlyUp = false }, redis }: Parts): Readiness {
  if (trouble !== undefined && !mostlyUp) return { ready: false, text: trouble };
  const but = trouble ?? (redis === undefined ? alone : undefined);
  return { ready: true, text: but === undefined ? 'ready' : `ready, but ${but}` };
}

/** Moves clients to other nodes, then ends everything that serves them. The backplane stays open. */
async function drainAndClose(
  parts: Parts,
  ports: readonly { stopListening(): void; close(): void }[],
  sweep: NodeJS.Timeout,
  config: Config,
  log: Logger,
): Promise<void> {
  const { open, presence, server, store, webhooks } = parts;
  for (const port of ports) port.stopListening();
  const { drainMs, drainNoticeMs } = config;
  log.info({ connections: open.size, drainNoticeMs, drainMs }, 'draining');
  if (drainMs > 0) presence.drain();
  await drain(open, config);
  clearInterval(sweep);
  parts.heartbeat.close();
  parts.freeze.close();
  const stores = async () => {
    await presence.close();
    // Behind it: a room is told as vacated after its last member was told.
    await webhooks?.settle();
    await store.close();
  };
  await Promise.all([delay(closingMs), stores(), server.settled()]);
  for (const port of ports) port.close();
  parts.shares.close();
  parts.authenticator.close();
  parts.callback?.close();
  parts.calls?.close();
  parts.metrics.close();
}

function reloadables(config: Config, server: Server, ruled: RuledParts): Reloadable[] {
  const { roomsFile, rules, tlsCertFile, tlsKeyFile } = config;
  const all: Reloadable[] = [];
  if (roomsFile !== undefined) all.push(reloadableRules(roomsFile, rules, ruled));
  if (tlsCertFile !== undefined && tlsKeyFile !== undefined) {
    all.push({ what: 'certificate', files: [tlsCertFile, tlsKeyFile], take: async () => server.takeCertificate() });
  }
  return all;
}

/** End of the certificate for new connections, Unix ms; NaN without one. */
function notAfter({ certificate }: Server): number {
  return certificate?.notAfter.getTime() ?? Number.NaN;
}

function createWebhooks(
  { webhookEvents: types, webhookSecrets: secrets, webhookUrl: url }: Config,
  {
    occupancy,
    outbox,
    ...rest
  }: Pick<Shared, 'occupancy' | 'outbox'> & { instance: string; faults: Faults; log: Logger },
): Webhooks | undefined {
  if (url === undefined || secrets === undefined || occupancy === undefined || outbox === undefined) return undefined;
  return new Webhooks({ ...rest, url, secrets, types, version, occupancy, outbox });
}

/** The store tells both of what it may have lost. */
function storeListener({ presence, webhooks }: Parts): PresenceListener {
  return {
    changed: (frame) => presence.changed(frame),
    reaped: (members) => presence.reaped(members),
    outOfSync: () => {
      presence.outOfSync();
      webhooks?.outOfSync();
    },
  };
}

function slowConnections(connections: Iterable<Connection>): Record<SlowPolicy, number> {
  const counts = { 'catch-up': 0, drop: 0, latest: 0 };
  for (const connection of connections) for (const policy of connection.memberships.slowPolicies()) counts[policy]++;
  return counts;
}
