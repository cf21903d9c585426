/**
 * A dialect: how one kind of client writes what it asks for, and reads what it is told. Each connection speaks one, chosen
 * at its handshake; members of all dialects are in the same rooms.
 *
 * Everything else in the gateway handles values (gateway/protocol/request.ts, gateway/protocol/reply.ts). The exception is a
 * message: it travels between nodes as the finished frame of the native dialect (gateway/protocol/roomcast), and reaches the
 * members who speak that one as the bytes it came in. For any other dialect a node encodes it once, whatever the number of
 * members.
 */
import type { JoinLeaveFrame } from '../../shared/protocol.ts';
import type { Reply } from './reply.ts';
import type { Rejected, Request } from './request.ts';

/** What goes out as one WebSocket message. A string is UTF-8 text. */
export type Frame = string | Uint8Array;

export interface Dialect {
  /** Its WebSocket subprotocol (RFC 6455 section 1.9), by which a client chooses it. Unique on a node. */
  readonly subprotocol: string;
  /** Its WebSocket messages are binary, in both directions; else they are text. */
  readonly binary: boolean;
  /** Reads one WebSocket message. The bytes are only valid during the call. Never throws. */
  decode(message: ArrayBuffer): Request | Rejected;
  encode(reply: Reply): Frame;
  /** `frame` is a `message` frame of the native dialect. */
  message(frame: Uint8Array): Frame;
  /**
   * For those who are among the members of a `join` themselves. Returns a function that encodes the frame without the member
   * at an index, which is called for many of them.
   */
  joinOfOthers(frame: JoinLeaveFrame): (index: number) => Frame;
}
