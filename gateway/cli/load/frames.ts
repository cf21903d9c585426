/**
 * The part of RFC 6455 that a load client needs: a handshake, masked frames to send, and a frame reader that allocates
 * nothing per frame.
 *
 * All connections of a thread read into one buffer. A connection keeps the bytes of an unfinished frame and puts them right
 * before the next bytes, so that a frame is always contiguous.
 */
import { createHash } from 'node:crypto';

const handshakeKey = 'dGhlIHNhbXBsZSBub25jZQ==';
const acceptKey = createHash('sha1').update(`${handshakeKey}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
const endOfHeaders = '\r\n\r\n';

export const opcode = { text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

export function handshake(path: string, host: string, headers: readonly string[]): Buffer {
  const lines = [
    `GET ${path} HTTP/1.1`,
    `Host: ${host}`,
    'Upgrade: websocket',
    'Connection: Upgrade',
    `Sec-WebSocket-Key: ${handshakeKey}`,
    'Sec-WebSocket-Version: 13',
    ...headers,
  ];
  return Buffer.from(lines.join('\r\n') + endOfHeaders);
}

/** Masked with zeros: the server unmasks it like any other, and the payload can be changed in place. */
export function clientFrame(payload: string | Buffer, code: number = opcode.text): Buffer {
  const body = Buffer.from(payload);
  const short = body.length < 126;
  const head = Buffer.alloc(short ? 6 : 8);
  head[0] = 0x80 | code;
  head[1] = 0x80 | (short ? body.length : 126);
  if (!short) head.writeUInt16BE(body.length, 2);
  return Buffer.concat([head, body]);
}

const largestFrameBytes = 128 * 1024;
const chunkBytes = 256 * 1024;

/** The read buffer of all sockets of a thread: they read into `chunk`; left-over bytes go in front of it. */
export class ReadBuffer {
  readonly bytes = Buffer.allocUnsafeSlow(largestFrameBytes + chunkBytes);
  readonly chunk = this.bytes.subarray(largestFrameBytes);
}

/** The server is too busy for this handshake, and says when to try again. */
export class BusyError extends Error {
  readonly retryAfterSeconds: number;

  constructor(message: string, retryAfterSeconds: number) {
    super(message);
    this.name = 'BusyError';
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** The bytes of a frame's payload are `buffer.bytes` from `start` to `end`, valid only during the call. */
export interface FrameSink {
  upgraded(): void;
  frame(code: number, start: number, end: number): void;
}

/** What one connection has read. */
export class FrameReader {
  #isUpgraded = false;
  #rest: Buffer | undefined;

  /**
   * Reads the first `length` bytes of the chunk. Throws a BusyError if the server refuses the handshake for now, and an Error
   * for any other answer than 101 and for frames that a server must not send.
   */
  read(buffer: ReadBuffer, length: number, sink: FrameSink): void {
    const { bytes } = buffer;
    const end = largestFrameBytes + length;
    let at = largestFrameBytes;
    if (this.#rest !== undefined) {
      at -= this.#rest.length;
      this.#rest.copy(bytes, at);
      this.#rest = undefined;
    }
    if (!this.#isUpgraded) {
      const frames = readHandshake(bytes, at, end);
      this.#isUpgraded = frames > 0;
      if (this.#isUpgraded) {
        at = frames;
        sink.upgraded();
      }
    }
    if (this.#isUpgraded) at = readFrames(bytes, at, end, sink);
    if (end - at > largestFrameBytes) throw new Error(`a frame is larger than ${largestFrameBytes} bytes`);
    if (at < end) this.#rest = Buffer.from(bytes.subarray(at, end));
  }
}

/** Returns where the frames begin, or 0 when the answer is not complete. */
function readHandshake(bytes: Buffer, start: number, end: number): number {
  const answer = bytes.toString('latin1', start, end);
  const headers = answer.indexOf(endOfHeaders);
  if (headers < 0) return 0;
  if (!answer.startsWith('HTTP/1.1 101') || !answer.includes(acceptKey)) {
    const message = `the handshake was answered with ${answer.slice(0, answer.indexOf('\r'))}`;
    const [, seconds] = (/^HTTP\/1\.1 (?:503|429) /.test(answer) && /\r\nretry-after: (\d+)\r\n/i.exec(answer)) || [];
    throw seconds === undefined ? new Error(message) : new BusyError(message, Number(seconds));
  }
  return start + headers + endOfHeaders.length;
}

/** Hands over every complete frame; returns where the first incomplete one begins. */
function readFrames(bytes: Buffer, start: number, end: number, sink: FrameSink): number {
  let at = start;
  while (end - at >= 2) {
    const head = bytes[at] as number;
    let length = bytes[at + 1] as number;
    let payload = at + 2;
    if (length > 127) throw new Error('the server masks a frame');
    if (length === 126) {
      payload = at + 4;
      if (payload > end) break;
      length = ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number);
    } else if (length === 127) {
      payload = at + 10;
      if (payload > end) break;
      if (bytes.readUInt32BE(at + 2) > 0) throw new Error('the server sends a frame of more than 4 GiB');
      length = bytes.readUInt32BE(at + 6);
    }
    if (head < 0x80) throw new Error('the server sends a message in fragments');
    if (payload + length > end) break;
    sink.frame(head & 0x0f, payload, payload + length);
    at = payload + length;
  }
  return at;
}
