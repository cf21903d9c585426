/**
 * WebSocket frames as bytes (RFC 6455 section 5.2), good and bad ones.
 *
 * Pure functions. They build frames that no client library would send, and parse the frames of a server. They know no
 * sockets, and do not judge what they read.
 */
export const opcode = { continuation: 0x0, text: 0x1, binary: 0x2, close: 0x8, ping: 0x9, pong: 0xa } as const;

export interface FrameParts {
  opcode?: number;
  payload?: Buffer | string;
  /** The FIN bit; true by default. */
  fin?: boolean;
  /** RSV1 is 4, RSV2 is 2, RSV3 is 1. */
  rsv?: number;
  /** Four bytes, or null for an unmasked frame. */
  mask?: Buffer | null;
  /** Bytes after the 7-bit length; by default as few as possible. */
  lengthBytes?: 0 | 2 | 8;
  /** The announced length, instead of the real one. */
  announced?: bigint;
}

export interface ReceivedFrame {
  opcode: number;
  payload: Buffer;
  fin: boolean;
  rsv: number;
  masked: boolean;
}

const defaultMask = Buffer.from([0x37, 0xfa, 0x21, 0x3d]);

export function buildFrame(parts: FrameParts): Buffer {
  const { fin = true, rsv = 0, mask = defaultMask } = parts;
  const payload = Buffer.from(parts.payload ?? '');
  const length = parts.announced ?? BigInt(payload.length);
  const lengthBytes = parts.lengthBytes ?? (length < 126n ? 0 : length < 65_536n ? 2 : 8);
  const short = lengthBytes === 0 ? Number(length) : lengthBytes === 2 ? 126 : 127;
  const extended = Buffer.alloc(8);
  extended.writeBigUInt64BE(length);
  return Buffer.concat([
    Buffer.from([(fin ? 0x80 : 0) | (rsv << 4) | (parts.opcode ?? opcode.text), (mask ? 0x80 : 0) | short]),
    extended.subarray(8 - lengthBytes),
    mask ?? Buffer.alloc(0),
    mask ? payload.map((byte, index) => byte ^ (mask[index % 4] ?? 0)) : payload,
  ]);
}

/** The first frame of `bytes` and its size in bytes; undefined while it is not complete. */
export function parseFrame(bytes: Buffer): { value: ReceivedFrame; size: number } | undefined {
  if (bytes.length < 2) return undefined;
  const first = bytes.readUInt8(0);
  const second = bytes.readUInt8(1);
  const short = second & 0x7f;
  const lengthBytes = short === 126 ? 2 : short === 127 ? 8 : 0;
  const start = 2 + lengthBytes + (second & 0x80 ? 4 : 0);
  if (bytes.length < start) return undefined;
  const length =
    lengthBytes === 0 ? short : lengthBytes === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  if (bytes.length < start + length) return undefined;
  return {
    value: {
      opcode: first & 0x0f,
      // A copy, because the caller goes on filling its buffer.
      payload: Buffer.from(bytes.subarray(start, start + length)),
      fin: (first & 0x80) !== 0,
      rsv: (first >> 4) & 0x7,
      masked: (second & 0x80) !== 0,
    },
    size: start + length,
  };
}

/** The payload of a Close frame (RFC 6455 section 5.5.1). */
export function closePayload(code: number, reason: Buffer | string = ''): Buffer {
  const status = Buffer.alloc(2);
  status.writeUInt16BE(code);
  return Buffer.concat([status, Buffer.from(reason)]);
}

/** `payload` in fragments of these sizes, and one more for the rest (RFC 6455 section 5.4). */
export function fragments(payload: Buffer, sizes: number[]): Buffer[] {
  const frames: Buffer[] = [];
  let start = 0;
  for (const size of [...sizes, payload.length]) {
    const code = frames.length === 0 ? opcode.text : opcode.continuation;
    const part = payload.subarray(start, start + size);
    frames.push(buildFrame({ opcode: code, payload: part, fin: frames.length === sizes.length }));
    start += size;
  }
  return frames;
}
