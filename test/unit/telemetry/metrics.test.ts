/**
 * gateway/telemetry/metrics.ts: every series that dashboards and alerts use exists from the first scrape, at 0, and
 * clients cannot create series.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type HandshakeRejection, publishOutcomes } from '../../../gateway/telemetry/events.ts';
import type { Gauges } from '../../../gateway/telemetry/gauges.ts';
import { Metrics } from '../../../gateway/telemetry/metrics.ts';
import type { RedisHealth } from '../../../gateway/telemetry/redis-metrics.ts';
import { closeCode } from '../../../shared/codes.ts';

/** The codes of RFC 6455 section 7.4.1 with which a connection can end. */
const standardCodes = [1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011];

const values = { connections: 3, rooms: 4, subscriptions: 5, bufferedBytes: 6 };
const slow = { 'catch-up': 2, drop: 1, latest: 0 };
let up = true;
let redis: RedisHealth | undefined;
let metrics: Metrics;

beforeEach(() => {
  up = true;
  redis = undefined;
  const gauges: Gauges = {
    streams: () => 0,
    webhookQueue: () => 0,
    polls: () => 0,
    connections: () => values.connections,
    rooms: () => values.rooms,
    subscriptions: () => values.subscriptions,
    slow: () => slow,
    connectionsLimit: 1_000,
    bufferedBytes: () => values.bufferedBytes,
    bufferedBytesLimit: 0,
    redis: () => redis,
    backplaneUp: () => up,
    backplaneShared: () => up,
  };
  metrics = new Metrics({ version: '1.2.3', node: 'node-1' }, gauges);
});

afterEach(() => metrics.close());

/** Series to value, `name{label="value"}`. */
async function scrape(): Promise<Map<string, number>> {
  const lines = (await metrics.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  );
}

async function typesOf(): Promise<Map<string, string>> {
  const lines = (await metrics.text()).split('\n').filter((line) => line.startsWith('# TYPE gateway_'));
  return new Map(lines.map((line) => [line.split(' ')[2] ?? '', line.split(' ')[3] ?? '']));
}

