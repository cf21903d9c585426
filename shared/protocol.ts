/**
 * The frames of the wire protocol `roomcast.v1.json`: one JSON object per WebSocket text message.
 *
 * Types and constants only; it runs in browsers and imports only the codes. gateway/protocol/roomcast/decode.ts checks the frames that
 * clients send. Both sides ignore unknown fields; clients ignore unknown frame types (docs/protocol.md).
 */
import type { ErrorCode } from './codes.ts';

/** The WebSocket subprotocol (RFC 6455 section 1.9); the default. */
export const subprotocol = 'roomcast.v1.json';

/** The same frames as MessagePack, in binary messages. */
export const msgpackSubprotocol = 'roomcast.v1.msgpack';

/** A browser passes its token as a second subprotocol, `roomcast.token.<jwt>`. */
export const tokenSubprotocolPrefix = 'roomcast.token.';

/** `version` of `welcome`. */
export const protocolVersion = 1;

/** An integer from 0 to 2^53-1, or a string of at most 64 characters. The answer carries the same value. */
export type FrameId = number | string;

/** A position in a room with history. `epoch` is opaque; `offset` is the last message, 0 the start of the epoch. */
export interface Position {
  epoch: string;
  offset: number;
}

/** Sent when the connection is authenticated, or accepted as anonymous. Times are Unix milliseconds. */
export interface WelcomeFrame {
  type: 'welcome';
  /** The id of the `auth` frame, if it had one. */
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
  /** How long the gateway remembers the `key` of a publish. A later retry may be a second message. */
  dedupeMs: number;
  features: string[];
}

export interface OkFrame {
  type: 'ok';
  id?: FrameId;
  room?: string;
  /** In a room with history: the position before the next frame (`subscribe`), of the message (`publish`), or the newest one. */
  epoch?: string;
  offset?: number;
  /** Present exactly when `since` was sent. False: treat the messages in between as missing. Always false in a plain room. */
  recovered?: boolean;
  /** A message with this `key` was already accepted before. */
  duplicate?: true;
  expiresAt?: number | null;
  /** Answer to `history`: the oldest offset kept (`offset` + 1 if none is), and the messages in ascending order. */
  first?: number;
  messages?: MessageFrame[];
  /** Answer to `presence`: the number of all connections and users, and a page of members, ordered by connection. */
  count?: number;
  users?: number;
  members?: PresentMember[];
  /** Not everything fits into this answer: ask again with `after` (or `before`). */
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
  /** In a room with history; each message has the next offset of the epoch. */
  offset?: number;
  /** In a plain room. Unique: a client that moves between nodes finds duplicates by it. */
  id?: string;
  data: unknown;
  /** The publishing user, or whom the operator's backend named; absent if nobody. */
  from?: string;
  /** When a node accepted the message, Unix milliseconds by its clock. Do not order messages by it. */
  at: number;
  key?: string;
}

/** Users who joined or left, over all nodes; each anonymous connection for itself. Not stored, not replayed. */
export interface JoinLeaveFrame {
  type: 'join' | 'leave';
  room: string;
  members: ({ user: string; info?: unknown } | { connection: string })[];
}

/** Messages are missing at this place in the order of the room. */
export interface GapFrame {
  type: 'gap';
  room: string;
  reason: 'backplane' | 'slow' | 'trimmed' | 'epoch';
  /** The missing offsets, inclusive, if known. */
  first?: number;
  last?: number;
  /** How many messages are missing, if known. 0: none, but `join` and `leave` frames may be missing. */
  count?: number;
  /** The position after the gap, in a room with history. */
  epoch?: string;
  offset?: number;
}

/** After `afterMs`, open a new connection, subscribe there with `since`, then close this one. */
export interface ReconnectFrame {
  type: 'reconnect';
  afterMs: number;
  reason: 'draining';
}

/** The server has made this connection a member. It is as after the `ok` to a `subscribe`. */
export interface SubscribedFrame {
  type: 'subscribed';
  room: string;
  /** In a room with history: the position before the next frame of the room. */
  epoch?: string;
  offset?: number;
}

export interface UnsubscribedFrame {
  type: 'unsubscribed';
  room: string;
  reason: 'revoked' | 'changed' | 'kicked';
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
  | SubscribedFrame
  | UnsubscribedFrame
  | PongFrame;
