/**
 * The open connections of a node, of all transports.
 *
 * Owns the live set, the numbers and the heartbeat of connections. A transport calls `open` for each client it accepts,
 * passes on the events of the socket, and calls `closed` at its end.
 */
import type { Dialect } from '../protocol/dialect.ts';
import { Connection } from './connection.ts';
import type { Heartbeat } from './heartbeat.ts';
import type { ConnectionParts } from './parts.ts';
import type { Socket } from './socket.ts';

export class Connections {
  /** What connections share. Set before the first transport accepts clients. */
  parts: ConnectionParts | undefined;
  readonly #all: Set<Connection>;
  readonly #heartbeat: Heartbeat<Connection>;
  #count = 0;

  constructor(all: Set<Connection>, heartbeat: Heartbeat<Connection>) {
    this.#all = all;
    this.#heartbeat = heartbeat;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Adds a connection. The transport then calls its `open`. */
  open(socket: Socket, dialect: Dialect): Connection {
    if (this.parts === undefined) throw new Error('no connection can be opened before the node has started');
    this.#count++;
    const connection = new Connection(this.#count, socket, dialect, this.parts);
    connection.heartbeatSlot = this.#heartbeat.add(connection);
    this.#all.add(connection);
    this.parts.events.connectionOpened();
    return connection;
  }

  /** The socket is closed. `code` is that of the close frame, or 1006 without one (RFC 6455 section 7.1.5). */
  closed(connection: Connection, code: number): void {
    // If the gateway closed it, `close` has counted it. The peer may never have read that close frame.
    if (connection.closeCode === undefined) this.parts?.events.connectionClosed(code);
    this.#heartbeat.remove(connection, connection.heartbeatSlot);
    this.#all.delete(connection);
    try {
      connection.socketClosed();
    } catch (error) {
      this.parts?.log.error({ connection: connection.id, error: String(error) }, 'closing a connection failed');
    }
  }
}
