/**
 * All connections of a node to Redis. They have the same master, or none is used.
 *
 * After a failover one connection may stay with the old master, which still answers: what is published there reaches no other
 * node. So all connections reconnect when one finds that its server is no master any more, or another master than that of the
 * others. Owns the timer of their ticks, and what Redis says of itself. It never knows channels or rooms.
 */
import type { Logger } from '../../telemetry/log.ts';
import type { RedisHealth } from '../../telemetry/redis-metrics.ts';
import type { RedisAddress } from './address.ts';
import { RedisConnection, type RedisConnectionOptions, tickMs } from './connection.ts';
import { RedisHealthProbe } from './health.ts';
import type { ReplyError } from './resp.ts';
import { type Master, Sentinels } from './sentinels.ts';

export class RedisConnections {
  readonly #address: RedisAddress;
  readonly #log: Logger;
  readonly #connections = new Set<RedisConnection>();
  readonly #probe = new RedisHealthProbe();
  readonly #sentinels: Sentinels | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** Redis refused a command of any connection. */
  onRefused: (error: ReplyError) => void = () => undefined;

  constructor(address: RedisAddress, log: Logger) {
    this.#address = address;
    this.#log = log;
    if (address.kind === 'sentinel') {
      const listener = {
        named: (master: Master) => {
          for (const connection of this.#connections) connection.follow(master);
        },
        failoverBegins: () => this.renew('a sentinel begins a failover'),
      };
      this.#sentinels = new Sentinels(address, listener, log);
    }
  }

  get database(): number {
    return this.#address.database;
  }

  /** Undefined while it is not known. */
  get health(): RedisHealth | undefined {
    return this.#probe.health;
  }

  /** Returns a new connection. It does not connect yet. */
  add(options: RedisConnectionOptions): RedisConnection {
    const peers = {
      connecting: (connection: RedisConnection) => this.#begin(connection),
      agree: (connection: RedisConnection) => this.#agree(connection),
      renew: (reason: string) => this.renew(reason),
      refused: (error: ReplyError) => this.onRefused(error),
      closed: (connection: RedisConnection) => this.#end(connection),
    };
    return new RedisConnection(options, this.#address, peers, this.#log);
  }

  /** Reconnects all. */
  renew(reason: string): void {
    for (const connection of this.#connections) connection.reconnect(reason);
  }

  #begin(connection: RedisConnection): void {
    this.#connections.add(connection);
    if (this.#timer !== undefined) return;
    this.#sentinels?.start();
    this.#timer = setInterval(() => {
      for (const each of this.#connections) each.tick();
      // The one that carries no messages.
      this.#probe.tick([...this.#connections].find(({ ready, role }) => ready && role === 'presence'));
    }, tickMs);
  }

  #agree(connection: RedisConnection): boolean {
    if (this.#sentinels?.mayServe(connection.peer) === false) {
      connection.reconnect('a failover is under way');
      return false;
    }
    const { run, promotion } = connection.server;
    for (const { ready, server } of this.#connections) {
      if (!ready || (server.run === run && server.promotion === promotion)) continue;
      this.renew('connections of this node reach different masters');
      return false;
    }
    return true;
  }

  #end(connection: RedisConnection): void {
    this.#connections.delete(connection);
    if (this.#connections.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#sentinels?.stop();
  }
}
