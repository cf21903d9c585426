/**
 * What the sentinels say about the master: one connection of the node to each of them, subscribed to their notices.
 *
 * A notice, and a question once a second in case that one was lost, tell when a sentinel names another master than before. So a
 * node does not wait for the old master, which may be frozen, or unreachable. And it leaves the old master before another one
 * is made: that one may go on for seconds, confirmed by a replica that follows it still, and all of it is thrown away.
 *
 * It owns these connections, what each sentinel has named last, and whether a failover is under way. It never knows the
 * connections to Redis: they find the master by themselves, whenever they connect (gateway/redis/connection/dial.ts).
 */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { type Logger, truncate } from '../../telemetry/log.ts';
import type { Endpoint } from './address.ts';
import { dialSentinel, type RedisClient, type SentinelAddress } from './dial.ts';

const askIntervalMs = 1_000;
/** A failover takes 2 to 3 s. After that, sentinels may differ for 2 s, until all have heard of it. */
const failoverMs = 10_000;
/** For the addresses of a name. */
const lookupMs = 1_000;
/** Text of a notice: `mymaster <old host> <old port> <new host> <new port>`. */
const isDone = '+switch-master';
/** `master mymaster <host> <port>`, at least 0.1 s before a replica is promoted. */
const begins = '+try-failover';
const isAborted = ['-failover-abort-not-elected', '-failover-abort-no-good-slave', '-failover-abort-slave-timeout'];

interface Sentinel {
  name: string;
  client: RedisClient;
  /** `host:port` of the master. Undefined: it was not asked yet. */
  named: string | undefined;
  isReached: boolean;
}

/** Where the master is, as connections see it. */
export interface Master {
  /** None: its name could not be resolved, so nothing can be compared with it. */
  addresses: readonly string[];
  port: number;
}

/** `server`: an address. */
export function leadsTo({ addresses, port }: Master, server: Endpoint | undefined): boolean {
  return server !== undefined && addresses.includes(server.host) && server.port === port;
}

export interface SentinelListener {
  /** A sentinel names another master than before. Each of them tells it. */
  named(master: Master): void;
  /** No master may serve until `mayServe`. */
  failoverBegins(): void;
}

export class Sentinels {
  readonly #master: string;
  readonly #sentinels: Sentinel[];
  readonly #listener: SentinelListener;
  readonly #log: Logger;
  #timer: NodeJS.Timeout | undefined;
  /** By `performance.now()`. Until then only `#next` may serve. */
  #settledAt = 0;
  #next: Master | undefined;
  /** Of `#next`: `host:port`, as sentinels name it. */
  #nextName = '';

