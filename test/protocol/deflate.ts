/**
 * Compression, RFC 7692: which offers are taken, what a client may send compressed, and what of it is a violation.
 *
 * The target has GATEWAY_COMPRESSION=shared. Nothing here is compressed or inflated by a WebSocket library: zlib of Node makes
 * and reads the bytes. What the gateway sends compressed is in deflate-sending.ts.
 */
import { constants, deflateRawSync, inflateRawSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { closePayload, type FrameParts, opcode } from '../support/raw-frame.ts';
import { handshake, type RawSocket, valuesOf } from '../support/raw-socket.ts';
import {
  answerTo,
  expectClosed,
  expectCutWithoutClose,
  expectJson,
  expectServed,
  nextFrame,
  open,
  pingOfSize,
  pingText,
  type Target,
} from './target.ts';

/** RSV1: the message is compressed (section 6). */
export const compressed = 4;
const answered = 'permessage-deflate; client_no_context_takeover; server_no_context_takeover';
const maxMessageBytes = 65_536;
const maxTransportBytes = 2 * maxMessageBytes;
/** What a sender leaves out at the end (section 7.2.1). */
const tail = Buffer.from([0, 0, 0xff, 0xff]);

/** The payload of a compressed message (section 7.2.1). */
export function deflated(text: Buffer | string, options: object = {}): Buffer {
  const bytes = deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH, ...options });
  expect(bytes.subarray(-4)).toEqual(tail);
  return bytes.subarray(0, -4);
}

/** The reverse, alone: without what earlier messages held (section 7.2.2). */
export function inflated(payload: Buffer): string {
  return inflateRawSync(Buffer.concat([payload, tail]), { finishFlush: constants.Z_SYNC_FLUSH }).toString();
}

export function openWithDeflate(target: Target, headers: Record<string, string> = {}): Promise<RawSocket> {
  return open(target, { headers: { 'Sec-WebSocket-Extensions': 'permessage-deflate', ...headers } });
}

const compressedText = (payload: Buffer): FrameParts => ({ payload, rsv: compressed });

