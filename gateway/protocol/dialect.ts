/**
 * A dialect: the encoding of requests and replies on the wire. Each connection has one, chosen in its handshake.
 * Members of all dialects share the same rooms.
 *
 * The rest of the gateway handles values (gateway/protocol/request.ts, gateway/protocol/reply.ts). The exception is a
 * message: nodes exchange it as the finished frame of the native dialect (gateway/protocol/roomcast), and members of
 * that dialect get exactly these bytes. For any other dialect a node encodes a message once, for all of its members.
 */
import type { CloseCode } from '../../shared/codes.ts';
import type { JoinLeaveFrame, Position } from '../../shared/protocol.ts';
import type { Reply } from './reply.ts';
import type { Rejected, Request } from './request.ts';

/** The content of one WebSocket message. A string is sent as UTF-8. */
export type Frame = string | Uint8Array;

export interface Dialect {
  /**
   * The WebSocket subprotocol (RFC 6455 section 1.9) by which a client chooses it. Unique on a node. A dialect that no
   * WebSocket speaks has a name here all the same.
   */
  readonly subprotocol: string;
  /** True: WebSocket messages are binary in both directions. False: text. */
  readonly binary: boolean;
  /** Its clients cannot be in more than one room, nor change it. Absent: they can. */
  readonly oneRoom?: true;
  /** True: connections that speak it are brief, and a client has one after the other. */
  readonly brief?: boolean;
  /**
   * Its clients open with a request: they get no welcome before it, and no other request is taken. The welcome is the answer,
   * and tells the rooms that the token assigns. A request that has no id for an error ends the connection.
   */
  readonly opensByRequest?: true;
  /**
   * A `gap` ends the membership of its clients, who then subscribe again from the last message they have. So a `subscribe` of a
   * member begins its membership anew. Absent: a member stays one.
   */
  readonly gapEndsMembership?: true;
  /** What takes the place of a WebSocket ping, once the client is welcomed. The client answers `pong`. */
  readonly ping?: Frame;
  /** What it says instead of the native close codes and reasons. */
  readonly closes?: Readonly<Record<CloseCode, readonly [code: number, reason: string]>>;
  /** The messages in one WebSocket message; at least one, each made when it is asked for. Absent: it is one. */
  split?(message: ArrayBuffer): Iterable<ArrayBuffer>;
  /** Decodes one WebSocket message. The bytes are only valid during the call. Never throws. */
  decode(message: ArrayBuffer): Request | Rejected;
  /** Empty: it does not tell this. */
  encode(reply: Reply): Frame;
  /** Encodes a message. `frame` is a `message` frame of the native dialect. `position`: its own, in a room with history. */
  message(frame: Uint8Array, position: Position | undefined): Frame;
  /**
   * Encodes a `join` for the members that it names: none of them gets its own name. Returns a function that encodes the
   * frame without the member at an index; it is called many times.
   */
  joinOfOthers(frame: JoinLeaveFrame): (index: number) => Frame;
}
