/** The connections of a node to the Redis at `url`, as the gateway makes them from its settings. */
import { createLog, type Logger } from '../../gateway/log.ts';
import { addressOf } from '../../gateway/redis-address.ts';
import { RedisConnections } from '../../gateway/redis-connections.ts';

export function redisConnections(url: string, log: Logger = createLog('silent')): RedisConnections {
  return new RedisConnections(addressOf(url), log);
}
