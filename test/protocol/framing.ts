/**
 * The base framing of RFC 6455 section 5.2 and masking of 5.1: lengths, reserved bits, opcodes, the mask bit.
 *
 * `maxMessageBytes` is 65536 here, the default, so that all three forms of the length are served.
 */
import { describe, test } from 'vitest';
import { buildFrame, opcode } from '../support/raw-frame.ts';
import { expectCutWithoutClose, expectJson, expectServed, open, pingOfSize, pingText, type Target } from './target.ts';

export function framingSuite(target: Target): void {
  describe('framing', () => {
    test.each([[125], [126], [127], [128], [1_000], [65_535], [65_536]])(
      'RFC 6455 5.2: a text of %i bytes is served',
      async (bytes) => {
        const socket = await open(target);
        await socket.send({ payload: pingOfSize(bytes, bytes) });
        await expectJson(socket, { type: 'pong', id: bytes });
      },
    );

    test('RFC 6455 5.2: a text of 0 bytes is a message, answered as malformed', async () => {
      const socket = await open(target);
      await socket.send({ payload: '' });
      await expectJson(socket, { type: 'error', code: 'bad_request' });
      await expectServed(socket);
    });

    test.each<[number, 2 | 8]>([
      [40, 2],
      [125, 2],
      [125, 8],
      [126, 8],
      [65_535, 8],
    ])('RFC 6455 5.2: a length of %i written in %i bytes, more than needed, means that length', async (bytes, form) => {
      const socket = await open(target);
      await socket.send({ payload: pingOfSize(bytes, bytes), lengthBytes: form });
      await expectJson(socket, { type: 'pong', id: bytes });
      await expectServed(socket);
    });

    test('RFC 6455 5.2: a frame that comes byte by byte, and two that come in one segment, are served in order', async () => {
      const socket = await open(target);
      for (const byte of buildFrame({ payload: pingText(10) })) await socket.write(Buffer.from([byte]));
      await expectJson(socket, { type: 'pong', id: 10 });
      await socket.send({ payload: pingText(11) }, { payload: pingText(12) });
      await expectJson(socket, { type: 'pong', id: 11 });
      await expectJson(socket, { type: 'pong', id: 12 });
    });

    test.each([
      [4, 'RSV1'],
      [2, 'RSV2'],
      [1, 'RSV3'],
      [7, 'all three RSV bits'],
    ])('RFC 6455 5.2: a text with RSV bits %i (%s) is not served and ends the connection', async (rsv) => {
      const socket = await open(target);
      await socket.send({ payload: pingText(1), rsv }, { payload: pingText(2) });
      await expectCutWithoutClose(socket);
    });

    test.each([4, 2, 1].flatMap((rsv) => [opcode.ping, opcode.pong, opcode.close].map((code) => [rsv, code] as const)))(
      'RFC 6455 5.2: RSV bits %i on a control frame of opcode %i end the connection unanswered',
      async (rsv, code) => {
        const socket = await open(target);
        await socket.send({ opcode: code, rsv }, { payload: pingText(2) });
        await expectCutWithoutClose(socket);
      },
    );

    test.each([[4], [2], [1]])('RFC 6455 5.2: RSV bits %i on a continuation end the connection', async (rsv) => {
      const socket = await open(target);
      const text = pingText(1);
      await socket.send({ payload: text.slice(0, 5), fin: false });
      await socket.send({ opcode: opcode.continuation, payload: text.slice(5), rsv });
      await expectCutWithoutClose(socket);
    });

    test('RFC 6455 9.1: RSV1 is a violation even when the client offered compression', async () => {
      const socket = await open(target, { headers: { 'Sec-WebSocket-Extensions': 'permessage-deflate' } });
      await socket.send({ payload: pingText(1), rsv: 4 });
      await expectCutWithoutClose(socket);
    });

    test.each([[3], [4], [5], [6], [7], [11], [12], [13], [14], [15]])(
      'RFC 6455 5.2: the reserved opcode %i ends the connection',
      async (code) => {
        const socket = await open(target);
        await socket.send({ opcode: code, payload: pingText(1) }, { payload: pingText(2) });
        await expectCutWithoutClose(socket);
      },
    );

    test('RFC 6455 5.3: every mask is undone, that of zeros too', async () => {
      const socket = await open(target);
      for (const mask of ['00000000', 'ffffffff', '7b7b7b7b', '80ff017e'].map((hex) => Buffer.from(hex, 'hex'))) {
        await socket.send({ payload: pingText(mask.toString('hex')), mask });
        await expectJson(socket, { type: 'pong', id: mask.toString('hex') });
      }
    });

    test('RFC 6455 5.1: an unmasked text is never served (deviation: read as if masked, the connection not ended)', async () => {
      const socket = await open(target);
      const unmasked = buildFrame({ payload: pingText(1), mask: null });
      // The first four bytes of the text are taken for the mask, so four more complete the frame.
      await socket.send(unmasked, Buffer.from('next'));
      await expectJson(socket, { type: 'error', code: 'bad_request' });
    });

    test('RFC 6455 5.1: unmasked frames of one connection never reach or disturb another', async () => {
      const others = await Promise.all(Array.from({ length: 5 }, () => open(target)));
      const attackers = await Promise.all(Array.from({ length: 20 }, () => open(target)));
      for (const [index, attacker] of attackers.entries()) {
        const payload = pingText(index, 9 + index * 50);
        for (const code of [opcode.text, opcode.ping, opcode.binary, opcode.close]) {
          await attacker.send({ opcode: code, payload, mask: null }, { opcode: code, payload: '', mask: null });
        }
      }
      for (const other of others) await expectServed(other, 'undisturbed');
      for (const attacker of attackers) attacker.destroy();
      for (const other of others) await expectServed(other, 'still undisturbed');
    });
  });
}
