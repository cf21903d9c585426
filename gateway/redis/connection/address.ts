/**
 * The URL of Redis: which servers, TLS, user, password, database; or what is wrong with it.
 *
 * Stricter than the URL standard: a password that is not percent-encoded often makes a valid URL of another host. No error
 * repeats a part of the URL that may belong to a password. It never knows how a connection is made:
 * gateway/redis/connection/connection.ts.
 */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';

export interface Endpoint {
  host: string;
  port: number;
}

/**
 * One Redis; the sentinels that know where the master is; or some nodes of a Cluster, which know the others. `isShard`: it is a
 * node of a Cluster (gateway/redis/cluster/shards.ts).
 */
export type RedisServers =
  | { kind: 'single'; server: Endpoint; isShard?: true }
  | {
      kind: 'sentinel';
      sentinels: Endpoint[];
      master: string;
      sentinelUsername?: string | undefined;
      sentinelPassword?: string | undefined;
    }
  | { kind: 'cluster'; nodes: Endpoint[] };

/** User and password are those of Redis; sentinels have their own or none. TLS is spoken to sentinels too. */
export type RedisAddress = RedisServers & {
  /** Undefined: no TLS. Without `ca`: Node's own certificates. */
  tls: { ca?: string } | undefined;
  username: string | undefined;
  password: string | undefined;
  database: number;
};

type Kind = RedisServers['kind'];

const kinds: Record<string, Kind> = { redis: 'single', 'redis+sentinel': 'sentinel', 'redis+cluster': 'cluster' };
const defaultPorts: Record<Kind, number> = { single: 6379, sentinel: 26_379, cluster: 6379 };
const examples: Record<Kind, string> = {
  single: 'redis://user:password@host:6379/0',
  sentinel: 'redis+sentinel://user:password@host1:26379,host2:26379/master-name/0',
  cluster: 'redis+cluster://user:password@host1:6379,host2:6379',
};
/** More hosts are a mistake: any of them leads to all others. */
const mostHosts = 64;
/** Sentinel takes no other characters in the name of a master. */
const masterName = /^[\w.-]+$/;
/** Characters that end a part of a URL, and how a user or a password has them. */
const reserved: Record<string, string> = { '/': '%2F', '?': '%3F', '#': '%23', '%': '%25' };

/**
 * Reads the three forms of `examples`; `rediss` in place of `redis` is TLS, with `?ca=` the file of its CA.
 * Throws a TypeError; its message continues the name of the setting.
 */
export function addressOf(text: string): RedisAddress {
  const { kind, secure, hosts, url } = readUrl(text);
  const endpoints = hosts.map((host) => endpointOf(host, kind));
  const [username, password] = [url.username, url.password].map(decode);
  return { ...serversOf(kind, endpoints, url.pathname), tls: tlsOf(url, secure), username, password };
}

