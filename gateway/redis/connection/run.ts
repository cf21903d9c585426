/** Runs a command where it belongs, which may be nowhere at the moment. */
import { BackplaneError } from '../../backplane/backplane.ts';
import type { RedisConnection } from './connection.ts';
import type { Reply, Words } from './resp.ts';

/** `command`: makes the words for this connection. `unavailable` without one. */
export async function runOn(
  connection: RedisConnection | undefined,
  command: (connection: RedisConnection) => Words,
): Promise<Reply> {
  if (connection === undefined) throw new BackplaneError('unavailable', 'no primary of the cluster has the slot');
  return connection.run(command(connection));
}
