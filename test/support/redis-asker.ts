/**
 * Sends single commands to Redis servers, on one connection to each, and gives the reply as text, as `redis-cli` prints it.
 *
 * Owns the connections. A server that was killed gets a new one with the next command; one that stands still answers when it
 * goes on.
 */
import { Redis } from 'ioredis';

export class RedisAsker {
  readonly #connections = new Map<number, Redis>();

  /** Rejects with the error that the server answers. An array is one item a line. */
  async ask(port: number, [name = '', ...words]: readonly (string | number)[]): Promise<string> {
    return textOf(await this.#connectionTo(port).call(String(name), ...words));
  }

  close(): void {
    for (const redis of this.#connections.values()) redis.disconnect();
    this.#connections.clear();
  }

  #connectionTo(port: number): Redis {
    const open = this.#connections.get(port);
    if (open !== undefined) return open;
    const redis = new Redis({
      ...{ host: '127.0.0.1', port, protocol: 2 },
      enableReadyCheck: false,
      maxRetriesPerRequest: 0,
      retryStrategy: () => null,
    });
    // The error also fails the command that waits.
    redis.on('error', () => undefined);
    redis.on('end', () => {
      if (this.#connections.get(port) === redis) this.#connections.delete(port);
    });
    this.#connections.set(port, redis);
    return redis;
  }
}

function textOf(reply: unknown): string {
  return Array.isArray(reply) ? reply.map(textOf).join('\n') : String(reply ?? '');
}
