/**
 * The open connections of a node, whichever transport they came by.
 *
 * Owns the live set, their numbers and their heartbeats. A transport opens one for each client that it accepted, hands on what
 * its socket reports, and says when it is gone.
 */
import type { Dialect } from '../protocol/dialect.ts';
import { Connection } from './connection.ts';
import type { Heartbeat } from './heartbeat.ts';
import type { ConnectionParts } from './parts.ts';
import type { Socket } from './socket.ts';

export class Connections {
  /** What connections share; set before the first transport accepts anybody. */
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

  /** `token` is what came with the handshake. */
  open(socket: Socket, dialect: Dialect): Connection {
    if (this.parts === undefined) throw new Error('no connection can be opened before the node has started');
    this.#count++;
    const connection = new Connection(this.#count, socket, dialect, this.parts);
    connection.heartbeatSlot = this.#heartbeat.add(connection);
    this.#all.add(connection);
    this.parts.events.connectionOpened();
    return connection;
  }

  /** The socket is gone. `code` is that of the close frame; 1006 where there was none (RFC 6455 section 7.1.5). */
  closed(connection: Connection, code: number): void {
    // One that we closed was counted then, and its peer may have been too far behind to see the close frame.
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