  constructor(address: SentinelAddress, listener: SentinelListener, log: Logger) {
    this.#master = address.master;
    this.#listener = listener;
    this.#log = log;
    this.#sentinels = address.sentinels.map((endpoint) => {
      const client = dialSentinel(address, endpoint);
      const name = `${endpoint.host}:${endpoint.port}`;
      const sentinel: Sentinel = { name, client, named: undefined, isReached: true };
      client.on('error', (error: Error) => this.#lost(sentinel, error.message));
      client.on('ready', () => this.#listen(sentinel));
      client.on('message', (channel: string, text: string) => this.#notice(sentinel, channel, text));
      return sentinel;
    });
  }

  start(): void {
    // `#lost` is given the error too.
    for (const { client } of this.#sentinels) client.connect().catch(() => undefined);
    this.#timer = setInterval(() => {
      for (const sentinel of this.#sentinels) if (sentinel.client.status === 'ready') this.#ask(sentinel);
    }, askIntervalMs);
  }

  /** False: a failover is under way or was just done, and `server` is not the new master. `server`: an address. */
  mayServe(server: Endpoint | undefined): boolean {
    if (performance.now() >= this.#settledAt) return true;
    const next = this.#next;
    if (next === undefined) return false;
    return next.addresses.length === 0 || leadsTo(next, server);
  }

  stop(): void {
    clearInterval(this.#timer);
    for (const { client } of this.#sentinels) client.disconnect();
  }

  #listen(sentinel: Sentinel): void {
    sentinel.client
      .subscribe(isDone, begins, ...isAborted)
      .catch((error: Error) => this.#lost(sentinel, error.message));
    this.#ask(sentinel);
  }

  #notice(sentinel: Sentinel, channel: string, text: string): void {
    const words = text.split(' ');
    if (channel === isDone) {
      if (words[0] === this.#master) this.#ask(sentinel);
    } else if (words[1] !== this.#master) return;
    else if (channel === begins) {
      this.#log.warn({ reason: sentinel.name }, 'a sentinel begins a failover: nothing is published until it is over');
      this.#settledAt = performance.now() + failoverMs;
      this.#next = undefined;
      this.#nextName = '';
      this.#listener.failoverBegins();
    } else if (this.#nextName === '') this.#settledAt = 0;
  }

  #ask(sentinel: Sentinel): void {
    sentinel.client.call('SENTINEL', 'get-master-addr-by-name', this.#master).then(
      (answer) => this.#answered(sentinel, answer as [string, string] | null),
      (error: Error) => {
        this.#lost(sentinel, error.message);
        // It may be half open, or frozen.
        sentinel.client.disconnect(true);
      },
    );
  }

  #answered(sentinel: Sentinel, answer: [string, string] | null): void {
    if (answer === null) {
      this.#lost(sentinel, `it knows no master "${this.#master}"`);
      return;
    }
    if (!sentinel.isReached) this.#log.info({ reason: sentinel.name }, 'a sentinel answers again');
    sentinel.isReached = true;
    const [host, port] = answer;
    const named = `${host}:${port}`;
    const before = sentinel.named;
    sentinel.named = named;
    if (before === undefined || before === named) return;
    const reason = `${sentinel.name}: ${named}, not ${before} any more`;
    this.#log.warn({ reason }, 'a sentinel names another redis as the master');
    const isUnderWay = performance.now() < this.#settledAt;
    this.#settledAt = performance.now() + failoverMs;
    // Another sentinel has named it in this failover, and its addresses are known, or will be.
    if (isUnderWay && this.#nextName === named) {
      if (this.#next !== undefined) this.#listener.named(this.#next);
      return;
    }
    this.#next = undefined;
    this.#nextName = named;
    if (isIP(host) !== 0) this.#found(named, { addresses: [host], port: Number(port) });
    else addressesOf(host).then((addresses) => this.#found(named, { addresses, port: Number(port) }));
  }

  #found(name: string, master: Master): void {
    // The sentinels name another one by now.
    if (this.#nextName !== name) return;
    this.#next = master;
    this.#listener.named(master);
  }

  /** Logged once, until it answers again. */
  #lost(sentinel: Sentinel, reason: string): void {
    if (!sentinel.isReached) return;
    sentinel.isReached = false;
    const line = 'a sentinel does not say where the master is; as long as another one does, nodes go on';
    // The name is in the reason: lines with the same one are written once a minute.
    this.#log.warn({ reason: truncate(`${sentinel.name}: ${plain(reason)}`) }, line);
  }
}

/** All addresses of a host. None if it has none, or the answer takes too long: who connects to it is told why. */
function addressesOf(host: string): Promise<string[]> {
  const found = lookup(host, { all: true }).then(
    (all) => all.map(({ address }) => address),
    () => [],
  );
  return Promise.race([found, delay(lookupMs, [], { ref: false })]);
}

/** What ioredis says of a sentinel that named no master, in words that say what to do. */
export function sentinelTrouble(message: string, master: string): string {
  const [, sentinel = ''] = /sentinel (\S+)/.exec(message) ?? [];
  if (/invalid reply: null|No such master/.test(message)) {
    return `the sentinel ${sentinel} knows no master "${master}"; GATEWAY_REDIS_URL has to end in the name of \`sentinel monitor\` in its sentinel.conf`;
  }
  if (/unknown command/i.test(message)) {
    return `${sentinel} is no sentinel; GATEWAY_REDIS_URL has to name the ports of the sentinels (26379), or be redis:// for one Redis`;
  }
  if (/NOAUTH|WRONGPASS/.test(message)) {
    return `the sentinel ${sentinel} wants another user or password: GATEWAY_REDIS_SENTINEL_USERNAME and GATEWAY_REDIS_SENTINEL_PASSWORD`;
  }
  if (/NOPERM/.test(message)) {
    return `the user at the sentinel ${sentinel} lacks a right (docs/operations.md lists them): ${message}`;
  }
  const [, why = message] = / because (.*)$/s.exec(message) ?? [];
  return `the sentinel ${sentinel} cannot be asked for the master: ${plain(why)}`;
}

/** What ioredis says, for somebody who does not know it. */
function plain(message: string): string {
  if (message === 'Command timed out') return 'it does not answer';
  return message === 'Connection is closed.' ? 'it takes no connection, or has ended it' : message;
}
