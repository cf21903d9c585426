/**
 * Text is UTF-8: RFC 6455 sections 5.6 and 8.1, valid text cut at every byte and every kind of invalid text.
 *
 * The text stands in the `id` of a `ping`, which comes back in its `pong`.
 */
import { describe, expect, test } from 'vitest';
import { buildFrame, fragments, opcode } from '../support/raw-frame.ts';
import { expectCutWithoutClose, expectJson, expectServed, nextFrame, open, pingText, type Target } from './target.ts';

/** Two, three and four bytes a character, the first and last of each length, a byte order mark, and a combining one. */
const id = 'aé߿ࠀ€\u{feff}￿𐀀😀\u{10ffff}e\u0301';

const invalid: [what: string, bytes: number[]][] = [
  ['a continuation byte alone', [0x80]],
  ['a first byte alone', [0xc3]],
  ['a two-byte character cut short', [0xc3, 0x28]],
  ['a three-byte character cut after two', [0xe2, 0x82]],
  ['a four-byte character cut after three', [0xf0, 0x9f, 0x98]],
  ['an overlong slash in two bytes', [0xc0, 0xaf]],
  ['an overlong slash in three bytes', [0xe0, 0x80, 0xaf]],
  ['an overlong slash in four bytes', [0xf0, 0x80, 0x80, 0xaf]],
  ['an overlong NUL', [0xc0, 0x80]],
  ['the first surrogate', [0xed, 0xa0, 0x80]],
  ['the last surrogate', [0xed, 0xbf, 0xbf]],
  ['a pair of surrogates', [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]],
  ['a character beyond U+10FFFF', [0xf4, 0x90, 0x80, 0x80]],
  ['a five-byte character', [0xf8, 0x88, 0x80, 0x80, 0x80]],
  ['the byte FE', [0xfe]],
  ['the byte FF', [0xff]],
];

/** A `ping` with these bytes in its `id`. */
function pingAround(bytes: number[]): Buffer {
  const [before = '', after = ''] = pingText('|').split('|');
  return Buffer.concat([Buffer.from(before), Buffer.from(bytes), Buffer.from(after)]);
}

export function textSuite(target: Target): void {
  describe('text', () => {
    test('RFC 6455 5.6: text cut into two fragments at every byte is put together again', async () => {
      const socket = await open(target);
      const payload = Buffer.from(pingText(id));
      for (let cut = 0; cut <= payload.length; cut++) {
        await socket.send(...fragments(payload, [cut]));
        await expectJson(socket, { type: 'pong', id });
      }
    });

    test('RFC 6455 5.6: text of one byte a fragment is put together again', async () => {
      const socket = await open(target);
      const payload = Buffer.from(pingText(id));
      await socket.send(...fragments(payload, Array<number>(payload.length - 1).fill(1)));
      await expectJson(socket, { type: 'pong', id });
    });

    test('RFC 6455 5.6: a frame cut into two segments at every byte is put together again', async () => {
      const socket = await open(target);
      const frame = buildFrame({ payload: pingText(id) });
      for (let cut = 1; cut < frame.length; cut++) {
        await socket.write(frame.subarray(0, cut));
        await socket.write(frame.subarray(cut));
        await expectJson(socket, { type: 'pong', id });
      }
    });

    test('RFC 6455 5.6: a ping carries any bytes, also between the halves of a character', async () => {
      const socket = await open(target);
      const payload = Buffer.from(pingText('€'));
      const [first, second] = fragments(payload, [payload.indexOf(0xe2) + 1]) as [Buffer, Buffer];
      await socket.send(first, { opcode: opcode.ping, payload: Buffer.from([0xff, 0x80]) }, second);
      expect((await nextFrame(socket)).payload).toEqual(Buffer.from([0xff, 0x80]));
      await expectJson(socket, { type: 'pong', id: '€' });
    });

    test.each(invalid)('RFC 6455 8.1: %s ends the connection, and the text is not served', async (_, bytes) => {
      const socket = await open(target);
      await socket.send({ payload: pingAround(bytes) }, { payload: pingText(1) });
      await expectCutWithoutClose(socket);
    });

    test('RFC 6455 8.1: text that ends inside a character ends the connection, whatever message follows', async () => {
      const socket = await open(target);
      await socket.send({ payload: Buffer.from([0xe2, 0x82]) }, { payload: Buffer.from([0xac]) });
      await expectCutWithoutClose(socket);
    });

    test('RFC 6455 8.1: text that is not UTF-8 only as a whole, over fragments, ends the connection', async () => {
      for (const [, bytes] of invalid) {
        const socket = await open(target);
        const payload = pingAround(bytes);
        await socket.send(...fragments(payload, [payload.indexOf(bytes[0] ?? 0) + 1]));
        await expectCutWithoutClose(socket);
      }
    });

    test('RFC 6455 8.1: NUL and a byte order mark are text; what they do to the JSON is told, and no violation', async () => {
      const socket = await open(target);
      for (const text of [`\u{feff}${pingText(1)}`, `${pingText(1)}\0`, '\0', ' ']) {
        await socket.send({ payload: text });
        await expectJson(socket, { type: 'error', code: 'bad_request' });
      }
      await expectServed(socket);
    });
  });
}