describe('from the first scrape', () => {
  test('every metric of a node without a certificate and without Redis exists, with its type', async () => {
    expect(Object.fromEntries(await typesOf())).toEqual({
      gateway_connections: 'gauge',
      gateway_connections_limit: 'gauge',
      gateway_connections_opened_total: 'counter',
      gateway_connections_closed_total: 'counter',
      gateway_handshakes_rejected_total: 'counter',
      gateway_rooms: 'gauge',
      gateway_streams: 'gauge',
      gateway_polls: 'gauge',
      gateway_subscriptions: 'gauge',
      gateway_webhook_queue: 'gauge',
      gateway_webhooks_total: 'counter',
      gateway_members_reaped_total: 'counter',
      gateway_messages_published_total: 'counter',
      gateway_http_requests_total: 'counter',
      gateway_http_request_seconds: 'histogram',
      gateway_messages_delivered_total: 'counter',
      gateway_messages_dropped_total: 'counter',
      gateway_ping_rtt_seconds: 'histogram',
      gateway_heartbeat_timeouts_total: 'counter',
      gateway_backplane_up: 'gauge',
      gateway_backplane_shared: 'gauge',
      gateway_publishes_total: 'counter',
      gateway_publish_seconds: 'histogram',
      gateway_backplane_rtt_seconds: 'histogram',
      gateway_backplane_reconnects_total: 'counter',
      gateway_callback_seconds: 'histogram',
      gateway_rpc_seconds: 'histogram',
      gateway_control_seconds: 'histogram',
      gateway_freezes_total: 'counter',
      gateway_fanout_seconds: 'histogram',
      gateway_gaps_total: 'counter',
      gateway_log_lines_dropped_total: 'counter',
      gateway_reloads_total: 'counter',
      gateway_resumes_total: 'counter',
      gateway_slow_connections: 'gauge',
      gateway_buffered_bytes: 'gauge',
      gateway_buffered_bytes_limit: 'gauge',
      gateway_event_loop_busy_seconds_total: 'counter',
      gateway_event_loop_lag_seconds: 'histogram',
      gateway_info: 'gauge',
      gateway_input_lag_messages: 'gauge',
      gateway_input_messages_total: 'counter',
    });
  });

  test.each([
    'gateway_connections_opened_total',
    'gateway_messages_published_total{source="client"}',
    'gateway_messages_delivered_total',
    ...publishOutcomes.map((outcome) => publishes('client', outcome)),
    ...publishOutcomes.map((outcome) => publishes('api', outcome)),
    'gateway_publish_seconds_count',
    'gateway_messages_dropped_total{reason="slow"}',
    'gateway_messages_dropped_total{reason="unreadable"}',
    'gateway_heartbeat_timeouts_total',
    'gateway_log_lines_dropped_total',
    'gateway_webhooks_total{result="delivered"}',
    'gateway_webhooks_total{result="dropped"}',
    'gateway_reloads_total{what="rooms",result="taken"}',
    'gateway_reloads_total{what="rooms",result="refused"}',
    'gateway_reloads_total{what="certificate",result="taken"}',
    'gateway_reloads_total{what="certificate",result="refused"}',
    'gateway_backplane_reconnects_total',
    'gateway_freezes_total',
    'gateway_gaps_total{reason="backplane",healed="false"}',
    'gateway_gaps_total{reason="backplane",healed="true"}',
    'gateway_gaps_total{reason="slow",healed="false"}',
    'gateway_gaps_total{reason="trimmed",healed="false"}',
    'gateway_gaps_total{reason="epoch",healed="false"}',
    'gateway_resumes_total{result="recovered"}',
    'gateway_resumes_total{result="refused"}',
    'gateway_ping_rtt_seconds_count',
    'gateway_backplane_rtt_seconds_count',
    'gateway_fanout_seconds_count',
    'gateway_connections_closed_total{code="other"}',
    ...['request', 'version', 'subprotocol', 'origin', 'capacity', 'draining', 'address'].map(rejected),
    ...['malformed', 'signature', 'key', 'expired', 'claims', 'unavailable'].map((reason) =>
      rejected(`token_${reason}`),
    ),
  ])('%s is 0', async (series) => {
    expect((await scrape()).get(series)).toBe(0);
  });

  test('every close code of the protocol and of RFC 6455 has a series at 0', async () => {
    const series = await scrape();
    for (const code of [...Object.values(closeCode), ...standardCodes])
      expect(series.get(closed(code)), `${code}`).toBe(0);
  });

  test('gauges have their value at the scrape, gateway_info has version and node, default metrics exist', async () => {
    const series = await scrape();
    expect(series.get('gateway_connections')).toBe(3);
    expect(series.get('gateway_rooms')).toBe(4);
    expect(series.get('gateway_subscriptions')).toBe(5);
    expect(series.get('gateway_slow_connections{policy="drop"}')).toBe(1);
    expect(series.get('gateway_buffered_bytes')).toBe(6);
    expect(series.get('gateway_backplane_up')).toBe(1);
    expect(series.get('gateway_info{version="1.2.3",node="node-1"}')).toBe(1);
    expect(series.has('process_cpu_seconds_total')).toBe(true);
    expect(series.has('nodejs_heap_size_used_bytes')).toBe(true);
    if (process.platform === 'linux') expect(series.get('process_open_fds')).toBeGreaterThan(2);
    up = false;
    expect((await scrape()).get('gateway_backplane_up')).toBe(0);
  });
});

function publishes(source: string, outcome: string): string {
  return `gateway_publishes_total{source="${source}",outcome="${outcome}"}`;
}

function rejected(reason: string): string {
  return `gateway_handshakes_rejected_total{reason="${reason}"}`;
}

function closed(code: number | string): string {
  return `gateway_connections_closed_total{code="${code}"}`;
}

