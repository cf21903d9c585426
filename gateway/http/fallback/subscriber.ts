/**
 * A connection whose socket is a response. Passes on what the response reports.
 *
 * A subscriber is in one room, from the `subscribe` that its request asks for until the response ends.
 */
import { closeCode } from '../../../shared/codes.ts';
import type { Position } from '../../../shared/protocol.ts';
import type { Connection } from '../../connection/connection.ts';
import type { Connections } from '../../connection/connections.ts';
import type { Socket } from '../../connection/socket.ts';
import type { Dialect } from '../../protocol/dialect.ts';
import type { Headers } from '../response.ts';

/** What a response reports. */
export interface ResponseOwner {
  /** The client has read some of what waited. */
  drained(): void;
  /** Everything written so far was sent, after `ping`. */
  ponged(payload: string): void;
  /** Nothing more is told. Called outside of `send`. */
  finished(): void;
  /** The response has ended, with this close code. Called once. */
  closed(code: number): void;
}

export interface ResponseSocket extends Socket {
  owner: ResponseOwner | undefined;
}

/** A request to follow a room. */
export interface Following {
  room: string;
  since: Position | undefined;
  token: string | undefined;
  /** Of the client. */
  address: string;
  /** Of the answer, whatever it is. */
  headers: Headers;
}

export class Subscriber implements ResponseOwner {
  readonly #connections: Connections;
  readonly #connection: Connection;
  readonly #ended: () => void;

  /** `ended` is called once. */
  static open(
    connections: Connections,
    socket: ResponseSocket,
    dialect: Dialect,
    { room, since, token }: Following,
    ended: () => void,
  ): void {
    const connection = Subscriber.attach(connections, socket, dialect, ended);
    connection.open(token);
    connection.request({ type: 'subscribe', id: 0, room, since });
  }

  /** Without a request yet; the caller opens the connection. `ended` is called once. */
  static attach(connections: Connections, socket: ResponseSocket, dialect: Dialect, ended: () => void): Connection {
    const connection = connections.open(socket, dialect);
    socket.owner = new Subscriber(connections, connection, ended);
    return connection;
  }

  private constructor(connections: Connections, connection: Connection, ended: () => void) {
    this.#connections = connections;
    this.#connection = connection;
    this.#ended = ended;
  }

  drained(): void {
    try {
      this.#connection.drained();
    } catch (error) {
      this.#connection.fail(error);
    }
  }

  ponged(payload: string): void {
    this.#connection.ponged(payload, performance.now(), false);
  }

  /** A connection that is closing already waits for this too. */
  finished(): void {
    if (this.#connection.closing) this.drained();
    else this.#connection.close(closeCode.normal);
  }

  closed(code: number): void {
    this.#ended();
    this.#connections.closed(this.#connection, code);
  }
}
