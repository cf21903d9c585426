/**
 * The WebSockets of one client of the library, counted.
 *
 * Owns the rules about connections: one attempt at a time, and one open connection, except while the gateway has asked the
 * older one to move. It can end a socket, and let one go silent like a lost network. It knows no rooms.
 */
import { WebSocket } from 'ws';
import type { WebSocketConstructor } from '../../../shared/client/connection/websocket.ts';

const moveFrame = '{"type":"reconnect"';

export interface SocketsListener {
  misbehaved(what: string): void;
  /** The gateway asks a connection to move. */
  asked(): void;
}

export class Sockets {
  /** For the options of `connect`. */
  readonly WebSocket: WebSocketConstructor;
  /** When each attempt began, by performance.now(). */
  readonly attempts: number[] = [];
  readonly #sockets = new Set<CountedSocket>();
  readonly #made: WeakRef<CountedSocket>[] = [];

  constructor(listener: SocketsListener) {
    const sockets = this;
    this.WebSocket = class extends CountedSocket {
      constructor(url: string, protocols: string[]) {
        sockets.#judge(listener);
        sockets.attempts.push(performance.now());
        super(url, protocols, () => listener.asked());
        sockets.#sockets.add(this);
        sockets.#made.push(new WeakRef(this));
        this.on('close', () => sockets.#sockets.delete(this));
      }
    } as WebSocketConstructor;
  }

  /** Connections that are open, and not closing. */
  get open(): number {
    return this.#in(WebSocket.OPEN).length;
  }

  /** Open or not: somebody still refers to them. True after a collection. */
  get held(): number {
    return this.#made.filter((made) => made.deref() !== undefined).length;
  }

  /** Ends every connection without a close frame. `silently`: it only goes silent, and the client has to find out. */
  lose(silently: boolean): void {
    for (const socket of this.#sockets) {
      if (!silently) socket.terminate();
      else if (socket.readyState === WebSocket.OPEN) socket.vanish();
    }
  }

  #in(state: number): CountedSocket[] {
    return [...this.#sockets].filter(({ readyState }) => readyState === state);
  }

  /** An attempt begins. */
  #judge(listener: SocketsListener): void {
    if (this.#in(WebSocket.CONNECTING).length > 0) listener.misbehaved('it makes two attempts to connect at a time');
    if (this.#in(WebSocket.OPEN).some(({ isLeaving }) => !isLeaving)) {
      listener.misbehaved('it opens a second connection, and nobody asked it to move');
    }
  }
}

class CountedSocket extends WebSocket {
  isLeaving = false;
  #isSilent = false;

  constructor(url: string, protocols: string[], asked: () => void) {
    super(url, protocols, { perMessageDeflate: false });
    this.on('message', (bytes: Buffer) => {
      if (bytes.toString('latin1', 0, moveFrame.length) !== moveFrame) return;
      this.isLeaving = true;
      asked();
    });
  }

  /** Reads nothing any more. */
  vanish(): void {
    this.#isSilent = true;
    this.pause();
  }

  override close(code?: number): void {
    // Nobody answers the close frame.
    if (this.#isSilent) this.terminate();
    else super.close(code);
  }
}
