/**
 * What Redis tells of itself by INFO, as far as a node must know it: whether it can serve, and whether it has everything
 * that it was told. Pure functions over the text of the answer.
 */

/** What is known of the Redis process at the other end. */
export interface RedisServer {
  /** Its run id: another one after every restart. */
  run: string;
  /** Of a master that was a replica: its replication id, another one for each time it was promoted. Else ''. */
  promotion: string;
  /**
   * It may lack the last writes of the run before: it was a replica and became the master, or it keeps no append only
   * file, and loaded what was saved some time ago.
   */
  mayHaveLost: boolean;
}

/** `info` is an answer with the section `replication`. Says in words why no node may serve with it, if so. */
export function whyUnfit(info: string): string | undefined {
  if (field(info, 'cluster_enabled') === '1') return inClusterMode;
  // It takes PUBLISH, though only its own subscribers get that; and it may be promoted while we are connected.
  if (field(info, 'role') !== 'master') return 'it is a replica, and the master is wanted';
  return undefined;
}

export const inClusterMode =
  'it is in cluster mode, which this version does not speak; GATEWAY_REDIS_URL has to name a Redis with cluster-enabled no';

/** `info` is an answer with the section `replication`, and all others if `run` and `mayHaveLost` are wanted. */
export function readServer(info: string): RedisServer {
  // A master that never was a replica has none. Its own id changes when it has had no replica for an hour.
  const wasReplica = /[^0]/.test(field(info, 'master_replid2'));
  return {
    run: field(info, 'run_id'),
    promotion: wasReplica ? field(info, 'master_replid') : '',
    mayHaveLost: wasReplica || field(info, 'aof_enabled') !== '1',
  };
}

function field(info: string, name: string): string {
  return new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
}