export function deflateSuite(target: Target): void {
  const answerFor = async (offer: string | string[] | null) => {
    const response = await answerTo(target, handshake({ headers: { 'Sec-WebSocket-Extensions': offer } }));
    expect(response.status).toBe(101);
    return valuesOf(response, 'sec-websocket-extensions');
  };

  describe('offers of permessage-deflate', () => {
    test.each<[string | string[]]>([
      ['permessage-deflate'],
      ['permessage-deflate; client_max_window_bits'],
      ['permessage-deflate;client_max_window_bits=9'],
      ['permessage-deflate; client_max_window_bits="15"; server_no_context_takeover ; client_no_context_takeover'],
      ['x-webkit-deflate-frame, permessage-deflate'],
      [['permessage-bzip2; fast', 'permessage-deflate']],
      ['permessage-deflate; server_max_window_bits=10, permessage-deflate; client_max_window_bits'],
    ])('RFC 7692 5: %s is taken, without context takeover on either side', async (offer) => {
      expect(await answerFor(offer)).toEqual([answered]);
    });

    test.each<[string | null]>([
      [null],
      ['permessage-deflate-frame'],
      ['x-webkit-deflate-frame'],
      ['permessage-bzip2'],
      ['permessage-deflate; unknown'],
      ['permessage-deflate; server_no_context_takeover=1'],
      ['permessage-deflate; server_no_context_takeover; server_no_context_takeover'],
      ['permessage-deflate; client_no_context_takeover=true'],
      ['permessage-deflate; client_max_window_bits=7'],
      ['permessage-deflate; client_max_window_bits=16'],
      ['permessage-deflate; client_max_window_bits=09'],
      ['permessage-deflate; client_max_window_bits=; client_no_context_takeover'],
      ['permessage-deflate; client_max_window_bits; client_max_window_bits'],
      ['permessage-deflate; server_max_window_bits'],
      ['permessage-deflate; toString'],
      ['permessage-deflate;'],
    ])('RFC 7692 7.1: %s is declined, and the connection is served without compression', async (offer) => {
      expect(await answerFor(offer)).toEqual([]);
      const socket = await open(target, { headers: { 'Sec-WebSocket-Extensions': offer } });
      await expectServed(socket);
      await socket.send(compressedText(deflated(pingText(1))));
      await expectCutWithoutClose(socket);
    });

    test.each([['8'], ['10'], ['15']])(
      'RFC 7692 7.1.2.1: a client whose window has only %s bits is declined: the gateway could not promise to keep to it',
      async (bits) => expect(await answerFor(`permessage-deflate; server_max_window_bits=${bits}`)).toEqual([]),
    );
  });

  describe('compressed messages', () => {
    test.each<[string, object]>([
      ['stored blocks', { level: 0 }],
      ['the fastest level', { level: 1 }],
      ['the best level', { level: 9 }],
      ['fixed Huffman codes', { strategy: constants.Z_FIXED }],
      ['Huffman codes only', { strategy: constants.Z_HUFFMAN_ONLY }],
      ['run lengths only', { strategy: constants.Z_RLE }],
      ['a window of 9 bits', { windowBits: 9 }],
      ['the smallest memory', { memLevel: 1 }],
    ])('RFC 7692 7.2.2: of any size, with %s, they are served', async (_, options) => {
      const socket = await openWithDeflate(target);
      for (const bytes of [40, 125, 126, 1_023, 1_024, 1_025, 16_384, 32_768, 65_535, maxMessageBytes]) {
        await socket.send(compressedText(deflated(pingOfSize(bytes, bytes), options)));
        await expectJson(socket, { type: 'pong', id: bytes });
      }
    });

    test('RFC 7692 7.2.3.2, 7.2.3.3, 7.2.3.5: several blocks, stored, fixed and empty ones, are one message', async () => {
      const socket = await openWithDeflate(target);
      const text = Buffer.from(pingText('blocks'));
      const stored = Buffer.concat([Buffer.from([0, text.length, 0, text.length ^ 0xff, 0xff]), text]);
      await socket.send(compressedText(Buffer.concat([stored, Buffer.from([0])])));
      await expectJson(socket, { type: 'pong', id: 'blocks' });
      const empty = Buffer.from([0, 0, 0, 0xff, 0xff]);
      const two = [deflated(text.subarray(0, 5)), tail, deflated(text.subarray(5))];
      await socket.send(compressedText(Buffer.concat([...Array<Buffer>(1_000).fill(empty), ...two])));
      await expectJson(socket, { type: 'pong', id: 'blocks' });
    });

    test('RFC 7692 7.2.3.6: an empty message, compressed or of no byte, is a message, answered as malformed', async () => {
      const socket = await openWithDeflate(target);
      for (const payload of [Buffer.from([0]), Buffer.alloc(0)]) {
        await socket.send(compressedText(payload));
        await expectJson(socket, { type: 'error', code: 'bad_request' });
      }
      await expectServed(socket);
    });

    test('RFC 7692 6: after an agreement each message may still come without compression', async () => {
      const socket = await openWithDeflate(target);
      for (const id of [1, 2, 3]) {
        await expectServed(socket, id);
        await socket.send(compressedText(deflated(pingText(`compressed ${id}`))));
        await expectJson(socket, { type: 'pong', id: `compressed ${id}` });
      }
    });

    test('RFC 7692 6.1: RSV1 on the first fragment compresses all of them, with control frames between', async () => {
      const socket = await openWithDeflate(target);
      const payload = deflated(pingText(1, 5_000));
      for (let cut = 0; cut <= payload.length; cut++) {
        const [first, second] = [payload.subarray(0, cut), payload.subarray(cut)];
        await socket.send(
          { payload: first, rsv: compressed, fin: false },
          { opcode: opcode.ping, payload: `${cut}` },
          { opcode: opcode.continuation, payload: second },
        );
        expect(await nextFrame(socket)).toMatchObject({ opcode: opcode.pong, rsv: 0, payload: Buffer.from(`${cut}`) });
        await expectJson(socket, { type: 'pong', id: 1 });
      }
    });

    test('RFC 7692 7.1.1: no message may refer to an earlier one, and one that does ends only its own connection', async () => {
      const [socket, other] = await Promise.all([openWithDeflate(target), openWithDeflate(target)]);
      const text = pingText('context');
      await socket.send(compressedText(deflated(text)));
      await expectJson(socket, { type: 'pong', id: 'context' });
      await socket.send(compressedText(deflated(text, { dictionary: Buffer.from(text) })));
      await expectCutWithoutClose(socket);
      await other.send(compressedText(deflated(pingText('own'))));
      await expectJson(other, { type: 'pong', id: 'own' });
    });
  });

  describe('violations with compression', () => {
    const blocks: [string, Buffer][] = [
      ['a block of the reserved type 3', Buffer.from([0x07])],
      ['bytes of no meaning', Buffer.from('ffffffffffff', 'hex')],
      ['a stored block with a wrong length', Buffer.from('000500fafe48656c6c6f00', 'hex')],
      ['a distance before the start', Buffer.from('f200110000', 'hex')],
      ['text that was not compressed', Buffer.from(pingText(1))],
    ];
    test.each(blocks)('RFC 7692 7.2.2: %s ends the connection and harms no other', async (_, payload) => {
      const [socket, other] = await Promise.all([openWithDeflate(target), openWithDeflate(target)]);
      await socket.send(compressedText(payload), { payload: pingText(2) });
      await expectCutWithoutClose(socket);
      await other.send(compressedText(deflated(pingOfSize(7, 20_000))));
      await expectJson(other, { type: 'pong', id: 7 });
    });

    test.each([[2], [1], [6], [5], [3]])('RFC 6455 5.2: RSV bits %i end the connection, agreed or not', async (rsv) => {
      const socket = await openWithDeflate(target);
      await socket.send({ payload: deflated(pingText(1)), rsv });
      await expectCutWithoutClose(socket);
    });

    test('RFC 7692 6.1: RSV1 on both fragments ends the connection', async () => {
      const socket = await openWithDeflate(target);
      const payload = deflated(pingText(1));
      await socket.send(
        { payload: payload.subarray(0, 5), rsv: compressed, fin: false },
        { opcode: opcode.continuation, payload: payload.subarray(5), rsv: compressed },
      );
      await expectCutWithoutClose(socket);
    });

    test('RFC 6455 8.1: text that is not UTF-8 once it is inflated ends the connection', async () => {
      const socket = await openWithDeflate(target);
      await socket.send(compressedText(deflated(Buffer.from([0x22, 0xc3, 0x28, 0x22]))));
      await expectCutWithoutClose(socket);
    });

    test('RFC 6455 7.4.1: a compressed binary message is answered by 1003', async () => {
      const socket = await openWithDeflate(target);
      await socket.send({ opcode: opcode.binary, payload: deflated(pingText(1)), rsv: compressed });
      await expectClosed(socket, 1003);
    });
  });

  describe('limits with compression', () => {
    test('RFC 6455 10.4: what a message is once inflated counts: too large is told, and the connection goes on', async () => {
      const socket = await openWithDeflate(target);
      for (const bytes of [maxMessageBytes + 1, maxTransportBytes]) {
        await socket.send(compressedText(deflated(pingOfSize(1, bytes))));
        await expectJson(socket, { type: 'error', code: 'too_large' });
      }
      await expectServed(socket);
    });

    test.each([
      [maxTransportBytes + 1, 'one byte beyond the limit of the transport'],
      [2 ** 26, '64 MiB'],
    ])('RFC 6455 10.4: a message that inflates to %i bytes (%s) is cut, whole or in fragments', async (bytes) => {
      const bomb = deflated(Buffer.alloc(bytes, 'x'));
      const whole = await openWithDeflate(target);
      await whole.send(compressedText(bomb));
      await expectCutWithoutClose(whole);
      const parts = await openWithDeflate(target);
      await parts.send(
        { payload: bomb.subarray(0, 60), rsv: compressed, fin: false },
        { opcode: opcode.continuation, payload: bomb.subarray(60) },
      );
      await expectCutWithoutClose(parts);
    });

    test('RFC 6455 10.4: a flood of messages of 128 KiB, each 200 bytes on the wire, is cut off with 4007 at once', async () => {
      const [flooding, other] = await Promise.all([openWithDeflate(target), openWithDeflate(target)]);
      const large = deflated(`"${' '.repeat(maxTransportBytes - 2)}"`);
      expect(large.length).toBeLessThan(200);
      const flood = flooding.send(...Array<FrameParts>(5_000).fill(compressedText(large)));
      await expectServed(other);
      const answers = await flooding.framesToEnd();
      expect(answers.pop()?.payload.readUInt16BE(0)).toBe(4007);
      // 8 MiB at once and 4 MiB in a second, of messages of 128 KiB.
      expect(answers.length).toBeLessThan(200);
      await flood;
    });
  });

  describe('deviations with compression', () => {
    test.each([[20], [5_000]])(
      'RFC 7692 7.2.3.4: a final block in a message of %i bytes more ends the connection (deviation: it is allowed)',
      async (padding) => {
        const socket = await openWithDeflate(target);
        await socket.send(compressedText(Buffer.concat([deflateRawSync(pingText(1, padding)), Buffer.from([0])])));
        await expectCutWithoutClose(socket);
      },
    );

    test('RFC 7692 7.2.2: of a message whose compressed form is cut short, the start counts (deviation: no error)', async () => {
      const socket = await openWithDeflate(target);
      await socket.send(compressedText(deflated(pingText(1, 5_000)).subarray(0, 20)));
      await expectJson(socket, { type: 'error', code: 'bad_request' });
      await expectServed(socket);
    });

    test.each([
      [opcode.ping, opcode.pong],
      [opcode.close, opcode.close],
    ])('RFC 7692 6: RSV1 on a control frame of opcode %i is ignored (deviation: no end)', async (sent, received) => {
      const socket = await openWithDeflate(target);
      await socket.send({ opcode: sent, payload: closePayload(1000), rsv: compressed });
      expect(await nextFrame(socket)).toMatchObject({ opcode: received, rsv: 0, payload: closePayload(1000) });
    });

    test('RFC 7692 6: and the next message is then read as compressed, which harms only its sender (deviation)', async () => {
      const [socket, other] = await Promise.all([openWithDeflate(target), openWithDeflate(target)]);
      await socket.send({ opcode: opcode.pong, rsv: compressed }, { payload: pingText(1) });
      await expectCutWithoutClose(socket);
      await expectServed(other);
    });

    test('RFC 7692 6.1: RSV1 on the last fragment only compresses the whole message (deviation: no end)', async () => {
      const socket = await openWithDeflate(target);
      const payload = deflated(pingText(1));
      await socket.send(
        { payload: payload.subarray(0, 5), fin: false },
        { opcode: opcode.continuation, payload: payload.subarray(5), rsv: compressed },
      );
      await expectJson(socket, { type: 'pong', id: 1 });
    });
  });
}
