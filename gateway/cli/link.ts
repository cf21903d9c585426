/**
 * One connection of the command line to a gateway, as any client has it: frames in their order, then how it ended.
 *
 * The only file that imports ws: Node 20 has a WebSocket of its own only behind a flag, and that one hides why a handshake
 * was refused. It never reconnects; gateway/cli/follower.ts does.
 */
import type { IncomingMessage } from 'node:http';
import { text as textOf } from 'node:stream/consumers';
import { WebSocket } from 'ws';
import { type GatewayFrame, subprotocol } from '../../shared/protocol.ts';
import { Failure } from './failure.ts';
import { printable } from './output.ts';

export interface Target {
  url: string;
  /** Undefined: anonymous. */
  token: string | undefined;
}

export interface End {
  code: number;
  /** `4001, draining: reconnect` */
  text: string;
}

const handshakeMs = 10_000;
/** Time for the answer to a close frame. */
const closingMs = 1_000;
/** The gateway sends a WebSocket ping every `pingIntervalMs` of `welcome`; its peer is gone after three without one. */
const silentPings = 3;
const longestRefusal = 500;

export class Link {
  readonly ended: Promise<End>;
  /** The node it is connected to, once welcomed. */
  node: string | undefined;
  readonly #socket: WebSocket;
  #heardAt = performance.now();
  #watch: NodeJS.Timeout | undefined;

  /** Rejects with a Failure. `take` gets each frame, and its text as it came. */
  static async open({ url, token }: Target, take: (frame: GatewayFrame, text: string) => void): Promise<Link> {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const options = { headers, handshakeTimeout: handshakeMs, perMessageDeflate: false };
    const socket = new WebSocket(url, [subprotocol], options);
    const link = new Link(socket, take);
    await new Promise<void>((resolve, reject) => {
      socket.once('open', resolve);
      socket.once('error', (error: NodeJS.ErrnoException) => {
        const why = error.message || error.code;
        reject(new Failure(`cannot connect to ${url}: ${why}; check --url, and whether a node runs there.`));
      });
      socket.once('unexpected-response', (request, response) => {
        refusalOf(url, response)
          .then(reject, reject)
          .finally(() => request.destroy());
      });
    });
    return link;
  }

  private constructor(socket: WebSocket, take: (frame: GatewayFrame, text: string) => void) {
    this.#socket = socket;
    socket.on('message', (data) => {
      this.#heard();
      const text = String(data);
      const frame = JSON.parse(text) as GatewayFrame;
      if (frame.type === 'welcome') {
        this.node = frame.node;
        this.#watchFor(silentPings * frame.pingIntervalMs);
      }
      take(frame, text);
    });
    socket.on('ping', () => this.#heard());
    this.ended = new Promise((resolve) => {
      socket.once('close', (code, reason) => {
        clearInterval(this.#watch);
        resolve({ code, text: reason.length > 0 ? `${code}, ${printable(String(reason))}` : `${code}` });
      });
    });
    // `close` follows every error of an open connection.
    socket.on('error', () => this.#socket.terminate());
  }

  send(text: string): void {
    this.#socket.send(text);
  }

  /** Closes with 1000; cuts the connection if the peer does not answer. */
  async close(): Promise<void> {
    this.#socket.close(1000);
    const timer = setTimeout(() => this.#socket.terminate(), closingMs);
    await this.ended;
    clearTimeout(timer);
  }

  #heard(): void {
    this.#heardAt = performance.now();
  }

  #watchFor(silenceMs: number): void {
    clearInterval(this.#watch);
    this.#watch = setInterval(() => {
      if (performance.now() - this.#heardAt > silenceMs) this.#socket.terminate();
    }, silenceMs / silentPings);
  }
}

/** The sentence for a handshake that was answered by something other than 101. */
async function refusalOf(url: string, response: IncomingMessage): Promise<Failure> {
  const body = printable((await textOf(response)).slice(0, longestRefusal).trim());
  const status = response.statusCode ?? 0;
  const why = body === '' || body.startsWith('<') ? '' : ` (${body})`;
  return new Failure(`${url} answered HTTP ${status}${why}; ${adviceOn(status)}`);
}

function adviceOn(status: number): string {
  if (status === 503) return 'the node is full, stopping or not ready: try again.';
  if (status === 429) return 'this address has too many connections: try again later.';
  return 'check that --url is the address of a gateway, and ends with /ws.';
}
