/**
 * Streams: `GET /rooms/{room}/events`. Each is a full member of its room, by a connection whose socket is a response.
 *
 * Owns the open streams and their comment lines. A stream begins with a `subscribe` that is made from its request, and
 * ends with its membership. Rights, limits, presence and the drain are those of every connection.
 */
import { closeCode } from '../../../shared/codes.ts';
import type { Position } from '../../../shared/protocol.ts';
import type { Connection } from '../../connection/connection.ts';
import type { Connections } from '../../connection/connections.ts';
import { Heartbeat } from '../../connection/heartbeat.ts';
import type { Headers, LibraryResponse } from '../response.ts';
import { sse } from './sse.ts';
import { StreamSocket, type StreamSocketOwner } from './stream-socket.ts';

/** Proxies end a response that is silent for longer: most after 30 s or 60 s. */
export const commentIntervalMs = 15_000;

export interface StreamRequest {
  room: string;
  since: Position | undefined;
  token: string | undefined;
  /** Of the client. */
  address: string;
  /** Of the answer, whatever it is. */
  headers: Headers;
}

export class Streams {
  readonly #connections: Connections;
  #size = 0;
  /** From the first stream on. */
  #comments: Heartbeat<Stream> | undefined;

  constructor(connections: Connections) {
    this.#connections = connections;
  }

  get size(): number {
    return this.#size;
  }

  /** `ended` is called once. */
  open(res: LibraryResponse, { room, since, token, address, headers }: StreamRequest, ended: () => void): void {
    const socket = new StreamSocket(res, address, headers);
    this.#comments ??= new Heartbeat(commentIntervalMs, commentIntervalMs, () => undefined);
    const comments = this.#comments;
    const connection = this.#connections.open(socket, sse);
    const stream: Stream = new Stream(socket, connection, (code) => {
      this.#size--;
      comments.remove(stream, slot);
      ended();
      this.#connections.closed(connection, code);
    });
    const slot = comments.add(stream);
    this.#size++;
    socket.owner = stream;
    connection.open(token);
    connection.request({ type: 'subscribe', id: 0, room, since });
  }

  close(): void {
    this.#comments?.close();
  }
}

class Stream implements StreamSocketOwner {
  readonly #socket: StreamSocket;
  readonly #connection: Connection;
  readonly closed: (code: number) => void;

  constructor(socket: StreamSocket, connection: Connection, closed: (code: number) => void) {
    this.#socket = socket;
    this.#connection = connection;
    this.closed = closed;
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

  finished(): void {
    this.#connection.close(closeCode.normal);
  }

  /** Called by the wheel of comments. */
  ping(): void {
    this.#socket.comment();
  }

  missesPong(): boolean {
    return false;
  }
}
