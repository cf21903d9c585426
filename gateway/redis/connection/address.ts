/**
 * The URL of Redis: host, TLS, user, password, database; or what is wrong with it.
 *
 * Stricter than the URL standard: a password that is not percent-encoded often makes a valid URL of another host. No error
 * repeats a part of the URL that may belong to a password.
 */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';

export interface RedisAddress {
  connection: { host: string; port: number; tls?: { ca?: string } };
  username: string | undefined;
  password: string | undefined;
  database: number;
  /** It is a server of a cluster. */
  isSharded?: boolean;
}

const defaultPort = 6379;
const example = 'redis://user:password@host:6379/0';
/** Characters that end a part of a URL, and how a user or a password has them. */
const reserved: Record<string, string> = { '/': '%2F', '?': '%3F', '#': '%23', '%': '%25' };

/**
 * Reads `redis://user:password@host:port/database`; `rediss://` is TLS, with `?ca=` the file of its CA.
 * Throws a TypeError; its message continues the name of the setting.
 */
export function addressOf(text: string): RedisAddress {
  const url = readUrl(text);
  const [username, password] = [url.username, url.password].map(decode);
  return {
    connection: { host: hostOf(url), port: portOf(url), ...tlsOf(url) },
    username,
    password,
    database: databaseOf(url),
  };
}

function readUrl(text: string): URL {
  const [, scheme, rest = ''] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/is.exec(text) ?? [];
  if (scheme !== undefined && /sentinel|cluster/i.test(scheme)) {
    throw new TypeError(
      'names a Sentinel or a Cluster, which this version does not know yet; name one Redis, redis://',
    );
  }
  if (scheme === undefined || !/^rediss?$/i.test(scheme)) {
    throw new TypeError('must be a URL that begins with redis:// or rediss://');
  }
  // The last @ ends them, as in the URL standard. A CA file may have one in its name.
  const credentials = /^(.*)@/s.exec(rest.replace(/\?ca=.*$/s, ''))?.[1] ?? '';
  const character = /[/?#]/.exec(credentials)?.[0];
  if (character !== undefined) throw notEncoded(character);
  if (rest.includes('#')) throw new TypeError('holds a "#", which means nothing in it');
  if (!URL.canParse(text)) throw new TypeError(`names no host, or no port from 1 to 65535; it looks like ${example}`);
  return new URL(text);
}

function notEncoded(character: string): TypeError {
  return new TypeError(
    `holds a user or password with "${character}" in it, which is written ${reserved[character]} there; ` +
      'or give the password by GATEWAY_REDIS_PASSWORD, as it is',
  );
}

function hostOf(url: URL): string {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (isIPv6(host) || /^[\w.-]+$/.test(host)) return host;
  throw new TypeError(`names no host that is a name or an address; it looks like ${example}`);
}

function portOf(url: URL): number {
  if (url.port === '0') throw new TypeError('must name a port from 1 to 65535');
  return url.port === '' ? defaultPort : Number(url.port);
}

function databaseOf(url: URL): number {
  if (/^\/?\d{0,9}$/.test(url.pathname)) return Number(url.pathname.slice(1));
  throw new TypeError('must end in a database number, as in redis://host:6379/0');
}

function tlsOf(url: URL): { tls?: { ca?: string } } {
  const secure = url.protocol === 'rediss:';
  const file = url.searchParams.get('ca');
  if (url.searchParams.size > (file === null ? 0 : 1)) {
    throw new TypeError('holds a ?parameter= other than ca; the database is its path, as in redis://host:6379/5');
  }
  if (file === null) return secure ? { tls: {} } : {};
  if (!secure) throw new TypeError('holds ?ca=, which needs TLS: rediss://');
  return { tls: { ca: readCertificates(file) } };
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
