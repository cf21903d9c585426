/**
 * A transport other than WebSockets: lines over TCP. It has no topics, so each connection is sent every frame on its
 * own.
 *
 * The first line of a client is its token. All other lines, in both directions, are messages of the dialect.
 */
import { connect, createServer, type Server, type Socket as TcpSocket } from 'node:net';
import { createInterface } from 'node:readline';
import type { Connections } from '../../gateway/connection/connections.ts';
import type { Socket } from '../../gateway/connection/socket.ts';
import type { Transport } from '../../gateway/connection/transport.ts';
import type { Dialect, Frame } from '../../gateway/protocol/dialect.ts';
import type { GatewayFrame } from '../../shared/protocol.ts';
import { onCleanup } from '../support/cleanup.ts';
import { until } from '../support/until.ts';

export class ToyTransport implements Transport {
  readonly #dialect: Dialect;
  readonly #sockets = new Set<TcpSocket>();
  #server: Server | undefined;
  port = 0;

  constructor(dialect: Dialect) {
    this.#dialect = dialect;
  }

  async listen(connections: Connections): Promise<void> {
    const server = createServer((tcp) => this.#accept(tcp, connections));
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    this.port = (server.address() as { port: number }).port;
  }

  stopListening(): void {
    this.#server?.close();
  }

  close(): void {
    for (const tcp of this.#sockets) tcp.destroy();
  }

  #accept(tcp: TcpSocket, connections: Connections): void {
    this.#sockets.add(tcp);
    const socket = new LineSocket(tcp);
    const connection = connections.open(socket, this.#dialect);
    const gone = () => {
      if (!this.#sockets.delete(tcp)) return;
      connections.closed(connection, 1006);
    };
    socket.onEnd = gone;
    tcp.on('close', gone);
    tcp.on('error', () => undefined);
    tcp.on('drain', () => connection.drained());
    let opened = false;
    createInterface({ input: tcp }).on('line', (line) => {
      if (opened) connection.receive(new TextEncoder().encode(line).buffer);
      else connection.open(line);
      opened = true;
    });
  }
}

class LineSocket implements Socket {
  readonly topics = undefined;
  readonly address = '127.0.0.1';
  readonly #tcp: TcpSocket;
  onEnd: () => void = () => undefined;

  constructor(tcp: TcpSocket) {
    this.#tcp = tcp;
  }

  send(frame: Frame): void {
    this.#tcp.write(`${Buffer.from(frame as string)}\n`);
  }

  ping(): void {
    // TCP has no ping, and a frame sent is in the buffer at once, so there is nothing to flush.
  }

  end(): void {
    this.#tcp.end();
    this.onEnd();
  }

  destroy(): void {
    this.#tcp.destroy();
    this.onEnd();
  }

  bufferedBytes(): number {
    return this.#tcp.writableLength;
  }
}

/** Speaks the native dialect, one JSON object per line. */
export class LineClient {
  readonly frames: GatewayFrame[] = [];
  readonly tcp: TcpSocket;

  private constructor(tcp: TcpSocket) {
    this.tcp = tcp;
    createInterface({ input: tcp }).on('line', (line) => this.frames.push(JSON.parse(line) as GatewayFrame));
  }

  static async connect(port: number, token: string): Promise<LineClient> {
    const tcp = connect(port, '127.0.0.1');
    onCleanup(() => void tcp.destroy());
    const client = new LineClient(tcp);
    tcp.write(`${token}\n`);
    await client.next((frame) => frame.type === 'welcome');
    return client;
  }

  send(frame: object): void {
    this.tcp.write(`${JSON.stringify(frame)}\n`);
  }

  /** Resolves with the first frame that matches. */
  next(matches: (frame: GatewayFrame) => boolean): Promise<GatewayFrame> {
    return until(() => this.frames.find(matches) as GatewayFrame, 10_000, 'the frame comes');
  }
}
