/**
 * A node: all its parts, put together and taken apart again. What each of them does stands in its own file.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { closeCode } from '../shared/codes.ts';
import { createAuthenticator } from './auth/authenticator.ts';
import type { Backplane } from './backplane/backplane.ts';
import { MemoryBackplane } from './backplane/memory/backplane.ts';
import { MemoryPresence } from './backplane/memory/presence.ts';
import type { PresenceStore } from './backplane/presence.ts';
import { alone, type Config } from './config.ts';
import type { Connection } from './connection/connection.ts';
import { Connections } from './connection/connections.ts';
import { Heartbeat } from './connection/heartbeat.ts';
import { UserConnections } from './connection/limits.ts';
import type { Transport } from './connection/transport.ts';
import { Demo, demoRule } from './demo.ts';
import { drain } from './drain.ts';
import { Admin, type Readiness } from './http/admin.ts';
import { Server } from './http/server.ts';
import type { Dialect } from './protocol/dialect.ts';
import { roomcast } from './protocol/roomcast/dialect.ts';
import { MessageStamper } from './protocol/roomcast/message.ts';
import { RedisBackplane } from './redis/backplane.ts';
import { RedisConnections } from './redis/connection/connections.ts';
import { RedisPresence } from './redis/presence/presence.ts';
import { Reload, type Reloadable } from './reload.ts';
import { Access } from './rooms/access.ts';
import { Backpressure } from './rooms/backpressure.ts';
import { Fanout } from './rooms/fanout.ts';
import { Flush } from './rooms/flush.ts';
import { Freeze } from './rooms/freeze.ts';
import { Hub } from './rooms/hub.ts';
import { Presence } from './rooms/presence.ts';
import { type RuledParts, reloadableRules } from './rooms-file.ts';
import { tellEvents } from './telemetry/events.ts';
import { Faults } from './telemetry/faults.ts';
import type { Logger } from './telemetry/log.ts';
import { Metrics, type SlowPolicy } from './telemetry/metrics.ts';
import { version } from './version.ts';

export interface Gateway {
  port: number;
  adminPort: number;
  /** Only in development without a key. */
  demo: Demo | undefined;
  /** Reads the room rules and the certificate again. */
  reload(): void;
  /** Refuses new connections, moves the open ones to other nodes (gateway/drain.ts), then ends everything else. */
  stop(): Promise<void>;
}

const sweepIntervalMs = 500;
/** Close frames are given this long to leave before sockets are cut. */
const closingMs = 300;

/** What clients may speak, and by what they may come, beside WebSockets. A new one is added here. */
export interface Extensions {
  dialects: readonly Dialect[];
  transports: readonly Transport[];
}

const builtIn: Extensions = { dialects: [roomcast], transports: [] };

