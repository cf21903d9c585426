/**
 * Control frames, RFC 6455 section 5.5, and closing, sections 5.5.1 and 7: ping and pong, every kind of Close, and that
 * a Close is answered once and nothing after it is served.
 */
import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { closePayload, opcode } from '../support/raw-frame.ts';
import {
  expectClosed,
  expectCutWithoutClose,
  expectServed,
  nextFrame,
  open,
  pingText,
  sendClose,
  type Target,
} from './target.ts';

const legalCodes = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 4000, 4001, 4500, 4999];
/** Registered with IANA after the RFC, or for libraries (section 7.4.2); uWebSockets.js does not know them. */
const legalCodesAnsweredEmpty = [1012, 1013, 1014, 3000, 3001, 3999];
const illegalCodes = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1099, 1100, 1999, 2000, 2999, 5000, 9999, 65535];

export function controlSuite(target: Target): void {
  describe('ping and pong', () => {
    test('RFC 6455 5.5.2: a ping of any length from 0 to 125 bytes is answered by a pong with its payload', async () => {
      const socket = await open(target);
      const payloads = Array.from({ length: 126 }, (_, bytes) => randomBytes(bytes));
      await socket.send(...payloads.map((payload) => ({ opcode: opcode.ping, payload })));
      for (const payload of payloads) {
        expect(await nextFrame(socket)).toEqual({ opcode: opcode.pong, payload, fin: true, rsv: 0, masked: false });
      }
    });

    test('RFC 6455 5.5.3: pongs nobody asked for are not answered', async () => {
      const socket = await open(target);
      await socket.send({ opcode: opcode.pong }, { opcode: opcode.pong, payload: 'x'.repeat(125) });
      await expectServed(socket);
    });

    test.each([
      [opcode.ping, 126],
      [opcode.pong, 126],
      [opcode.close, 126],
      [opcode.ping, 65_536],
    ])('RFC 6455 5.5: a control frame of opcode %i and %i bytes ends the connection', async (code, bytes) => {
      const socket = await open(target);
      const payload = Buffer.concat([closePayload(1000), Buffer.alloc(bytes - 2, 'x')]);
      await socket.send({ opcode: code, payload }, { payload: pingText(1) });
      await expectCutWithoutClose(socket);
    });
  });

  describe('closing', () => {
    /** Sends a Close with this payload and frames behind it, which must not be served. */
    const closeWith = async (payload: Buffer) => {
      const socket = await open(target);
      await expectServed(socket);
      await socket.send(
        { opcode: opcode.close, payload },
        { payload: pingText('after the close') },
        { opcode: opcode.ping, payload: 'after the close' },
        { opcode: opcode.close, payload: closePayload(1000) },
      );
      return socket;
    };

    test('RFC 6455 5.5.1: a Close of 0 bytes is answered by one of 0 bytes, and nothing after it is served', async () => {
      await expectClosed(await closeWith(Buffer.alloc(0)), null);
    });

    test('RFC 6455 5.5.1: a Close of 1 byte, which holds no code, is answered once without a code', async () => {
      await expectClosed(await closeWith(Buffer.from([3])), null);
    });

    test('RFC 6455 5.5.1: a Close of 2 bytes is answered once with its code, and nothing after it is served', async () => {
      await expectClosed(await closeWith(closePayload(1000)), 1000);
    });

    test('RFC 6455 5.5.1: a Close of 125 bytes is answered once with its code, and nothing after it is served', async () => {
      await expectClosed(await closeWith(closePayload(4321, 'x'.repeat(123))), 4321);
    });

    test.each(legalCodes.map((code) => [code]))(
      'RFC 6455 7.4: the code %i is answered once with the same code',
      async (code) => expectClosed(await closeWith(closePayload(code, 'reason')), code),
    );

    test.each(legalCodesAnsweredEmpty.map((code) => [code]))(
      'RFC 6455 7.4.2: the code %i is answered once, without a code',
      async (code) => expectClosed(await closeWith(closePayload(code, 'reason')), null),
    );

    test.each(illegalCodes.map((code) => [code]))(
      'RFC 6455 7.4: the code %i, which nobody may send, is answered once without a code and never repeated',
      async (code) => expectClosed(await closeWith(closePayload(code, 'reason')), null),
    );

    test('RFC 6455 8.1: a Close with a reason that is not UTF-8 is answered once without a code', async () => {
      await expectClosed(await closeWith(closePayload(1000, Buffer.from([0xc3, 0x28]))), null);
    });

    test('RFC 6455 5.5.1: a Close between two fragments is answered, and the message never served', async () => {
      const socket = await open(target);
      const text = pingText(1);
      await socket.send({ payload: text.slice(0, 9), fin: false });
      await sendClose(socket);
      await socket.send({ opcode: opcode.continuation, payload: text.slice(9) });
      await expectClosed(socket, 1000);
    });

    test('RFC 6455 7.1.1: after a Close the gateway ends TCP, also when the client stays', async () => {
      const socket = await open(target);
      await sendClose(socket);
      await expectClosed(socket, 1000);
      expect(await socket.ended()).toBe('end');
    });

    test('RFC 6455 5.5.1: after a Close of its own the gateway serves nothing and sends no second one', async () => {
      const socket = await open(target);
      await socket.send(
        { opcode: opcode.binary, payload: Buffer.from([1, 2, 3]) },
        { payload: pingText('after the close') },
        { opcode: opcode.ping },
      );
      await sendClose(socket, 1003);
      await expectClosed(socket, 1003);
    });

    test('RFC 6455 7.1.5: an end of TCP without a Close disturbs nobody else', async () => {
      const [gone, stays] = await Promise.all([open(target), open(target)]);
      gone.destroy();
      await expectServed(stays);
    });
  });
}
