/** Reads the reply to INFO: whether Redis is fit to serve with, whether it may lack writes, how it is. Pure functions. */
import type { RedisHealth } from '../../telemetry/redis-metrics.ts';

/** The Redis process at the other end. */
export interface RedisServer {
  /** Its run id: new with each restart. */
  run: string;
  /** Of a server of a cluster: stands in front of the envelopes that are published at it (gateway/redis/envelope.ts). Else ''. */
  mark: string;
  /** Of a master that was a replica: its replication id, new with each promotion. Else ''. */
  promotion: string;
  /** It may lack the last writes of the run before: it was promoted, or it has no append-only file. */
  mayHaveLost: boolean;
  /** It never was a replica, and began without keys or with an append-only file: it has what came to it, and lacks nothing. */
  isWhole: boolean;
}

/**
 * `info`: with the section `replication`. `isSharded`: a server of a cluster is needed. Returns why no node may serve with this
 * Redis, in words; undefined: it is fit.
 */
export function whyUnfit(info: string, isSharded = false): string | undefined {
  // `redis_mode` would do for Redis; Valkey calls it otherwise.
  if (field(info, 'sentinel_masters') !== '') return isSentinel;
  if (!isSharded && field(info, 'cluster_enabled') === '1') return inClusterMode;
  if (isSharded && field(info, 'cluster_enabled') === '0') return notInClusterMode;
  // A replica accepts PUBLISH, and delivers it to its own subscribers only.
  if (field(info, 'role') !== 'master') return 'it is a replica, and the master is needed';
  return undefined;
}

const isSentinel = 'it is a sentinel; GATEWAY_REDIS_URL has to be redis+sentinel://host:26379/name-of-the-master';

export const inClusterMode =
  'it is in cluster mode; GATEWAY_REDIS_URL has to name it as a cluster: redis+cluster://host:port,host:port';

export const notInClusterMode =
  'it is not in cluster mode; GATEWAY_REDIS_URL has to name it as one Redis: redis://host:port';

/** `info`: with the section `replication`; with all sections if `run` and `mayHaveLost` are needed. */
export function readServer(info: string): RedisServer {
  // All zeros: it never was a replica. (`master_replid` would not do: it changes without a promotion, too.)
  const wasReplica = /[^0]/.test(field(info, 'master_replid2'));
  const hasFile = field(info, 'aof_enabled') === '1';
  const run = field(info, 'run_id');
  return {
    run,
    mark: field(info, 'cluster_enabled') === '1' ? `@${run.slice(0, 8)}` : '',
    promotion: wasReplica ? field(info, 'master_replid') : '',
    mayHaveLost: wasReplica || !hasFile,
    isWhole: !wasReplica && (hasFile || field(info, 'rdb_last_load_keys_loaded') === '0'),
  };
}

/**
 * `info`: with all sections. `before`: what was read last. Redis counts its seconds and its time by two clocks, so its start
 * varies by a second from answer to answer; that of the first answer stays.
 */
export function readHealth(info: string, before: RedisHealth | undefined): RedisHealth {
  const limit = (name: string) => number(info, name) || Number.POSITIVE_INFINITY;
  const ok = (name: string) => field(info, name) === 'ok';
  const startedAt = Math.floor(number(info, 'server_time_usec') / 1e6) - number(info, 'uptime_in_seconds');
  const knownStart = before?.gateway_redis_start_time_seconds ?? Number.NaN;
  const health: Required<RedisHealth> = {
    gateway_redis_start_time_seconds: Math.abs(knownStart - startedAt) <= 1 ? knownStart : startedAt,
    gateway_redis_memory_used_bytes: number(info, 'used_memory'),
    gateway_redis_memory_limit_bytes: limit('maxmemory'),
    gateway_redis_clients: number(info, 'connected_clients'),
    gateway_redis_clients_limit: number(info, 'maxclients'),
    gateway_redis_output_buffer_bytes: number(info, 'client_recent_max_output_buffer'),
    gateway_redis_replicas: number(info, 'connected_slaves'),
    gateway_redis_aof_enabled: number(info, 'aof_enabled'),
    gateway_redis_aof_ok: +(ok('aof_last_write_status') && ok('aof_last_bgrewrite_status')),
    gateway_redis_aof_rewriting: number(info, 'aof_rewrite_in_progress'),
    // Redis does not tell them without an append-only file.
    gateway_redis_aof_bytes: number(info, 'aof_current_size'),
    gateway_redis_aof_delayed_fsyncs_total: number(info, 'aof_delayed_fsync'),
    gateway_redis_fork_seconds: number(info, 'latest_fork_usec') / 1e6,
    gateway_redis_cpu_seconds_total:
      number(info, 'used_cpu_sys_main_thread') + number(info, 'used_cpu_user_main_thread'),
    gateway_redis_commands_total: number(info, 'total_commands_processed'),
    gateway_redis_received_bytes_total: number(info, 'total_net_input_bytes'),
    gateway_redis_sent_bytes_total: number(info, 'total_net_output_bytes'),
    gateway_redis_evicted_keys_total: number(info, 'evicted_keys'),
    gateway_redis_rejected_connections_total: number(info, 'rejected_connections'),
  };
  return Object.fromEntries(Object.entries(health).filter(([, value]) => !Number.isNaN(value)));
}

/** NaN without the field. */
function number(info: string, name: string): number {
  const text = field(info, name);
  return text === '' ? Number.NaN : Number(text);
}

function field(info: string, name: string): string {
  return new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
}
