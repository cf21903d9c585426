/**
 * The connections of a node to Redis: all of them reach the same master, or none is used.
 *
 * After a failover one connection may have moved while another stays with the old master, which goes on answering it:
 * what is published there reaches nobody else. So what one connection learns concerns them all: if its server is no
 * master any more, or is another one than that of the others, all are made anew. It owns their timer. It knows no
 * channels and no rooms.
 */
import type { Logger } from '../../telemetry/log.ts';
import type { RedisAddress } from './address.ts';
import { RedisConnection, type RedisConnectionOptions, tickMs } from './connection.ts';
import type { ReplyError } from './resp.ts';

export class RedisConnections {
  readonly #address: RedisAddress;
  readonly #log: Logger;
  readonly #connections = new Set<RedisConnection>();
  #timer: NodeJS.Timeout | undefined;

  /** Called whenever Redis does not carry out a command, on whichever connection; `error` is its answer. */
  onRefused: (error: ReplyError) => void = () => undefined;

  constructor(address: RedisAddress, log: Logger) {
    this.#address = address;
    this.#log = log;
  }

  /** The database of all of them. */
  get database(): number {
    return this.#address.database;
  }

  /** One more; it is not connected yet. */
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

  /** Gives up all that are open for new ones. */
  renew(reason: string): void {
    for (const connection of this.#connections) connection.reconnect(reason);
  }

  #begin(connection: RedisConnection): void {
    this.#connections.add(connection);
    this.#timer ??= setInterval(() => {
      for (const each of this.#connections) each.tick();
    }, tickMs);
  }

  #agree(connection: RedisConnection): boolean {
    const { run, promotion } = connection.server;
    for (const { ready, server } of this.#connections) {
      if (!ready || (server.run === run && server.promotion === promotion)) continue;
      this.renew('not all connections reach the same master');
      return false;
    }
    return true;
  }

  #end(connection: RedisConnection): void {
    this.#connections.delete(connection);
    if (this.#connections.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
