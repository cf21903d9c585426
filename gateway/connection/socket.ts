/**
 * What the gateway needs of a WebSocket: the seam between connections and the WebSocket library. Types only.
 */
import type { CloseCode } from '../../shared/codes.ts';

/** What a connection needs of its WebSocket. Never called after `end`, `cut` or `closed`. */
export interface Socket {
  /** Bytes are UTF-8 text too. */
  send(text: string | Uint8Array): void;
  ping(payload: string): void;
  /** Sends a close frame; `closed` is called from within. What it cannot write at once is out of our hands. */
  end(code: CloseCode, reason: string): void;
  /** Ends it without a word, and frees what is buffered; `closed` is called from within. */
  cut(): void;
  bufferedBytes(): number;
  /** To a topic: a room's name, or that of its join and leave frames. */
  listen(topic: string): void;
  unlisten(topic: string): void;
  listensTo(topic: string): boolean;
}
