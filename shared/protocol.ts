/**
 * The frames of the wire protocol `roomcast.v1.json`: one JSON object per WebSocket text message.
 *
 * Types and constants only; it runs in browsers and imports nothing but the codes. The checks of what a client really
 * sent are in gateway/protocol/frame.ts. Both sides ignore unknown fields; clients ignore unknown frame types (docs/protocol.md).
 */
import type { ErrorCode } from './codes.ts';

/** The WebSocket subprotocol (RFC 6455 section 1.9) and the only one the gateway ever answers. */
export const subprotocol = 'roomcast.v1.json';

/** A browser offers `roomcast.token.<jwt>` beside the subprotocol to hand its token over. */
export const tokenSubprotocolPrefix = 'roomcast.token.';

/** `version` of `welcome`. */
export const protocolVersion = 1;

/** An integer from 0 to 2^53-1, or a string of at most 64 characters. The answer carries the same value. */
export type FrameId = number | string;

/** A place in a room with history: `epoch` is opaque, `offset` the last message seen, 0 the start of the epoch. */
export interface Position {
  epoch: string;
  offset: number;
}

export type ClientFrame =
  | { type: 'auth'; id?: FrameId; token: string }
  | { type: 'subscribe'; id: FrameId; room: string; since?: Position }
  | { type: 'unsubscribe'; id: FrameId; room: string }
  | { type: 'publish'; id?: FrameId; room: string; data: unknown; key?: string }
  | { type: 'history'; id: FrameId; room: string; after?: number; before?: number; epoch?: string; limit?: number }
  | { type: 'presence'; id: FrameId; room: string; limit?: number; after?: string }
  | { type: 'ping'; id?: FrameId };

/** Sent once, when the connection is authenticated (or anonymous); times in Unix milliseconds. */
export interface WelcomeFrame {
  type: 'welcome';
  /** That of the `auth` frame, if one was sent with an id. */
  id?: FrameId;
  version: number;
  connection: string;
  user: string | null;
  node: string;
  now: number;
  expiresAt: number | null;
  /** A client that has sent nothing for this long sends `ping`. */
  pingIntervalMs: number;
  /** The largest frame a client may send, in UTF-8 bytes. */
  maxMessageBytes: number;
  /** Rooms per connection; 0 is no limit. */
  maxRooms: number;
  features: string[];
}

export interface OkFrame {
  type: 'ok';
  id?: FrameId;
  room?: string;
  /** In a room with history: the position before the next frame (`subscribe`), of the message (`publish`), the newest. */
  epoch?: string;
  offset?: number;
  /** Present exactly when `since` was sent; false: treat what lies between as a gap. A plain room has no history. */
  recovered?: boolean;
  /** True when a message with this `key` had been taken before. */
  duplicate?: true;
  expiresAt?: number | null;
  /** Answer to `history`: the oldest offset that is kept (one above `offset` when none is), and messages, ascending. */
  first?: number;
  messages?: MessageFrame[];
  /** Answer to `presence`: connections and users in all, and a page of members by connection. */
  count?: number;
  users?: number;
  members?: PresentMember[];
  /** There is more than this answer holds; ask on with `after` (or `before`). */
  more?: true;
}

/** A connection in a room. `user` null is anonymous; `info` is the claim of its token. */
export interface PresentMember {
  connection: string;
  user: string | null;
  info?: unknown;
}

export interface ErrorFrame {
  type: 'error';
  id?: FrameId;
  code: ErrorCode;
  /** A sentence that says what to do. */
  message: string;
  retryAfterMs?: number;
}

export interface MessageFrame {
  type: 'message';
  room: string;
  /** In a room with history: rising by one within an epoch. */
  offset?: number;
  /** In a plain room: unique; a client that moves between nodes dedupes by it. */
  id?: string;
  data: unknown;
  /** The publishing user; absent for anonymous ones. */
  from?: string;
  /** Clock of the node that accepted the message, Unix milliseconds; it is no order. */
  at: number;
  key?: string;
}

/** Users who came or went, cluster-wide; an anonymous connection stands for itself. Not stored, not resumed. */
export interface JoinLeaveFrame {
  type: 'join' | 'leave';
  room: string;
  members: ({ user: string; info?: unknown } | { connection: string })[];
}

/** Says, in its place in the order of the room, that messages are missing there. */
export interface GapFrame {
  type: 'gap';
  room: string;
  reason: 'backplane' | 'slow' | 'trimmed' | 'epoch';
  /** The missing offsets, inclusive, where they are known. */
  first?: number;
  last?: number;
  /** How many messages are missing, where it is known. 0: none, but `join` and `leave` frames may be. */
  count?: number;
  /** The position from here, in a room with history. */
  epoch?: string;
  offset?: number;
}

/** Open a new connection after that time, subscribe there with `since`, then close this one. */
export interface ReconnectFrame {
  type: 'reconnect';
  afterMs: number;
  reason: 'draining';
}

export interface UnsubscribedFrame {
  type: 'unsubscribed';
  room: string;
  reason: 'revoked' | 'changed';
}

export interface PongFrame {
  type: 'pong';
  id?: FrameId;
}

export type GatewayFrame =
  | WelcomeFrame
  | OkFrame
  | ErrorFrame
  | MessageFrame
  | JoinLeaveFrame
  | GapFrame
  | ReconnectFrame
  | UnsubscribedFrame
  | PongFrame;
