/** Reads the reply to INFO: whether Redis is fit to serve with, and whether it may lack writes. Pure functions. */

/** The Redis process at the other end. */
export interface RedisServer {
  /** Its run id: new with each restart. */
  run: string;
  /** Of a master that was a replica: its replication id, new with each promotion. Else ''. */
  promotion: string;
  /** It may lack the last writes of the run before: it was promoted, or it has no append-only file. */
  mayHaveLost: boolean;
}

/** `info`: with the section `replication`. Returns why no node may serve with this Redis, in words; undefined: it is fit. */
export function whyUnfit(info: string): string | undefined {
  if (field(info, 'cluster_enabled') === '1') return inClusterMode;
  // A replica accepts PUBLISH, and delivers it to its own subscribers only.
  if (field(info, 'role') !== 'master') return 'it is a replica, and the master is needed';
  return undefined;
}

export const inClusterMode =
  'it is in cluster mode, which this version does not speak; GATEWAY_REDIS_URL has to name a Redis with cluster-enabled no';

/** `info`: with the section `replication`; with all sections if `run` and `mayHaveLost` are needed. */
export function readServer(info: string): RedisServer {
  // All zeros: it never was a replica. (`master_replid` would not do: it changes without a promotion, too.)
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
