/**
 * The WebSocket side of the public port: what the library reports of a socket becomes calls of its Connection.
 *
 * It guards the library's traps: every handler is wrapped, so that an exception costs one connection, and nothing is ever
 * done inside `dropped`, where touching the socket crashes the process. It knows the library's sockets only by what it
 * needs of them; who makes them is gateway/http/server.ts.
 */
import { type CloseCode, closeCode } from '../../shared/codes.ts';
import { Connection } from '../connection/connection.ts';
import type { Heartbeat } from '../connection/heartbeat.ts';
import type { Node } from '../connection/node.ts';
import type { Socket } from '../connection/socket.ts';
import type { Events } from '../telemetry/events.ts';
import type { Logger } from '../telemetry/log.ts';

/** What the library keeps for us with each socket. */
export interface UserData {
  /** By which the socket came: gateway/http/applications.ts. */
  application: unknown;
  token: string | undefined;
  address: string;
  connection: Connection | undefined;
  heartbeatSlot: number;
}

/** A WebSocket of the library. */
export interface LibrarySocket {
  getUserData(): UserData;
  send(message: string | Uint8Array, isBinary: boolean, compress: boolean): unknown;
  ping(payload: string): unknown;
  end(code: number, reason: string): unknown;
  close(): unknown;
  getBufferedAmount(): number;
  subscribe(topic: string): unknown;
  unsubscribe(topic: string): unknown;
  isSubscribed(topic: string): boolean;
}

export interface WebSocketParts {
  log: Logger;
  events: Events;
  connections: Set<Connection>;
  heartbeat: Heartbeat<Connection>;
}

export interface WebSocketOwner {
  opened(data: UserData): void;
  /** Exactly once for each that was opened. */
  closed(data: UserData): void;
}

export class WebSockets {
  /** What connections share; set before the port is open. */
  node: Node | undefined;
  readonly #parts: WebSocketParts;
  readonly #owner: WebSocketOwner;
  readonly #utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
  #count = 0;

  constructor(parts: WebSocketParts, owner: WebSocketOwner) {
    this.#parts = parts;
    this.#owner = owner;
  }

  /** As the library calls them. */
  readonly handlers = {
    open: (ws: LibrarySocket) => this.#guard(ws, () => this.#open(ws)),
    message: (ws: LibrarySocket, message: ArrayBuffer, isBinary: boolean) =>
      this.#guard(ws, (connection) => {
        // Not part of the protocol.
        if (isBinary) connection?.close(closeCode.unsupportedData);
        else connection?.receive(this.#utf8.decode(message), message.byteLength);
      }),
    drain: (ws: LibrarySocket) => this.#guard(ws, (connection) => connection?.drained()),
    dropped: (ws: LibrarySocket) => this.#dropped(ws),
    ping: (ws: LibrarySocket) => this.#guard(ws, (connection) => connection?.receiveControl()),
    pong: (ws: LibrarySocket, payload: ArrayBuffer) => this.#guard(ws, (connection) => this.#pong(connection, payload)),
    close: (ws: LibrarySocket, code: number) => this.#closed(ws, code),
  };

  #open(ws: LibrarySocket): void {
    const { connections, heartbeat, events } = this.#parts;
    const data = ws.getUserData();
    this.#owner.opened(data);
    if (this.node === undefined) return;
    this.#count++;
    const connection = new Connection(this.#count, new ConnectionSocket(ws), this.node);
    data.connection = connection;
    data.heartbeatSlot = heartbeat.add(connection);
    connections.add(connection);
    events.connectionOpened();
    const { token } = data;
    data.token = undefined;
    connection.open(token);
  }

  #pong(connection: Connection | undefined, payload: ArrayBuffer): void {
    if (connection === undefined) return;
    connection.receiveControl();
    const roundTripMs = connection.ponged(this.#utf8.decode(payload), performance.now());
    if (roundTripMs !== undefined) this.#parts.events.pingRoundTrip(roundTripMs / 1000);
  }

  /** Backpressure keeps this from happening; if it does, something is lost, and the end of the connection tells it. */
  #dropped(ws: LibrarySocket): void {
    const { connection } = ws.getUserData();
    this.#parts.log.error(
      { connection: connection?.id },
      'a message was dropped by the server; closing its connection',
    );
    setImmediate(() => connection?.close(closeCode.slowConsumer));
  }

  #closed(ws: LibrarySocket, code: number): void {
    const { connections, heartbeat, log, events } = this.#parts;
    const data = ws.getUserData();
    const { connection, heartbeatSlot } = data;
    this.#owner.closed(data);
    // One that we closed was counted then, and its peer may have been too far behind to see the close frame.
    if (connection?.closeCode === undefined) events.connectionClosed(code);
    if (connection === undefined) return;
    heartbeat.remove(connection, heartbeatSlot);
    connections.delete(connection);
    try {
      connection.closed();
    } catch (error) {
      log.error({ connection: connection.id, error: String(error) }, 'closing a connection failed');
    }
  }

  /** An exception would end the process: it costs its connection instead. */
  #guard(ws: LibrarySocket, handle: (connection: Connection | undefined) => void): void {
    const { connection } = ws.getUserData();
    try {
      handle(connection);
    } catch (error) {
      if (connection !== undefined) connection.fail(error);
      else {
        this.#parts.log.error({ error: String(error) }, 'a connection could not be opened');
        ws.close();
      }
    }
  }
}

/** A WebSocket as connections see it. */
class ConnectionSocket implements Socket {
  readonly #ws: LibrarySocket;

  constructor(ws: LibrarySocket) {
    this.#ws = ws;
  }

  send(text: string | Uint8Array): void {
    this.#ws.send(text, false, false);
  }

  ping(payload: string): void {
    this.#ws.ping(payload);
  }

  end(code: CloseCode, reason: string): void {
    this.#ws.end(code, reason);
  }

  cut(): void {
    this.#ws.close();
  }

  bufferedBytes(): number {
    return this.#ws.getBufferedAmount();
  }

  listen(topic: string): void {
    this.#ws.subscribe(topic);
  }

  unlisten(topic: string): void {
    this.#ws.unsubscribe(topic);
  }

  listensTo(topic: string): boolean {
    return this.#ws.isSubscribed(topic);
  }
}
