/** Where a Redis is, and who we are there: what its URL says. */
import { readFileSync } from 'node:fs';

export interface RedisAddress {
  connection: { host: string; port: number; tls?: { ca?: Buffer } };
  username: string | undefined;
  password: string | undefined;
  database: number;
}

/** `redis://user:password@host:port/database`; `rediss://` is TLS, with `?ca=` the file of its CA. */
export function addressOf(text: string): RedisAddress {
  const url = new URL(text);
  const ca = url.searchParams.get('ca');
  return {
    connection: {
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: url.port === '' ? 6379 : Number(url.port),
      ...(url.protocol === 'rediss:' ? { tls: ca === null ? {} : { ca: readFileSync(ca) } } : {}),
    },
    username: url.username === '' ? undefined : decodeURIComponent(url.username),
    password: url.password === '' ? undefined : decodeURIComponent(url.password),
    database: Number(url.pathname.slice(1)),
  };
}
