/**
 * What the gateway needs of a socket: the seam between connections and what carries them. Types only.
 */
import type { CloseCode } from '../../shared/codes.ts';
import type { Frame } from '../protocol/dialect.ts';
import type { Topics } from '../rooms/fanout.ts';

/** Never called after `end`, `destroy` or Connection.socketClosed. */
export interface Socket {
  /** The topics of a WebSocket server, which fans out to it. Undefined: each frame is sent to it by itself. */
  readonly topics: Topics | undefined;
  send(frame: Frame): void;
  /** A WebSocket ping (RFC 6455 section 5.5.2), or what the transport has in its place. */
  ping(payload: string): void;
  /** Sends a close frame; Connection.socketClosed is called from within. What it cannot write at once is out of our hands. */
  end(code: CloseCode, reason: string): void;
  /** Ends it at once and frees what is buffered; Connection.socketClosed is called from within. */
  destroy(): void;
  /** Bytes that wait for the peer to read. */
  bufferedBytes(): number;
}