test('counters count, and a scrape does not reset them', async () => {
  metrics.connectionOpened();
  metrics.connectionOpened();
  metrics.publishes.publishEnded('client', 'ok', 0.002);
  for (const outcome of ['ok', 'ok', 'duplicate', 'timeout'] as const) {
    metrics.publishes.publishEnded('api', outcome, 0.002);
  }
  metrics.delivered(7, Date.now());
  metrics.dropped('slow', 5);
  metrics.gapTold('backplane');
  metrics.heartbeatTimedOut();
  metrics.backplaneReconnected();
  metrics.handshakeRejected('origin' satisfies HandshakeRejection);
  await scrape();
  const series = await scrape();
  expect(series.get('gateway_connections_opened_total')).toBe(2);
  expect(series.get('gateway_messages_published_total{source="client"}')).toBe(1);
  expect(series.get('gateway_messages_published_total{source="api"}')).toBe(2);
  expect(metrics.publishedMessages).toBe(3);
  expect(publishOutcomes.map((outcome) => series.get(publishes('api', outcome)))).toEqual([2, 1, 0, 0, 0, 1, 0]);
  expect(series.get('gateway_messages_delivered_total')).toBe(7);
  expect(series.get('gateway_messages_dropped_total{reason="slow"}')).toBe(5);
  expect(series.get('gateway_gaps_total{reason="backplane",healed="false"}')).toBe(1);
  expect(series.get('gateway_heartbeat_timeouts_total')).toBe(1);
  expect(series.get('gateway_backplane_reconnects_total')).toBe(1);
  expect(series.get(rejected('origin'))).toBe(1);
});

test('histograms are in seconds, and a negative time (the clock of another host is ahead) counts as 0', async () => {
  metrics.latencies.pingRoundTrip(0.02);
  metrics.latencies.backplaneRoundTrip(0.002);
  metrics.delivered(1, Date.now() + 60_000);
  const series = await scrape();
  expect(series.get('gateway_ping_rtt_seconds_sum')).toBeCloseTo(0.02);
  expect(series.get('gateway_ping_rtt_seconds_bucket{le="0.025"}')).toBe(1);
  expect(series.get('gateway_ping_rtt_seconds_bucket{le="0.01"}')).toBe(0);
  expect(series.get('gateway_backplane_rtt_seconds_count')).toBe(1);
  expect(series.get('gateway_fanout_seconds_sum')).toBe(0);
});

test('only acknowledged publishes are timed: what failed says nothing of how long an `ok` takes', async () => {
  for (const outcome of publishOutcomes) metrics.publishes.publishEnded('client', outcome, 0.002);
  const series = await scrape();
  expect(series.get('gateway_publish_seconds_count')).toBe(2);
  expect(series.get('gateway_publish_seconds_bucket{le="0.0025"}')).toBe(2);
});

test('limits stand beside what is used; no limit is +Inf, so that a share of it is 0', async () => {
  const series = await scrape();
  expect(series.get('gateway_connections_limit')).toBe(1_000);
  expect(await metrics.text()).toContain('\ngateway_buffered_bytes_limit +Inf\n');
});

test('the event loop was busy for a part of the time, never for more than all of it', async () => {
  const busy = async () => (await scrape()).get('gateway_event_loop_busy_seconds_total') ?? Number.NaN;
  const earliest = performance.now();
  const [before, began] = [await busy(), performance.now()];
  while (performance.now() - began < 50);
  const after = await busy();
  expect(after - before).toBeGreaterThan(0.045);
  expect(after - before).toBeLessThanOrEqual((performance.now() - earliest) / 1000);
});

test('what Redis says of itself is there while it is known, and absent otherwise: a counter of 0 would be a restart', async () => {
  const ofRedis = async () => [...(await scrape())].filter(([name]) => name.startsWith('gateway_redis_'));
  expect(await ofRedis()).toEqual([]);
  redis = { gateway_redis_memory_limit_bytes: Number.POSITIVE_INFINITY, gateway_redis_commands_total: 12 };
  expect(await metrics.text()).toContain('\ngateway_redis_memory_limit_bytes +Inf\n');
  expect((await ofRedis()).at(-1)).toEqual(['gateway_redis_commands_total', 12]);
  expect((await typesOf()).get('gateway_redis_commands_total')).toBe('counter');
  redis = undefined;
  expect(await ofRedis()).toEqual([]);
});

