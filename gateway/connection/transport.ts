/**
 * A transport: accepts clients in another way than by the WebSockets of the public port. Types only.
 *
 * For each client it opens a connection on its own implementation of gateway/connection/socket.ts.
 */
import type { Connections } from './connections.ts';

export interface Transport {
  /** Accepts clients from now on. Rejects if it cannot. */
  listen(connections: Connections): Promise<void>;
  /** Accepts no new clients. Open connections stay. */
  stopListening(): void;
  /** Destroys the sockets that are still open. */
  close(): void;
}
