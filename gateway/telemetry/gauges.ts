/** The gauges of a node: what its parts answer when they are asked at a scrape. It knows no metrics library. */

import type { RedisHealth } from './redis-metrics.ts';

/** What only the parts of a running node know; read at each scrape. */
export interface Gauges {
  connections(): number;
  /** 0: no limit. */
  readonly connectionsLimit: number;
  /** Event streams among the connections. */
  streams(): number;
  /** Long polls among the connections. */
  polls(): number;
  rooms(): number;
  subscriptions(): number;
  /** Connections with a room in which they get no live messages because they read too slowly, by the room's rule. */
  slow(): Record<SlowPolicy, number>;
  bufferedBytes(): number;
  /** 0: no limit. */
  readonly bufferedBytesLimit: number;
  /** Events of all nodes that wait for the webhook; 0 without one. */
  webhookQueue(): number;
  /** It carries messages, and takes writes. */
  backplaneUp(): boolean;
  /** It carries them to other nodes. */
  backplaneShared(): boolean;
  /** Undefined without Redis, and while it is away. */
  redis?: (() => RedisHealth | undefined) | undefined;
  /** Unix ms. Absent on a node that does no TLS. */
  certificateNotAfter?: () => number;
}

/** What slow readers are given, by the rule of their room. Where that is `close` there is nobody to count. */
export type SlowPolicy = 'catch-up' | 'drop' | 'latest';

/** Name, help, and the value now. */
export type PlainGauge = readonly [name: string, help: string, read: () => number];

/** All gauges without a label. */
export function plainGauges(gauges: Gauges): PlainGauge[] {
  const { certificateNotAfter } = gauges;
  const certificate = 'When the certificate for new connections ends, Unix time.';
  return [
    ['gateway_connections', 'Open connections.', gauges.connections],
    ['gateway_connections_limit', 'GATEWAY_MAX_CONNECTIONS; +Inf without one.', limit(gauges.connectionsLimit)],
    ['gateway_streams', 'Open event streams; each is a connection too.', gauges.streams],
    ['gateway_polls', 'Long polls without an answer yet; each is a connection too.', gauges.polls],
    ['gateway_rooms', 'Rooms with a member on this node.', gauges.rooms],
    ['gateway_subscriptions', 'Members on this node, over all rooms.', gauges.subscriptions],
    ['gateway_buffered_bytes', 'Bytes waiting for clients to read.', gauges.bufferedBytes],
    [
      'gateway_buffered_bytes_limit',
      'GATEWAY_MAX_BUFFERED_TOTAL_BYTES; +Inf without one.',
      limit(gauges.bufferedBytesLimit),
    ],
    ['gateway_webhook_queue', 'Events of all nodes that wait for the webhook.', gauges.webhookQueue],
    ['gateway_backplane_up', '1 while the backplane carries messages and keeps them.', () => +gauges.backplaneUp()],
    ['gateway_backplane_shared', '1 if this node reaches others: it has a Redis.', () => +gauges.backplaneShared()],
    ...(certificateNotAfter === undefined
      ? []
      : [['gateway_certificate_not_after_seconds', certificate, () => certificateNotAfter() / 1000] as const]),
  ];
}

function limit(most: number): () => number {
  return () => most || Number.POSITIVE_INFINITY;
}
