/**
 * A transport: what brings clients to a node, besides the WebSockets of the public port. Types only.
 *
 * For each client that it accepts it opens a connection on a socket of its own making (gateway/connection/socket.ts).
 */
import type { Connections } from './connections.ts';

export interface Transport {
  /** Accepts clients from now on. Rejects if it cannot. */
  listen(connections: Connections): Promise<void>;
  /** Accepts nobody new. Connections that are open stay. */
  stopListening(): void;
  /** Cuts what is still open. */
  close(): void;
}