/** Starts a node. Rejects if a port is taken or a key cannot be used; a Redis that is away does not hinder it. */
export async function startGateway(
  config: Config,
  log: Logger,
  { dialects, transports }: Extensions = builtIn,
): Promise<Gateway> {
  const connections = new Set<Connection>();
  let stopping = false;

  const authenticator = createAuthenticator(config, log);
  const demo = config.demo ? new Demo(config) : undefined;
  const demoRules = demo === undefined ? [] : [demoRule];
  const access = new Access([...config.rules, ...demoRules]);
  const redis = config.redis === undefined ? undefined : new RedisConnections(config.redis, log);
  const backplane = createBackplane(config, redis, log);
  const backpressure = new Backpressure(
    config.maxBufferedBytes,
    config.maxBufferedTotalBytes,
    config.maxRoomsPerConnection,
    connections,
  );
  const metrics: Metrics = new Metrics(
    { version, node: config.nodeId },
    {
      connections: () => connections.size,
      rooms: () => hub.roomCount,
      subscriptions: () => hub.memberCount,
      // Hardly ever is anybody slow, and there are fewer rooms than connections.
      slow: () => slowConnections(hub.hasDetached ? connections : []),
      bufferedBytes: () => backpressure.sum(),
      backplaneUp: () => backplane.trouble === undefined,
      backplaneShared: () => redis !== undefined,
      ...(config.tlsCertFile === undefined ? {} : { certificateNotAfter: () => notAfter(server) }),
    },
  );
  const events = tellEvents(metrics);
  const heartbeat = new Heartbeat<Connection>(config.pingIntervalMs, config.pongTimeoutMs, (connection) => {
    events.heartbeatTimedOut();
    connection.close(closeCode.heartbeatTimeout);
  });
  // Not the node's name alone: that may be kept through a restart.
  const instance = `${config.nodeId}-${randomBytes(5).toString('hex')}`;
  const opened = new Connections(connections, heartbeat);
  const server = new Server({ config, log, events, connections: opened, dialects, demo });
  const fanout = new Fanout(server.publish, backpressure);
  const freeze = new Freeze((stoodStillMs) => {
    events.froze();
    log.error({ stoodStillMs: Math.round(stoodStillMs) }, 'the process stood still; closing every connection');
    // Their clients are elsewhere by now; what still waits here, from them or for them, is old.
    for (const connection of connections) connection.close(closeCode.overloaded);
    backplane.renew();
  });
  const faults = new Faults(log);
  const store = createPresenceStore(config, redis, instance, access, log);
  const presence = new Presence({ store, access, backpressure, fanout, events, faults });
  const hub = new Hub({ backplane, access, backpressure, fanout, freeze, events, presence, faults });
  const readiness = (): Readiness => {
    if (stopping) return { ready: false, text: 'draining' };
    const { trouble } = backplane;
    if (trouble !== undefined) return { ready: false, text: trouble };
    return { ready: true, text: redis === undefined ? `ready, but ${alone}` : 'ready' };
  };
  const admin = new Admin({ metrics, readiness, log });
  const sweep = setInterval(() => {
    const now = performance.now();
    const time = Date.now();
    for (const connection of connections) connection.checkDeadlines(now, time);
    hub.sweep();
  }, sweepIntervalMs);

  const listener = config.flushMs === 0 ? hub : new Flush(hub, config.flushMs);
  await Promise.all([backplane.start(listener), store.start(presence)]);
  opened.parts = {
    ...{ config, instance, access, authenticator, backpressure, fanout, freeze, hub, presence, events, faults, log },
    stamper: new MessageStamper(),
    users: new UserConnections<Connection>(config.maxConnectionsPerUser),
  };
  const port = await server.listen();
  for (const transport of transports) await transport.listen(opened);
  const adminPort = await admin.listen(config.adminHost, config.adminPort);
  if (server.certificate !== undefined) log.info(server.certificate, 'TLS with this certificate');
  const reload = new Reload(reloadables(config, server, { access, hub, connections, behind: demoRules }), events, log);

  const stop = async () => {
    if (stopping) return;
    stopping = true;
    reload.close();
    for (const each of [server, ...transports]) each.stopListening();
    const { drainMs, drainNoticeMs } = config;
    log.info({ connections: connections.size, drainNoticeMs, drainMs }, 'draining');
    if (drainMs > 0) presence.drain();
    await drain(connections, config);
    clearInterval(sweep);
    heartbeat.close();
    freeze.close();
    await Promise.all([delay(closingMs), presence.close()]);
    for (const each of [server, ...transports]) each.close();
    authenticator.close();
    metrics.close();
    await Promise.all([backplane.close(), admin.close()]);
  };
  return { port, adminPort, demo, reload: () => reload.now(), stop };
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

/** Of the certificate for new connections, Unix ms. */
function notAfter({ certificate }: Server): number {
  return certificate?.notAfter.getTime() ?? Number.NaN;
}

function createBackplane(config: Config, redis: RedisConnections | undefined, log: Logger): Backplane {
  const { ack, dedupeMs, nodeId: node, redisPrefix: prefix } = config;
  return redis === undefined
    ? new MemoryBackplane(dedupeMs)
    : new RedisBackplane({ redis, prefix, node, dedupeMs, replicated: ack === 'replicated' }, log);
}

function slowConnections(connections: Iterable<Connection>): Record<SlowPolicy, number> {
  const counts = { 'catch-up': 0, drop: 0, latest: 0 };
  for (const connection of connections) for (const policy of connection.slowPolicies()) counts[policy]++;
  return counts;
}

function createPresenceStore(
  { redisPrefix: prefix }: Config,
  redis: RedisConnections | undefined,
  instance: string,
  access: Access,
  log: Logger,
): PresenceStore {
  const announces = (room: string) => access.rule(room).joinLeave;
  return redis === undefined
    ? new MemoryPresence(announces)
    : new RedisPresence({ redis, prefix, instance, announces }, log);
}
