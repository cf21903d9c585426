/**
 * What the load client reads and writes: frames that arrive cut at any place, and stamps that come out as they went in.
 */
import { describe, expect, test } from 'vitest';
import {
  clientFrame,
  FrameReader,
  type FrameSink,
  handshake,
  opcode,
  ReadBuffer,
} from '../../../gateway/cli/load/frames.ts';
import { blankPayload, findStamp, numberOf, roomOf, timeUsOf, writeStamp } from '../../../gateway/cli/load/payload.ts';
import { Random } from '../random.ts';

const upgrade = Buffer.from(
  'HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n',
);

/** As a server sends it: not masked. */
function serverFrame(text: string, code: number = opcode.text, extended = false): Buffer {
  const body = Buffer.from(text);
  const head = Buffer.alloc(body.length > 65_535 || extended ? 10 : body.length > 125 ? 4 : 2);
  head[0] = 0x80 | code;
  head[1] = head.length === 10 ? 127 : head.length === 4 ? 126 : body.length;
  if (head.length === 10) head.writeBigUInt64BE(BigInt(body.length), 2);
  if (head.length === 4) head.writeUInt16BE(body.length, 2);
  return Buffer.concat([head, body]);
}

class Recorder implements FrameSink {
  readonly buffer = new ReadBuffer();
  readonly reader = new FrameReader();
  readonly seen: string[] = [];

  upgraded(): void {
    this.seen.push('upgraded');
  }

  frame(code: number, start: number, end: number): void {
    this.seen.push(`${code}:${this.buffer.bytes.toString('utf8', start, end)}`);
  }

  read(bytes: Buffer): void {
    bytes.copy(this.buffer.chunk);
    this.reader.read(this.buffer, bytes.length, this);
  }
}

describe('frames of a server', () => {
  const texts = ['', 'a', 'x'.repeat(125), 'y'.repeat(126), 'z'.repeat(300)];
  const bytes = Buffer.concat([
    upgrade,
    ...texts.map((text) => serverFrame(text)),
    serverFrame('p', opcode.ping),
    serverFrame('long form', opcode.text, true),
  ]);
  const expected = ['upgraded', ...texts.map((text) => `1:${text}`), '9:p', '1:long form'];

  test('are read whole wherever the bytes are cut in two', () => {
    for (let cut = 0; cut <= bytes.length; cut++) {
      const recorder = new Recorder();
      recorder.read(bytes.subarray(0, cut));
      recorder.read(bytes.subarray(cut));
      expect(recorder.seen, `cut at ${cut}`).toEqual(expected);
    }
  });

  test('are read whole when they come byte by byte', () => {
    const recorder = new Recorder();
    for (const byte of bytes) recorder.read(Buffer.of(byte));
    expect(recorder.seen).toEqual(expected);
  });

  test('of two connections that share a buffer do not mix', () => {
    const random = new Random(7);
    const one = new Recorder();
    const other = new Recorder();
    const read = (recorder: Recorder, chunk: Buffer) => {
      chunk.copy(one.buffer.chunk);
      recorder.reader.read(one.buffer, chunk.length, {
        upgraded: () => recorder.upgraded(),
        frame: (code, start, end) => recorder.seen.push(`${code}:${one.buffer.bytes.toString('utf8', start, end)}`),
      });
    };
    for (let at = 0; at < bytes.length; ) {
      const end = Math.min(bytes.length, at + random.integer(1, 40));
      read(one, bytes.subarray(at, end));
      read(other, bytes.subarray(at, end));
      at = end;
    }
    expect(one.seen).toEqual(expected);
    expect(other.seen).toEqual(expected);
  });

  test.each([
    ['masked', Buffer.concat([upgrade, clientFrame('x')]), 'masks'],
    ['in fragments', Buffer.concat([upgrade, Buffer.of(0x01, 0x01, 0x78)]), 'fragments'],
    ['after a refused handshake', Buffer.from('HTTP/1.1 503 Service Unavailable\r\n\r\n'), '503'],
    ['after a wrong accept key', Buffer.from('HTTP/1.1 101 x\r\nSec-WebSocket-Accept: x\r\n\r\n'), '101'],
  ])('that come %s are an error', (_, sent, message) => {
    expect(() => new Recorder().read(sent)).toThrow(message);
  });

  test('larger than the buffer has room for are an error, not a wrong reading', () => {
    const recorder = new Recorder();
    recorder.read(upgrade);
    const head = Buffer.alloc(10);
    head[0] = 0x81;
    head[1] = 127;
    head.writeBigUInt64BE(1_000_000n, 2);
    recorder.read(head);
    expect(() => recorder.read(Buffer.alloc(200_000))).toThrow('larger');
  });
});

test('a handshake carries what RFC 6455 asks for, and the given headers', () => {
  const text = handshake('/ws', '127.0.0.1:8080', ['Authorization: Bearer x']).toString();
  expect(text).toMatch(/^GET \/ws HTTP\/1\.1\r\n/);
  for (const line of ['Host: 127.0.0.1:8080', 'Sec-WebSocket-Version: 13', 'Authorization: Bearer x']) {
    expect(text).toContain(`\r\n${line}\r\n`);
  }
  expect(text.endsWith('\r\n\r\n')).toBe(true);
});

test.each([5, 125, 126, 65_535])('a frame of %i bytes is masked, and says its length', (length) => {
  const frame = clientFrame('x'.repeat(length));
  expect((frame[1] ?? 0) & 0x80).toBe(0x80);
  expect(frame.subarray(-length).toString()).toBe('x'.repeat(length));
  expect(frame.length).toBe(length + (length < 126 ? 6 : 8));
});

test('a stamp is found in any frame, and comes out as it went in', () => {
  const random = new Random(11);
  for (let round = 0; round < 500; round++) {
    const before = `{"type":"message","room":"r${random.integer(0, 99_999)}","from":"a@b","data":"`;
    const frame = Buffer.from(`${before}${blankPayload(random.integer(0, 200))}","at":1}`);
    const [room, number, timeUs] = [random.integer(0, 999_999), random.integer(0, 99_999_999), random.next() * 9e12];
    writeStamp(frame, before.length, room, number, timeUs);
    const at = findStamp(frame, 0, frame.length, random.pick([0, before.length, 1000]));
    expect(at).toBe(before.length);
    expect([roomOf(frame, at), numberOf(frame, at), timeUsOf(frame, at)]).toEqual([room, number, Math.floor(timeUs)]);
  }
});

test('a text without a stamp has none, even one that ends like the beginning of one', () => {
  const text = Buffer.from('{"type":"gap","reason":"@@"}');
  expect(findStamp(text, 0, text.length, 0)).toBe(-1);
});
