/** The connections of a node to the Redis at `url`, as the gateway makes them from its settings. */

import { addressOf } from '../../gateway/redis/connection/address.ts';
import { RedisConnections } from '../../gateway/redis/connection/connections.ts';
import { createLog, type Logger } from '../../gateway/telemetry/log.ts';

export function redisConnections(url: string, log: Logger = createLog('silent')): RedisConnections {
  return new RedisConnections(addressOf(url), log);
}
