/**
 * Publishes by the HTTP API, with one request at a time on each of its keep-alive connections. A room has one connection, so
 * that its messages keep their order.
 *
 * The requests are written by hand to bare sockets: an HTTP client would cost more than the server that is measured.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { publisherData, serve, type Way } from './answered-publisher.ts';
import { benchApiKey } from './api-key.ts';

const { place, port, connections } = publisherData;
const success = Buffer.from('HTTP/1.1 200');

/** One keep-alive connection with at most one request under way. */
class ApiConnection {
  readonly socket: Socket;
  isBusy = false;
  failure: string | undefined;

  constructor(changed: () => void) {
    this.socket = connect({ port, host: place.host, noDelay: true });
    this.socket.on('data', (answer) => {
      // An answer to a publish comes in one segment.
      if (!answer.subarray(0, success.length).equals(success)) this.failure ??= answer.toString('latin1');
      this.isBusy = false;
      changed();
    });
    const end = (reason: string) => {
      this.failure ??= reason;
      changed();
    };
    this.socket.on('error', (error) => end(error.message));
    this.socket.on('close', () => end('the node ended a connection'));
  }
}

class ByApi implements Way {
  #connections: ApiConnection[] = [];
  changed: () => void = () => undefined;

  async connect(deadlineMs: number): Promise<void> {
    for (const { socket } of this.#connections) socket.destroy();
    this.#connections = Array.from({ length: connections }, () => new ApiConnection(() => this.changed()));
    const signal = AbortSignal.timeout(deadlineMs);
    for (const { socket } of this.#connections) if (socket.connecting) await once(socket, 'connect', { signal });
  }

  request(room: number, payload: string): Buffer {
    const body = JSON.stringify({ data: payload });
    const head = [
      `POST /api/rooms/${place.roomPrefix}${room}/messages HTTP/1.1`,
      `Host: ${place.host}:${port}`,
      `Authorization: Bearer ${benchApiKey}`,
      'Content-Type: application/json',
      `Content-Length: ${body.length}`,
    ];
    return Buffer.from(`${head.join('\r\n')}\r\n\r\n${body}`);
  }

  isFree(room: number): boolean {
    return !this.#of(room).isBusy;
  }

  get isIdle(): boolean {
    return this.#connections.every(({ isBusy }) => !isBusy);
  }

  get failure(): string | undefined {
    return this.#connections.find(({ failure }) => failure !== undefined)?.failure;
  }

  send(room: number, request: Buffer): void {
    const connection = this.#of(room);
    connection.isBusy = true;
    connection.socket.write(request);
  }

  flush(): void {
    // Each request is on its way already: it has a connection of its own.
  }

  #of(room: number): ApiConnection {
    return this.#connections[room % connections] as ApiConnection;
  }
}

serve(new ByApi());