test('a value counts in each bucket with a bound at or above it, and always in +Inf', async () => {
  for (const rtt of [0.001, 0.0011, 10, 11]) metrics.latencies.pingRoundTrip(rtt);
  const series = await scrape();
  const upTo = (bound: string) => series.get(`gateway_ping_rtt_seconds_bucket{le="${bound}"}`);
  expect([upTo('0.001'), upTo('0.0025'), upTo('2.5'), upTo('10'), upTo('+Inf')]).toEqual([1, 2, 2, 3, 4]);
  expect(series.get('gateway_ping_rtt_seconds_count')).toBe(4);
  expect(series.get('gateway_ping_rtt_seconds_sum')).toBeCloseTo(21.0021);
});

test('what is scraped is the text format from its first line to its last', async () => {
  redis = { gateway_redis_memory_used_bytes: 1e6, gateway_redis_memory_limit_bytes: Number.POSITIVE_INFINITY };
  metrics.latencies.pingRoundTrip(0.02);
  const text = await metrics.text();
  expect(text).toContain(
    [
      '',
      '# HELP gateway_backplane_rtt_seconds Round trip of the canary through the backplane.',
      '# TYPE gateway_backplane_rtt_seconds histogram',
      'gateway_backplane_rtt_seconds_bucket{le="0.0005"} 0',
      '',
    ].join('\n'),
  );
  expect(text).toContain(
    ['', 'gateway_ping_rtt_seconds_bucket{le="0.01"} 0', 'gateway_ping_rtt_seconds_bucket{le="0.025"} 1', ''].join(
      '\n',
    ),
  );
  expect(text).toContain(
    [
      '',
      'gateway_ping_rtt_seconds_bucket{le="+Inf"} 1',
      'gateway_ping_rtt_seconds_sum 0.02',
      'gateway_ping_rtt_seconds_count 1',
      '',
    ].join('\n'),
  );
  const line =
    /^(# (HELP|TYPE) \w+ [^\n]+|\w+(\{\w+="[^"\\\n]*"(,\w+="[^"\\\n]*")*\})? (Na[nN]|[+-]Inf|-?[\d.e+-]+))?$/;
  expect(text.split('\n').filter((each) => !line.test(each))).toEqual([]);
  expect(text.endsWith('\n')).toBe(true);
  const typed = text.split('\n').filter((each) => each.startsWith('# TYPE '));
  expect(new Set(typed).size).toBe(typed.length);
});

test('requests to the HTTP API count by route and status, from 0 on where they are expected', async () => {
  const requests = (status: number | string) => `gateway_http_requests_total{route="/api/x/{y}",status="${status}"}`;
  const seconds = 'gateway_http_request_seconds_count{route="/api/x/{y}"}';
  expect([...(await scrape()).keys()].filter((name) => name.startsWith('gateway_http_'))).toEqual([]);
  metrics.backend.expectRequests([{ route: '/api/x/{y}', statuses: [200, 404] }]);
  let series = await scrape();
  expect([200, 404, 'aborted'].map((status) => series.get(requests(status)))).toEqual([0, 0, undefined]);
  expect(series.get(seconds)).toBe(0);
  metrics.backend.requestAnswered('/api/x/{y}', 200, 0.002);
  metrics.backend.requestAnswered('/api/x/{y}', 'aborted', 0.002);
  series = await scrape();
  expect([200, 404, 'aborted'].map((status) => series.get(requests(status)))).toEqual([1, 0, 1]);
  expect(series.get(seconds)).toBe(2);
});

test('unknown close codes of clients become `other`, and add no series', async () => {
  const before = (await scrape()).size;
  for (let code = 0; code < 5_000; code++) metrics.connectionClosed(code);
  const series = await scrape();
  expect(series.size).toBe(before);
  const known = new Set<number>([...Object.values(closeCode), ...standardCodes]);
  expect(series.get(closed('other'))).toBe(5_000 - known.size);
  for (const code of known) expect(series.get(closed(code)), `${code}`).toBe(1);
});
