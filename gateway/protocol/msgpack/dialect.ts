/**
 * The dialect `roomcast.v1.msgpack`: the frames of the native dialect as MessagePack maps, one per binary WebSocket message.
 *
 * Each frame is a translation of its JSON text, in both directions (read.ts, write.ts). So it has no rules of its own
 * besides those of docs/protocol.md, "MessagePack and bytes".
 */
import { msgpackSubprotocol } from '../../../shared/protocol.ts';
import type { Dialect } from '../dialect.ts';
import { readFrame } from '../roomcast/decode.ts';
import { roomcast } from '../roomcast/dialect.ts';
import { readText } from './read.ts';
import { pack } from './write.ts';

export const msgpack: Dialect = {
  subprotocol: msgpackSubprotocol,
  binary: true,
  decode: (message) => {
    const text = readText(message);
    return typeof text === 'string' ? readFrame(text) : text;
  },
  encode: (reply) => pack(String(roomcast.encode(reply))),
  message: (frame) => packMessage(Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength).toString()),
  joinOfOthers: ({ type, room, members }) => {
    // Each member is encoded once, also in a join of thousands: a frame is put together from these.
    const head = Buffer.concat([pack(JSON.stringify({ type, room })), pack('"members"')]);
    const threeFields = 0x83;
    head[0] = threeFields;
    const parts = members.map((member) => pack(JSON.stringify(member)));
    return (index) => Buffer.concat([head, arrayHead(parts.length - 1), ...parts.toSpliced(index, 1)]);
  },
};

/** The form with 32 bits for the size, of any array. */
function arrayHead(size: number): Buffer {
  const head = Buffer.from([0xdd, 0, 0, 0, 0]);
  head.writeUInt32BE(size, 1);
  return head;
}

const roomOf = /^\{"type":"message","room":"([^"]*)"/;

/** A frame that is not JSON comes from no node, but from somebody else at Redis. Its place in the room is told as a gap. */
function packMessage(text: string): Uint8Array {
  try {
    return pack(text);
  } catch {
    return pack(JSON.stringify({ type: 'gap', room: roomOf.exec(text)?.[1] ?? '', reason: 'backplane' }));
  }
}
