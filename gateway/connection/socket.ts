/**
 * What a connection needs of its socket: the seam between connections and transports. Types only.
 */
import type { Frame } from '../protocol/dialect.ts';
import type { Topics } from '../rooms/fanout.ts';

/** Never called after `end`, `destroy` or Connection.socketClosed. */
export interface Socket {
  /** Its topics at the WebSocket server, which fans out to it. Undefined: each frame is sent to it on its own. */
  readonly topics: Topics | undefined;
  /** Of the client, as the node knows it (gateway/http/client-address.ts). For the operator. */
  readonly address: string;
  /**
   * Of a transport whose clients have a connection for each request: counts this one for its user (null: anonymous). Returns 0,
   * or the ms until the client may send one.
   */
  overRate?(user: string | null): number;
  /** `compressible`: it holds one message, so nothing of two publishers; the transport may compress it. */
  send(frame: Frame, compressible: boolean): void;
  /** A WebSocket ping (RFC 6455 section 5.5.2), or the transport's equivalent. */
  ping(payload: string): void;
  /** Sends a close frame; Connection.socketClosed is called from within. Bytes not written at once may be lost. */
  end(code: number, reason: string): void;
  /** Ends it at once and frees what is buffered; Connection.socketClosed is called from within. */
  destroy(): void;
  /** Bytes that wait for the peer to read. */
  bufferedBytes(): number;
}
