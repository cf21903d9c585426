/**
 * Channels of the subscribed connection that are no rooms: of the canary, and of the control channel.
 *
 * Few and fixed: all are subscribed with each new connection. What comes on them is told to their owners. Rooms, which come
 * and go, are gateway/redis/subscriptions.ts.
 */
import type { RedisConnection } from './connection/connection.ts';

export interface OwnChannel {
  receive(bytes: Buffer, start: number, end: number): void;
  /** It is subscribed, on a new connection: what came meanwhile is lost. */
  subscribed(): void;
}

export class OwnChannels {
  readonly #channels = new Map<string, OwnChannel>();

  /** Before the first connection. */
  add(name: string, channel: OwnChannel): void {
    this.#channels.set(name, channel);
  }

  receive(name: string, bytes: Buffer, start: number, end: number): void {
    this.#channels.get(name)?.receive(bytes, start, end);
  }

  /** On each new connection. If it fails, connect again. */
  subscribe(connection: RedisConnection): void {
    connection.run(['SUBSCRIBE', ...this.#channels.keys()], this.#channels.size).then(
      () => {
        for (const channel of this.#channels.values()) channel.subscribed();
      },
      (error: Error) => connection.reconnect(error.message),
    );
  }
}
