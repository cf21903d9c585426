/**
 * A WebSocket that is opened while HTTP serves, and waits to become the next connection.
 *
 * Owns what it hears until somebody adopts it. One that ends before that was an attempt that failed.
 */
import type { GatewayFrame } from '../../protocol.ts';
import type { Connection, ConnectionListener } from '../connection/connection.ts';

export class Candidate {
  isAdopted = false;
  readonly #connection: Connection;
  readonly #frames: GatewayFrame[] = [];
  #owner: ConnectionListener | undefined;

  /** One of `welcomed` and `failed` is called, unless it is closed before. `failed` may follow on `welcomed`. */
  constructor(open: (listener: ConnectionListener) => Connection, welcomed: () => void, failed: () => void) {
    this.#connection = open({
      welcomed,
      frame: (connection, frame) => {
        if (this.#owner === undefined) this.#frames.push(frame);
        else this.#owner.frame(connection, frame);
      },
      ended: (connection, end) => {
        if (this.#owner === undefined) failed();
        else this.#owner.ended(connection, end);
      },
    });
  }

  /** `listener` hears of it as of a new one. */
  adopt(listener: ConnectionListener): Connection {
    this.isAdopted = true;
    this.#owner = listener;
    queueMicrotask(() => {
      listener.welcomed(this.#connection);
      for (const frame of this.#frames.splice(0)) listener.frame(this.#connection, frame);
    });
    return this.#connection;
  }

  close(): Promise<void> {
    return this.#connection.close();
  }
}
