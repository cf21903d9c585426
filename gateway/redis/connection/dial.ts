/**
 * Clients of ioredis, which find and reach Redis: by TCP or TLS, at one address or where the sentinels say that the master
 * is. It owns the options: what is dialled, how long each step may take, how long it waits for the next attempt.
 * It never knows what is sent: gateway/redis/connection/connection.ts takes the stream over.
 *
 * What ioredis would do with sentinels, and is not asked to: it watches for failovers with connections of each client to all
 * sentinels, prints to the console when one of them breaks, and gives up for good when a notice comes while it connects
 * (gateway/redis/connection/sentinels.ts does it once for the node). And it adds the sentinels that others name to its list,
 * but takes none out.
 */
import { Redis } from 'ioredis';
import type { Endpoint, RedisAddress } from './address.ts';

export type { Redis as RedisClient } from 'ioredis';
export type SentinelAddress = Extract<RedisAddress, { kind: 'sentinel' }>;

export type ClusterAddress = Extract<RedisAddress, { kind: 'cluster' }>;

const connectTimeoutMs = 2_000;
/** The peer may never answer FIN; the socket is destroyed after this. */
const disconnectTimeoutMs = 100;
/** From the first packet to the answer. A sentinel that hangs costs this; then the next one is asked. */
const sentinelAnswerMs = 500;
/** A server of a cluster that hangs costs this twice. */
const questionMs = 1_000;
/** After all sentinels were asked, and none has named a master. */
const sentinelRetryMs = 250;

/** A client of Redis that sends nothing by itself. It does not connect yet. */
export function dial(address: RedisAddress, retryDelayMs: () => number): Redis {
  return new Redis({
    ...whereOf(address),
    lazyConnect: true,
    protocol: 2,
    enableReadyCheck: false,
    disableClientInfo: true,
    maxRetriesPerRequest: 0,
    connectTimeout: connectTimeoutMs,
    disconnectTimeout: disconnectTimeoutMs,
    // Not its own count of attempts: that begins again with each TCP connection, also if the peer refuses us.
    retryStrategy: retryDelayMs,
  });
}

/** A client of one sentinel, which stays connected. It does not connect yet. */
export function dialSentinel(address: SentinelAddress, { host, port }: Endpoint): Redis {
  const { sentinelUsername, sentinelPassword, tls } = address;
  return new Redis({
    host,
    port,
    ...(tls === undefined ? undefined : { tls }),
    ...(sentinelUsername === undefined ? undefined : { username: sentinelUsername }),
    ...(sentinelPassword === undefined ? undefined : { password: sentinelPassword }),
    lazyConnect: true,
    // Commands beside a subscription.
    protocol: 3,
    autoResubscribe: false,
    enableReadyCheck: false,
    enableOfflineQueue: false,
    disableClientInfo: true,
    maxRetriesPerRequest: 0,
    connectTimeout: connectTimeoutMs,
    disconnectTimeout: disconnectTimeoutMs,
    commandTimeout: sentinelAnswerMs,
    retryStrategy: () => sentinelRetryMs,
  });
}

/** A client of one server of a cluster, for one question. It does not connect yet, and does not connect again. */
export function dialOnce({ tls, username, password }: ClusterAddress, { host, port }: Endpoint): Redis {
  return new Redis({
    host,
    port,
    ...(tls === undefined ? undefined : { tls }),
    ...(username === undefined ? undefined : { username }),
    ...(password === undefined ? undefined : { password }),
    lazyConnect: true,
    protocol: 2,
    enableReadyCheck: false,
    disableClientInfo: true,
    maxRetriesPerRequest: 0,
    connectTimeout: questionMs,
    commandTimeout: questionMs,
    disconnectTimeout: disconnectTimeoutMs,
    retryStrategy: () => null,
  });
}

function whereOf(address: RedisAddress) {
  const { tls } = address;
  const secure = tls === undefined ? undefined : { tls };
  if (address.kind === 'single') return { ...address.server, ...secure };
  if (address.kind === 'cluster') throw new TypeError('a Cluster is not one server');
  const { sentinels, master, sentinelUsername, sentinelPassword } = address;
  return {
    sentinels,
    name: master,
    role: 'master' as const,
    ...secure,
    ...(tls === undefined ? undefined : { sentinelTLS: tls, enableTLSForSentinelMode: true }),
    ...(sentinelUsername === undefined ? undefined : { sentinelUsername }),
    ...(sentinelPassword === undefined ? undefined : { sentinelPassword }),
    sentinelCommandTimeout: sentinelAnswerMs,
    sentinelRetryStrategy: () => sentinelRetryMs,
    updateSentinels: false,
    failoverDetector: false,
  };
}
