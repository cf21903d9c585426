/**
 * The WebSockets of the public port: turns events of the library's sockets into calls of their Connection.
 *
 * It contains the traps of the library. Every handler is wrapped, so an exception ends one connection instead of the
 * process. Inside `dropped` it never touches the socket, which would crash the process. It knows the library only by
 * the interface below; gateway/http/server.ts creates the sockets.
 */
import { closeCode } from '../../shared/codes.ts';
import type { Connection } from '../connection/connection.ts';
import type { Connections } from '../connection/connections.ts';
import type { TokenBucket } from '../connection/limits.ts';
import type { Socket } from '../connection/socket.ts';
import type { Dialect, Frame } from '../protocol/dialect.ts';
import type { Topics } from '../rooms/fanout.ts';
import type { Events } from '../telemetry/events.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Compression } from './deflate/compression.ts';

/** The data that the library stores with each socket. */
export interface UserData {
  /** The application of the library that accepted the socket: gateway/http/applications.ts. */
  application: unknown;
  dialect: Dialect;
  token: string | undefined;
  address: string;
  /** What it may send, in bytes. Undefined without compression. */
  inflation: TokenBucket | undefined;
  connection: Connection | undefined;
}

/** The parts of the library's WebSocket that are used here. */
export interface LibrarySocket {
  getUserData(): UserData;
  send(message: Frame, isBinary: boolean, compress: boolean): unknown;
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
  connections: Connections;
}

export interface WebSocketOwner {
  opened(data: UserData): void;
  /** Called exactly once per opened socket. */
  closed(data: UserData): void;
}

export class WebSockets {
  readonly #parts: WebSocketParts;
  readonly #compression: Compression;
  readonly #owner: WebSocketOwner;
  readonly #utf8 = new TextDecoder();

  constructor(parts: WebSocketParts, compression: Compression, owner: WebSocketOwner) {
    this.#parts = parts;
    this.#compression = compression;
    this.#owner = owner;
  }

  /** For the library. */
  readonly handlers = {
    open: (ws: LibrarySocket) => this.#guard(ws, () => this.#open(ws)),
    message: (ws: LibrarySocket, message: ArrayBuffer, isBinary: boolean) =>
      this.#guard(ws, (connection) => {
        if (this.#inflatesTooMuch(ws, message)) {
          // Whoever is closed already, and does not read the close frame, must not go on.
          if (connection === undefined || connection.closing) ws.close();
          else connection.close(closeCode.rateLimited);
        } else if (isBinary !== connection?.dialect.binary) connection?.close(closeCode.unsupportedData);
        else connection.receive(message);
      }),
    drain: (ws: LibrarySocket) => this.#guard(ws, (connection) => connection?.drained()),
    dropped: (ws: LibrarySocket) => this.#dropped(ws),
    ping: (ws: LibrarySocket) => this.#guard(ws, (connection) => connection?.receiveControl()),
    pong: (ws: LibrarySocket, payload: ArrayBuffer) => this.#guard(ws, (connection) => this.#pong(connection, payload)),
    close: (ws: LibrarySocket, code: number) => this.#closed(ws, code),
  };

  #open(ws: LibrarySocket): void {
    const data = ws.getUserData();
    this.#owner.opened(data);
    const { dialect, token } = data;
    data.token = undefined;
    data.connection = this.#parts.connections.open(
      new ConnectionSocket(ws, dialect.binary, this.#compression),
      dialect,
    );
    data.connection.open(token);
  }

  #inflatesTooMuch(ws: LibrarySocket, { byteLength }: ArrayBuffer): boolean {
    if (!this.#compression.on) return false;
    const { inflation } = ws.getUserData();
    return inflation !== undefined && inflation.take(performance.now(), byteLength) > 0;
  }

  #pong(connection: Connection | undefined, payload: ArrayBuffer): void {
    if (connection === undefined) return;
    connection.receiveControl();
    const roundTripMs = connection.ponged(this.#utf8.decode(payload), performance.now());
    if (roundTripMs !== undefined) this.#parts.events.pingRoundTrip(roundTripMs / 1000);
  }

  /**
   * Backpressure prevents this. If it happens, a message is lost, so the connection is closed: the loss must not be
   * silent.
   */
  #dropped(ws: LibrarySocket): void {
    const { connection } = ws.getUserData();
    this.#parts.log.error(
      { connection: connection?.id },
      'a message was dropped by the server; closing its connection',
    );
    setImmediate(() => connection?.close(closeCode.slowConsumer));
  }

  #closed(ws: LibrarySocket, code: number): void {
    const data = ws.getUserData();
    this.#owner.closed(data);
    if (data.connection !== undefined) this.#parts.connections.closed(data.connection, code);
  }

  /** An exception in a handler would end the process: it ends the connection instead. */
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

/** A WebSocket as the socket of a Connection. */
class ConnectionSocket implements Socket, Topics {
  readonly #ws: LibrarySocket;
  readonly #binary: boolean;
  readonly #compression: Compression;

  constructor(ws: LibrarySocket, binary: boolean, compression: Compression) {
    this.#ws = ws;
    this.#binary = binary;
    this.#compression = compression;
  }

  get topics(): Topics {
    return this;
  }

  get address(): string {
    return this.#ws.getUserData().address;
  }

  send(frame: Frame, compressible: boolean): void {
    this.#ws.send(frame, this.#binary, compressible && this.#compression.isLargeEnough(frame.length));
  }

  ping(payload: string): void {
    this.#ws.ping(payload);
  }

  end(code: number, reason: string): void {
    this.#ws.end(code, reason);
  }

  destroy(): void {
    this.#ws.close();
  }

  bufferedBytes(): number {
    return this.#ws.getBufferedAmount();
  }

  subscribe(topic: string): void {
    this.#ws.subscribe(topic);
  }

  unsubscribe(topic: string): void {
    this.#ws.unsubscribe(topic);
  }

  isSubscribed(topic: string): boolean {
    return this.#ws.isSubscribed(topic);
  }
}
