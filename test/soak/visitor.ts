/**
 * A client that keeps nothing: thousands of them come and go in one process for an hour. It knows the answers that it waits
 * for, and the last position of its rooms. It uses `ws`.
 */
import { decode, encode } from '@msgpack/msgpack';
import { WebSocket } from 'ws';
import type { GatewayFrame, OkFrame, Position } from '../../shared/protocol.ts';
import { msgpackSubprotocol, subprotocol } from '../../shared/protocol.ts';

const deadlineMs = 15_000;

export class Visitor {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (frame: GatewayFrame) => void>();
  /** Of the rooms with history. */
  readonly positions = new Map<string, Position>();
  /** Resolves when the connection has ended, however. */
  readonly closed: Promise<void>;
  #lastId = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    this.closed = new Promise((resolve) => {
      socket.on('close', () => resolve());
    });
    // `close` follows.
    socket.on('error', () => undefined);
    socket.on('message', (data: Buffer, isBinary) => {
      this.#take((isBinary ? decode(data) : JSON.parse(String(data))) as GatewayFrame);
    });
  }

  /** In JSON or MessagePack, by chance. Resolves when the gateway has taken the connection. */
  static async enter(url: string, token: string): Promise<Visitor> {
    const socket = new WebSocket(url, [Math.random() < 0.7 ? subprotocol : msgpackSubprotocol], {
      headers: { authorization: `Bearer ${token}` },
      handshakeTimeout: deadlineMs,
      perMessageDeflate: false,
    });
    const visitor = new Visitor(socket);
    try {
      await visitor.#within('the welcome', 0);
    } catch (error) {
      socket.terminate();
      throw error;
    }
    return visitor;
  }

  /** Sends a frame with an id. Rejects if the answer is not `ok`. */
  async ask(frame: { type: string; [field: string]: unknown }): Promise<OkFrame> {
    const id = ++this.#lastId;
    const answered = this.#within(`the answer to ${frame.type}`, id);
    const numbered = { ...frame, id };
    const isBinary = this.#socket.protocol === msgpackSubprotocol;
    this.#socket.send(isBinary ? encode(numbered, { ignoreUndefined: true }) : JSON.stringify(numbered));
    const answer = await answered;
    if (answer.type !== 'ok') throw new Error(`${frame.type} got ${JSON.stringify(answer)}`);
    return answer;
  }

  /** `since`: resumes there. */
  async subscribe(room: string, since?: Position): Promise<void> {
    const { epoch, offset } = await this.ask({ type: 'subscribe', room, ...(since === undefined ? {} : { since }) });
    if (epoch !== undefined && offset !== undefined) this.positions.set(room, { epoch, offset });
  }

  /** Reads nothing more. */
  pause(): void {
    this.#socket.pause();
  }

  /** Closes properly, or cuts the connection. */
  async leave(how: 'close' | 'cut'): Promise<void> {
    if (how === 'close') this.#socket.close(1000);
    else this.#socket.terminate();
    await this.closed;
  }

  #take(frame: GatewayFrame): void {
    if (frame.type === 'message' && frame.offset !== undefined) {
      const position = this.positions.get(frame.room);
      if (position !== undefined) position.offset = frame.offset;
    }
    const id = frame.type === 'welcome' ? 0 : 'id' in frame && frame.type !== 'message' ? Number(frame.id) : undefined;
    if (id !== undefined) this.#waiting.get(id)?.(frame);
  }

  async #within(what: string, id: number): Promise<GatewayFrame> {
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<GatewayFrame>((resolve, reject) => {
        this.#waiting.set(id, resolve);
        this.closed.then(() => reject(new Error(`the connection ended before ${what}`)));
        timer = setTimeout(() => reject(new Error(`not within ${deadlineMs} ms: ${what}`)), deadlineMs);
      });
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
    }
  }
}
