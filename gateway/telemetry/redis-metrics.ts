/**
 * What Redis says of itself, in the Prometheus text format: memory, append-only file, clients, work.
 *
 * Every node tells the same of the same Redis, so queries take the largest value (`max`), never a sum. A node that does not
 * know it, because Redis is away, leaves the lines out: a counter of 0 would look like a restart. It never knows how Redis is
 * asked: gateway/redis/connection/health.ts.
 */

/** By name, without `gateway_redis_`. A value that this version of Redis does not tell is left out. */
export type RedisHealth = Partial<Record<RedisMetric, number>>;

export type RedisMetric = keyof typeof redisMetrics;

/** Type and help of each. The names end in the unit; a counter ends in `_total`. */
export const redisMetrics = {
  gateway_redis_start_time_seconds: ['gauge', 'When the Redis process started, Unix time.'],
  gateway_redis_memory_used_bytes: ['gauge', 'Memory that counts against maxmemory.'],
  gateway_redis_memory_limit_bytes: ['gauge', 'maxmemory; +Inf without one.'],
  gateway_redis_clients: ['gauge', 'Open connections to Redis, those of the nodes included.'],
  gateway_redis_clients_limit: ['gauge', 'maxclients.'],
  gateway_redis_output_buffer_bytes: ['gauge', 'The largest output buffer of a client lately.'],
  gateway_redis_replicas: ['gauge', 'Replicas that are connected.'],
  gateway_redis_aof_enabled: ['gauge', '1 with an append-only file.'],
  gateway_redis_aof_ok: ['gauge', '1 while the last write and the last rewrite of the append-only file went well.'],
  gateway_redis_aof_rewriting: ['gauge', '1 while the append-only file is rewritten.'],
  gateway_redis_aof_bytes: ['gauge', 'Size of the append-only file.'],
  gateway_redis_aof_delayed_fsyncs_total: ['counter', 'Times that Redis held back writes because the disk lagged.'],
  gateway_redis_fork_seconds: ['gauge', 'How long Redis stood still for its last fork.'],
  gateway_redis_cpu_seconds_total: ['counter', 'CPU time of the thread that executes commands.'],
  gateway_redis_commands_total: ['counter', 'Commands executed.'],
  gateway_redis_received_bytes_total: ['counter', 'Bytes that Redis received.'],
  gateway_redis_sent_bytes_total: ['counter', 'Bytes that Redis sent.'],
  gateway_redis_evicted_keys_total: ['counter', 'Keys removed for lack of memory.'],
  gateway_redis_rejected_connections_total: ['counter', 'Connections refused because of maxclients.'],
} as const;

/** The lines of a scrape; '' without `health`. */
export function redisText(health: RedisHealth = {}): string {
  const names = Object.keys(redisMetrics) as RedisMetric[];
  return names.map((name) => lines(name, health[name])).join('');
}

function lines(name: RedisMetric, value: number | undefined): string {
  if (value === undefined) return '';
  const [type, help] = redisMetrics[name];
  const number = value === Number.POSITIVE_INFINITY ? '+Inf' : value;
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${name} ${number}\n`;
}
