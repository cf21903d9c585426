/**
 * Channels of the subscribed connection that are no rooms: of the canary, and of the control channel.
 *
 * Few: all are subscribed with each new connection. In a cluster they come and go with their slots. What comes on them is told
 * to their owners. Rooms, which are many, are gateway/redis/subscriptions.ts.
 */
import type { RedisConnection } from './connection/connection.ts';
import { isRedirect } from './connection/redirect.ts';
import type { Reply, Words } from './connection/resp.ts';
import type { Script } from './script.ts';

export interface OwnChannel {
  receive(bytes: Buffer, start: number, end: number): void;
  /** It is subscribed, on a new connection: what came meanwhile is lost. */
  subscribed(): void;
}

/** Channels besides those of rooms, and commands about a key, on the connection that is subscribed. */
export interface Link {
  listen(name: string, channel: OwnChannel): void;
  publish(channel: string, text: string): Promise<Reply>;
  evaluate(script: Script, key: string, values: Words): Promise<Reply>;
}

export class OwnChannels {
  readonly #channels = new Map<string, OwnChannel>();
  /** Not subscribed, and nothing is under way. */
  readonly #lost = new Set<string>();

  /** Before the first connection, or followed by `subscribe`. */
  add(name: string, channel: OwnChannel): void {
    this.#channels.set(name, channel);
    this.#lost.add(name);
  }

  /** In a cluster. */
  remove(name: string, connection: RedisConnection): void {
    this.#channels.delete(name);
    // If it fails, `receive` ignores the channel.
    if (!this.#lost.delete(name)) connection.unsubscribe([name], () => undefined);
  }

  receive(name: string, bytes: Buffer, start: number, end: number): void {
    this.#channels.get(name)?.receive(bytes, start, end);
  }

  /** In a cluster: Redis says that the channel is not subscribed any more. Returns false if it is not of this kind. */
  revoked(name: string): boolean {
    if (!this.#channels.has(name)) return false;
    this.#lost.add(name);
    return true;
  }

  /** The connection is closed. */
  lost(): void {
    for (const name of this.#channels.keys()) this.#lost.add(name);
  }

  /** Subscribes those that are lost. If it fails, connect again; in a cluster the channel may only be elsewhere by now. */
  subscribe(connection: RedisConnection): void {
    const names = [...this.#lost];
    this.#lost.clear();
    // Sharded channels of different slots need a command each.
    for (const each of connection.isSharded ? names.map((name) => [name]) : names.length > 0 ? [names] : []) {
      connection.subscribe(each).then(
        () => {
          for (const name of each) this.#channels.get(name)?.subscribed();
        },
        (error: Error) => {
          if (!isRedirect(error)) connection.reconnect(error.message);
          // Unless it was removed meanwhile.
          else for (const name of each) if (this.#channels.has(name)) this.#lost.add(name);
        },
      );
    }
  }
}