/** `url`: with the first host only. */
function readUrl(text: string): { kind: Kind; secure: boolean; hosts: string[]; url: URL } {
  const [, scheme = '', rest = ''] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/is.exec(text) ?? [];
  const kind = kinds[scheme.toLowerCase().replace(/^rediss/, 'redis')];
  if (kind === undefined) throw unknownScheme(scheme);
  // The last @ ends them, as in the URL standard. A CA file may have one in its name.
  const [credentials = ''] = /^.*@/s.exec(rest.replace(/\?ca=.*$/s, '')) ?? [];
  const character = /[/?#]/.exec(credentials)?.[0];
  if (character !== undefined) throw notEncoded(character);
  if (kind !== 'single' && /[,@]/.test(credentials.slice(0, -1))) {
    throw new TypeError(
      'must have user and password once, before all hosts; in them "," is written %2C, and "@" %40; ' +
        'or give the password by GATEWAY_REDIS_PASSWORD, as it is',
    );
  }
  if (rest.includes('#')) throw new TypeError('holds a "#", which means nothing in it');
  const [, list = '', path = ''] = /^([^/?]*)(.*)$/s.exec(rest.slice(credentials.length)) ?? [];
  const hosts = list.split(',');
  if (hosts.length > mostHosts) throw new TypeError(`names more than ${mostHosts} hosts; a few of them are enough`);
  if (kind === 'single' && hosts.length > 1) {
    throw new TypeError(
      `names several hosts, and redis:// is one; use ${examples.sentinel} for Sentinel, ${examples.cluster} for Cluster`,
    );
  }
  const one = `redis://${credentials}${hosts[0]}${path}`;
  if (!URL.canParse(one)) throw noHost(kind);
  return { kind, secure: /^rediss/i.test(scheme), hosts, url: new URL(one) };
}

function unknownScheme(scheme: string): TypeError {
  const meant = (['sentinel', 'cluster'] as const).find((kind) => scheme.toLowerCase().includes(kind));
  if (meant !== undefined) return new TypeError(`has a scheme that is not known; it looks like ${examples[meant]}`);
  return new TypeError(
    'must be a URL that begins with redis:// or rediss://, redis+sentinel:// or rediss+sentinel://, ' +
      'redis+cluster:// or rediss+cluster://',
  );
}

function noHost(kind: Kind): TypeError {
  return new TypeError(`names no host, or no port from 1 to 65535; it looks like ${examples[kind]}`);
}

function notEncoded(character: string): TypeError {
  return new TypeError(
    `holds a user or password with "${character}" in it, which is written ${reserved[character]} there; ` +
      'or give the password by GATEWAY_REDIS_PASSWORD, as it is',
  );
}

function endpointOf(text: string, kind: Kind): Endpoint {
  if (!URL.canParse(`redis://${text}`)) throw noHost(kind);
  const url = new URL(`redis://${text}`);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (!isIPv6(host) && !/^[\w.-]+$/.test(host)) {
    throw new TypeError(`names no host that is a name or an address; it looks like ${examples[kind]}`);
  }
  if (url.port === '0') throw new TypeError('must name a port from 1 to 65535');
  return { host, port: url.port === '' ? defaultPorts[kind] : Number(url.port) };
}

/** `path`: of the URL. */
function serversOf(kind: Kind, endpoints: Endpoint[], path: string): RedisServers & { database: number } {
  if (kind === 'cluster') {
    if (!/^\/?0?$/.test(path)) throw new TypeError('ends in a path; a Cluster has neither a name nor databases');
    return { kind, nodes: endpoints, database: 0 };
  }
  if (kind === 'single') return { kind, server: endpoints[0] as Endpoint, database: databaseOf(path, kind) };
  const [, master = '', rest = ''] = /^\/?([^/]*)(.*)$/s.exec(path) ?? [];
  if (!masterName.test(master)) {
    throw new TypeError(
      `names no master, as it is called in \`sentinel monitor <name>\` of sentinel.conf: letters, digits and "-_."; ` +
        `it looks like ${examples.sentinel}`,
    );
  }
  return { kind, sentinels: endpoints, master, database: databaseOf(rest, kind) };
}

function databaseOf(path: string, kind: Kind): number {
  if (/^\/?\d{0,9}$/.test(path)) return Number(path.slice(1));
  throw new TypeError(`must end in a database number, as in ${examples[kind]}`);
}

function tlsOf(url: URL, secure: boolean): { ca?: string } | undefined {
  const file = url.searchParams.get('ca');
  if (url.searchParams.size > (file === null ? 0 : 1)) {
    throw new TypeError('holds a ?parameter= other than ca; the database is its path, as in redis://host:6379/5');
  }
  if (!secure && file !== null) throw new TypeError('holds ?ca=, which needs TLS: rediss://');
  if (file === null) return secure ? {} : undefined;
  return { ca: readCertificates(file) };
}

function readCertificates(file: string): string {
  const say = (what: string) => (error: Error) => new TypeError(`in ?ca= names a file that ${what}: ${error.message}`);
  const ca = attempt(() => readFileSync(file, 'utf8'), say('cannot be read'));
  // TLS accepts any text as a CA, and then trusts no server.
  attempt(() => new X509Certificate(ca), say('holds no certificate in PEM'));
  return ca;
}

function decode(text: string): string | undefined {
  return text === ''
    ? undefined
    : attempt(
        () => decodeURIComponent(text),
        () => notEncoded('%'),
      );
}

function attempt<Result>(what: () => Result, failure: (error: Error) => TypeError): Result {
  try {
    return what();
  } catch (error) {
    throw failure(error as Error);
  }
}
