/**
 * Streams: `GET /rooms/{room}/events`. Each is a full member of its room, by a connection whose socket is a response.
 *
 * Owns the open streams and their comment lines. A stream begins with a `subscribe` that is made from its request, and
 * ends with its membership. Rights, limits, presence and the drain are those of every connection.
 */
import type { Connections } from '../../connection/connections.ts';
import { Heartbeat, type Pinged } from '../../connection/heartbeat.ts';
import type { LibraryResponse } from '../response.ts';
import { sse } from './sse.ts';
import { StreamSocket } from './stream-socket.ts';
import { type Following, Subscriber } from './subscriber.ts';

/** Proxies end a response that is silent for longer: most after 30 s or 60 s. */
export const commentIntervalMs = 15_000;

export class Streams {
  readonly #connections: Connections;
  #size = 0;
  /** From the first stream on. */
  #comments: Heartbeat<Commented> | undefined;

  constructor(connections: Connections) {
    this.#connections = connections;
  }

  get size(): number {
    return this.#size;
  }

  /** `ended` is called once. */
  open(res: LibraryResponse, following: Following, ended: () => void): void {
    const socket = new StreamSocket(res, following.address, following.headers);
    this.#comments ??= new Heartbeat(commentIntervalMs, commentIntervalMs, () => undefined);
    const comments = this.#comments;
    const stream = new Commented(socket);
    const slot = comments.add(stream);
    this.#size++;
    Subscriber.open(this.#connections, socket, sse, following, () => {
      this.#size--;
      comments.remove(stream, slot);
      ended();
    });
  }

  close(): void {
    this.#comments?.close();
  }
}

/** A stream on the wheel of comments. */
class Commented implements Pinged {
  readonly #socket: StreamSocket;

  constructor(socket: StreamSocket) {
    this.#socket = socket;
  }

  ping(): void {
    this.#socket.comment();
  }

  missesPong(): boolean {
    return false;
  }
}
