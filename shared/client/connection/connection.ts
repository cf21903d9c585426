/**
 * What the library needs of a connection to a gateway, whatever carries it. Types only.
 *
 * connection/websocket.ts is one, and so is fallback/fallback.ts. A connection never reconnects and knows no positions; the
 * session does.
 */
import type { ErrorFrame, GatewayFrame, OkFrame, WelcomeFrame } from '../../protocol.ts';

export interface Connection {
  readonly transport: 'websocket' | 'sse';
  readonly welcome: WelcomeFrame | undefined;
  /** By performance.now(). */
  readonly welcomedAt: number;
  /** Its node has asked this client to move. */
  isLeaving: boolean;
  /** Sends a frame, given as the text of its members. `answered` is called once, in the order of the frames of a room. */
  ask(members: string, answered: (answer: Answer) => void): void;
  /** The line may be dead: it has a few seconds to show that it is not. */
  probe(): void;
  /** Ends it from here, without a word to the listener. Resolves within a second. */
  close(): Promise<void>;
}

/** Undefined: the connection ended before the answer. */
export type Answer = OkFrame | ErrorFrame | undefined;

export interface End {
  /** The close code; 1006 if there was none. */
  code: number;
  reason: string;
}

export interface ConnectionListener {
  /** Once, and at the earliest when the connection has been returned. */
  welcomed(connection: Connection): void;
  /** Each frame that answers nothing, in order. */
  frame(connection: Connection, frame: GatewayFrame): void;
  /** Once, and not after `close`. */
  ended(connection: Connection, end: End): void;
}

/** Opens a connection; the listener gets everything of it. One that is not welcomed within `patienceMs` (15 s) ends. */
export type Open = (token: string | undefined, listener: ConnectionListener, patienceMs?: number) => Connection;
